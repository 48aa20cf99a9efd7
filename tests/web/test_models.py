"""The model files, asked over HTTP of a running appliance."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.llm.gguf_files import WHOLE
from tests.places import ROOT, chat_model, embedding_model
from tests.running import Appliance, running

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A house without search by meaning, and with a broken model before the good one."""
    folder = tmp_path_factory.mktemp("house")
    models = folder / "models"
    (models / "chat").mkdir(parents=True)
    (models / "chat" / "a-broken.gguf").write_bytes(WHOLE[:-1])
    (models / "chat" / "z-good.gguf").symlink_to(chat_model())
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    with running(folder, models=models, ready=False) as house:
        house.until(lambda: house.get("/status")[1]["model"]["state"] == "ready")
        yield house


def test_a_broken_first_file_hides_no_good_second_one(appliance: Appliance) -> None:
    status, told = appliance.get("/api/models")
    assert status == 200
    broken, good = told["items"]
    assert (broken["id"], broken["state"], broken["kind"]) == ("a-broken", "unusable", None)
    assert "cut short" in broken["reason"]
    assert (good["id"], good["state"], good["kind"], good["chosen"]) == ("z-good", "ready", "chat", True)
    assert good["memory"]["free_bytes"] is None  # it has its memory already
    assert appliance.get("/status")[1]["model"]["id"] == "z-good"


def test_a_file_that_comes_or_goes_is_noticed(appliance: Appliance) -> None:
    new = Path(appliance.get("/api/models")[1]["folder"]) / "new.gguf"
    new.write_bytes(WHOLE)
    try:
        told = {model["id"]: model for model in appliance.get("/api/models")[1]["items"]}
        assert (told["new"]["state"], told["new"]["chosen"]) == ("registered", False)
        assert told["new"]["memory"]["fit"] == "go"
    finally:
        new.unlink()
    assert "new" not in {model["id"] for model in appliance.get("/api/models")[1]["items"]}


def test_one_is_shown_by_name_or_path_with_its_digest(appliance: Appliance) -> None:
    status, good = appliance.get("/api/models/z-good")
    assert status == 200
    assert len(good["digest"]) == 64
    assert good == appliance.get("/api/models/chat/z-good.gguf")[1]
    status, problem = appliance.get("/api/models/nonsuch")
    assert (status, problem["code"]) == (404, "model_not_found")
    for hostile in ("../../etc/passwd", "%2e%2e%2fetc%2fpasswd", "%00", "chat"):
        assert appliance.get(f"/api/models/{hostile}")[0] == 404


def test_the_command_asks_the_running_appliance(appliance: Appliance) -> None:
    command = [sys.executable, "-m", "appliance", "models", "--url", appliance.url]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "* chat/z-good.gguf  chat, ready" in shown
    assert "a-broken.gguf is cut short" in shown


def test_one_that_lies_elsewhere_or_whose_file_is_gone_is_told_of_and_let_go(tmp_path: Path) -> None:
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere.gguf"
    (models / "chat").mkdir(parents=True)
    elsewhere.symlink_to(chat_model())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".furnished").touch()
    file = models / "chat" / "my model.gguf"

    def command(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "appliance", "models", *words, "--url", house.url],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    with running(tmp_path, models=models, ready=False, settings=f'[llm]\nmodel = "{elsewhere}"') as house:
        house.until(lambda: house.get("/status")[1]["model"]["state"] == "ready")
        assert f"* {elsewhere}  chat, ready" in command()[1]
        assert command("show", "elsewhere")[0] == 0
        for what, state in (("unload", "unloaded"), ("load", "ready"), ("use", "ready")):
            assert command(what, "elsewhere") == (0, f"elsewhere: {state}.\n")
        file.symlink_to(chat_model())
        assert command("load", "my model") == (0, "my model: ready.\n")  # though nobody has looked since
        assert command("show", "my model")[0] == 0
        file.unlink()
        assert "It answers still, but its file cannot be loaded again." in command()[1]
        assert command("unload", "my model") == (0, "my model: unloaded. Its file is gone.\n")
        (models / "chat" / "half.gguf").write_bytes(WHOLE[:-1])
        code, said = command("load", "half")
        assert (code, "'half' cannot be used. half.gguf is cut short" in said) == (1, True)
        assert "almanac models load NAME" in command("load")[1]


def test_one_that_requests_may_not_have_loaded_is_refused_and_not_said_to_be_missing(tmp_path: Path) -> None:
    models = tmp_path / "models"
    (models / "chat").mkdir(parents=True)
    (models / "chat" / "a.gguf").symlink_to(chat_model())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".furnished").touch()
    with running(tmp_path, models=models, ready=False, settings="[llm]\non_demand = false") as house:
        house.until(lambda: house.get("/status")[1]["model"]["state"] == "ready")
        (models / "chat" / "b.gguf").symlink_to(chat_model())
        for path, body in (
            ("chat/completions", {"messages": [{"role": "user", "content": "Hello"}]}),
            ("completions", {"prompt": "Hello"}),
            ("responses", {"input": "Hello"}),
        ):
            status, told = house.post(f"/v1/{path}", {"model": "b"} | body)
            assert (status, "`almanac models load b`" in told["error"]["message"]) == (503, True)
        assert house.post("/v1/completions", {"model": "c", "prompt": "Hello"})[0] == 404


def test_the_library_answers_when_its_model_was_unloaded_or_cannot_be_loaded_again(tmp_path: Path) -> None:
    file = tmp_path / "models" / "chat" / "a.gguf"
    file.parent.mkdir(parents=True)
    (tmp_path / "models" / "embedding").symlink_to(embedding_model().parent)
    file.symlink_to(chat_model())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".furnished").touch()
    question = "Where do the bees of the east wall drink?"

    def unloaded(house: Appliance) -> None:
        house.until(lambda: house.get("/status")[1]["model"]["state"] == "ready")
        house.drop("bees.md", "# Bees\n\nThe bees of the east wall drink from the cistern at noon.\n")
        house.until_state("bees.md", "findable")
        house.post("/api/models/unload", {"model": "a"})
        house.until(lambda: house.get("/status")[1]["model"]["state"] == "unloaded")

    def quoted(house: Appliance, why: str) -> None:
        events = house.ask(question)
        assert (events[-1][0], events[-1][1]["kind"]) == ("done", "quoted")
        assert why in events[-1][1]["notices"][0]
        assert [name for name, _ in events].count("passages") == 1
        assert any(why in sentence for sentence in house.get("/status")[1]["degraded"])

    with running(tmp_path, models=tmp_path / "models", ready=False) as house:
        unloaded(house)
        events = house.ask(question)  # it is loaded for that, and whoever waits is told what for
        assert events[0] == ("waiting", {"position": 1, "loading": True})
        assert events[-1][1]["kind"] == "written"
        unloaded(house)
        file.unlink()
        file.write_bytes(WHOLE[:-1])
        quoted(house, "a.gguf is cut short")
    file.unlink()
    file.symlink_to(chat_model())
    with running(
        tmp_path, models=tmp_path / "models", ready=False, settings="[llm]\non_demand = false"
    ) as house:
        unloaded(house)
        quoted(house, "The model a is not loaded.")
