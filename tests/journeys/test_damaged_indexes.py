"""A house whose index files are cut, changed or deleted, before it starts and under its feet.

In a process of its own, since an engine that reads a file which was cut short
under it takes its process along; whoever starts it again (systemd, say) is this test.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ingest.test_reindex import all_emptied, any_cut, any_deleted, any_flipped, engine_files
from tests.places import embedding_model
from tests.running import Appliance

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]

NOTES = 12
QUIET = "[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n"
SIDES = ("lexical", "vectors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A house with some notes, closed."""
    embedding_model()
    folder = tmp_path_factory.mktemp("whole")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    house = Appliance(folder, settings=QUIET)
    for n in range(NOTES):
        house.drop(f"s/{n}.md", f"# Note {n}\n\n" + f"The colony number {n} is called Marigold{n}. " * 15)
    house.start()
    house.until(lambda: house.get("/status")[1]["documents"]["findable"] == NOTES)
    assert house.stop() == 0
    return folder


@pytest.fixture
def house(whole: Path, tmp_path: Path) -> Appliance:
    """A copy of it, closed."""
    for name in ("data", "library"):
        shutil.copytree(whole / name, tmp_path / name)
    return Appliance(tmp_path, settings=QUIET)


def folder_of(house: Appliance, side: str) -> Path:
    [folder] = (house.folder / "data" / "index" / side).iterdir()
    return folder


def is_whole(house: Appliance) -> bool:
    """Every note is found by words and by meaning; nothing on the way is answered with a 500."""
    status, health = house.get("/status")
    assert status == 200
    status, found = house.get("/api/search", q="the colony called Marigold7")
    assert status == 200, found
    lexical, vector = (health["indexes"][side] for side in ("lexical", "vector"))
    return bool(
        health["documents"]["findable"] >= NOTES
        and lexical["state"] == vector["state"] == "ready"
        and lexical["chunks"] == vector["vectors"] == health["chunks"]
        and not found["degraded"]
        and found["items"][0]["document"]["path"] == "s/7.md"
        and found["items"][0]["found_by"] == ["words", "meaning"]
    )


def proven(house: Appliance) -> None:
    house.until(lambda: is_whole(house), 120)
    *_, (event, told) = house.events("/api/ingest/verify", {})
    assert (event, told["lost"]) == ("done", 0)
    assert house.stop() == 0


@pytest.mark.parametrize("damage", [any_flipped, any_cut, any_deleted, all_emptied])
@pytest.mark.parametrize("side", SIDES)
def test_a_damaged_index_is_rebuilt_by_the_next_start(
    house: Appliance, side: str, damage: Callable[[Path, int], None]
) -> None:
    before = folder_of(house, side)
    damage(before, 7)
    house.start(ready=False)
    proven(house)
    assert folder_of(house, side) != before


@pytest.mark.parametrize("side", SIDES)
def test_an_index_that_is_damaged_after_a_kill_is_rebuilt_too(house: Appliance, side: str) -> None:
    house.start()
    house.drop("s/late.md", "# Late\n\nSomething else.\n")
    house.until_state("s/late.md", "findable")
    house.kill()
    before = folder_of(house, side)
    all_emptied(before, 0)
    house.start(ready=False)
    proven(house)
    assert folder_of(house, side) != before


@pytest.mark.parametrize("side", SIDES)
def test_files_cut_short_under_a_serving_house_cost_at_most_a_restart(house: Appliance, side: str) -> None:
    house.start()
    before = folder_of(house, side)
    for path in random.Random(1).sample(files := engine_files(before), len(files) // 2):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    house.drop("s/7.md", "# Note 7\n\nThe colony is called Marigold7, still.\n")
    assert house.process

    def asked() -> bool:
        """Whether it is whole; started again if that was too much for it."""
        assert house.process
        if house.process.poll() is not None:
            house.kill()
            house.start(ready=False)
        try:
            return is_whole(house) and folder_of(house, side) != before
        except (
            OSError,
            ValueError,
            EOFError,
        ):  # it went in the middle of an answer, or has two folders for now
            return False

    house.until(asked, 120)
    proven(house)


def test_a_kill_at_any_moment_of_a_rebuild_loses_nothing(house: Appliance) -> None:
    draw = random.Random(11)
    for _ in range(6):
        house.start()
        status, told = house.post("/api/reindex", {"what": "all"})
        assert status in (202, 409), told
        house.until(lambda: house.get("/api/search", q="colony")[0] == 200)
        pause_s = draw.random() * 3
        with pytest.raises(AssertionError, match="not within"):
            house.until(lambda: None, pause_s)
        house.kill()
    house.start()
    house.until(lambda: house.get("/api/reindex")[1]["reindex"] is None, 120)
    proven(house)
    for side in SIDES:
        assert folder_of(house, side)  # one generation of each, and no other
