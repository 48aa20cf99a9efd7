"""`kill -9`, fifty times at random moments of an ingest of five hundred files, of the house and of its workers.

After every restart each file reaches its right state by itself; nothing that
was durable is done again.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.ingest.books import write_epub, xhtml
from tests.places import embedding_model
from tests.running import Appliance

pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]

FILES, KILLS = 500, 50
_WORDS = [
    "water",
    "boil",
    "clean",
    "filter",
    "sand",
    "charcoal",
    "sunlight",
    "bottle",
    "well",
    "latrine",
    "soap",
    "ash",
    "fire",
    "smoke",
    "stove",
    "wood",
    "seed",
    "soil",
    "compost",
    "bean",
    "maize",
    "goat",
    "hen",
    "hive",
    "honey",
    "wound",
    "bandage",
    "fever",
    "salt",
    "sugar",
    "rope",
    "knot",
    "tarp",
    "nail",
    "hammer",
    "saw",
    "radio",
]


def chapters(rng: random.Random, name: str, count: int) -> list[str]:
    """Paragraphs of some hundred words; `name` stands in each."""
    return [f"{name} {part}: " + " ".join(rng.choices(_WORDS, k=130)) + "." for part in range(count)]


def fill(library: Path, rng: random.Random) -> dict[str, str]:
    """Put the files there; returns the state that each must end in."""
    expected = {}
    for n in range(FILES):
        path = library / f"shelf{n % 7}" / f"book{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if n % 50 == 3:
            path = path.with_suffix(".epub")
            path.write_bytes(b"PK\x03\x04 nothing behind it")
        elif n % 25 == 7:
            parts = {
                f"c{at}.xhtml": xhtml(f"<h1>Part {at}</h1><p>{text}</p>")
                for at, text in enumerate(chapters(rng, f"book{n}", 20))
            }
            path = write_epub(path.with_suffix(".epub"), dict(parts))
        else:
            path = path.with_suffix(".md")
            body = "\n\n".join(
                f"## Part {at}\n\n{text}" for at, text in enumerate(chapters(rng, f"book{n}", 4))
            )
            path.write_text(f"# Book {n}\n\n{body}\n")
        expected[str(path.relative_to(library))] = "failed" if n % 50 == 3 else "findable"
    return expected


def children(pid: int) -> list[int]:
    """Of the house, those that read and embed."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid
            ):
                found += [int(entry.name)] if b"ingest.worker" in (entry / "cmdline").read_bytes() else []
        except OSError:
            continue
    return found


def embedded(house: Appliance) -> tuple[int, int]:
    """Vectors that the record vouches for, and those that this life of the house has added."""
    status = house.get("/status")[1]
    return status["vectors"], status["ingest"]["embedded_since_start"]


def states(house: Appliance) -> dict[str, str]:
    found, cursor = {}, ""
    while True:
        page = house.get("/api/documents", limit=500, cursor=cursor)[1]
        found |= {item["path"]: item["state"] for item in page["items"]}
        if not page["next"]:
            return found
        cursor = page["next"]


def settles(house: Appliance, expected: dict[str, str], within_s: float = 400) -> None:
    """Every file reaches the state that is expected of it; those that do not are named."""
    ends = time.monotonic() + within_s
    while differing := set(states(house).items()) ^ set(expected.items()):
        if time.monotonic() > ends:
            log = (house.folder / "serve.log").read_text()[-6000:]
            pytest.fail(f"{sorted(differing)[:20]}, /status: {house.get('/status')[1]['ingest']}, log: {log}")
        time.sleep(0.2)


def test_a_house_that_is_killed_fifty_times_ends_as_one_that_was_not(data_folder: Path) -> None:
    embedding_model()
    seed = int(os.environ.get("ALMANAC_TEST_SEED") or random.randrange(10**6))
    print(f"ALMANAC_TEST_SEED={seed}")
    rng = random.Random(seed)
    house = Appliance(data_folder, settings="[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n")
    expected = fill(house.library, rng)
    house.start(ready=False)
    kept_by_lives, of_house, of_workers, unfinished = 0, 0, 0, 0
    try:
        while of_house + of_workers < KILLS:
            time.sleep(rng.uniform(0.1, 1.5))
            unfinished += not set(states(house).values()) <= {"findable", "failed"}
            workers = children(house.process.pid) if house.process else []
            if workers and rng.random() < 0.5:
                os.kill(rng.choice(workers), signal.SIGKILL)
                of_workers += 1
                continue
            vouched, added = embedded(house)
            house.kill()
            of_house += 1
            kept_by_lives += added
            house.start(ready=False)
            after, _ = embedded(house)
            assert after >= vouched, "vectors that were durable are gone"
        settles(house, expected)
        _, added = embedded(house)
        status = house.get("/status")[1]
        chunks = status["chunks"]
        assert chunks > 2_000
        assert status["indexes"]["lexical"]["chunks"] == chunks
        assert status["indexes"]["vector"]["vectors"] == status["vectors"] == chunks
        # What a life had added when it was last asked was durable, so that all lives together added each once.
        assert kept_by_lives + added <= chunks
        # Vectors computed anew: none was taken for that of another chunk when a worker died.
        event, verified = house.events("/api/ingest/verify", {})[-1]
        assert event == "done", verified
        assert (verified["checked"], verified["lost"]) == ([*expected.values()].count("findable"), 0)
        print(f"{of_house} of the house, {of_workers} of workers, {unfinished} while work was left")
        assert unfinished > KILLS // 2
        assert of_house > KILLS // 5
        assert of_workers > KILLS // 5
        for n in rng.sample(range(FILES), 20):
            path = next(path for path in expected if f"book{n}." in path)
            # By words alone: to the embedding model five hundred heaps of the same words mean much the same.
            items = house.get("/api/search", q=f"book{n} {n}", mode="words")[1]["items"]
            assert (path in {item["document"]["path"] for item in items}) == (expected[path] == "findable")
        assert house.stop() == 0
    except BaseException:
        if house.process and house.process.poll() is None:
            house.kill()
        raise
