"""The model files, asked over HTTP of a running appliance."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.llm.gguf_files import WHOLE
from tests.places import ROOT, chat_model
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
