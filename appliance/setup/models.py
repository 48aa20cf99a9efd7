"""The two starter models: fetched, checked, unpacked, put in place.

    <models>/embedding/all-MiniLM-L6-v2/    model.int8.onnx  tokenizer.json  model.json
    <models>/chat/SmolLM2-135M-Instruct.Q4_1.gguf

Knows nothing of who will run them, nor how they travel (wheels.py does).

Hard rule: a file under its final name is whole and has the digest that is
written here. Everything is made in a folder beside it, synced, and renamed;
a model folder counts only by its model.json, and that is renamed with it.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.setup.pip import Pip
from appliance.setup.progress import Progress, SetupStopped, Step, in_one_sentence
from appliance.setup.scratch import alone
from appliance.setup.wheels import CHAT_WHEEL, EMBEDDER_WHEEL, obtain, sha256_of

FROM_VARIABLE = "ALMANAC_MODELS_FROM"
LOG = Path("var/setup.log")

EMBEDDER = "all-MiniLM-L6-v2"
EMBEDDER_FILES = ("model.int8.onnx", "tokenizer.json")
CHAT_FILE = CHAT_WHEEL.members[0].name
# Raised whenever minilm_onnx gives other vectors than before: an index made
# with another digest is made again.
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
    with alone(models, progress) as (scratch, lock_fd):
        pip = Pip(Path(sys.executable), log=log, scratch=scratch, lock_fd=lock_fd)
        if not embedder_is_ready(models):
            _set_up_embedder(models, scratch, source, pip, progress)
        if not chat_is_settled(models):
            try:
                _set_up_chat(models, scratch, source, pip, progress)
            except SetupStopped as reason:
                progress.say(
                    f"The starter chat model is missing, so answers will be quotations from the library; "
                    f"the next start tries again. {reason}"
                )


def _set_up_embedder(models: Path, scratch: Path, source: Path | None, pip: Pip, progress: Progress) -> None:
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
        weights, tokenizer = obtain(EMBEDDER_WHEEL, scratch, source, pip, progress, step, share=0.7)
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
    (model,) = obtain(CHAT_WHEEL, scratch, source, pip, progress, Step.CHAT, share=0.9, patient=False)
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


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m appliance.setup.models",
        description="Fetch the starter models: one that finds by meaning, one that answers.",
        epilog=f"""A machine that cannot reach the package registry: set {FROM_VARIABLE} to a folder
            (a USB stick, say) that holds the wheels {EMBEDDER_WHEEL.file_name} and {CHAT_WHEEL.file_name},
            or a copy of another machine's models folder. A starter chat model that you have deleted stays
            deleted; delete {_settled_mark(Path("MODELS"))} as well to have it fetched again.""",
    )
    parser.add_argument("--models", type=Path, default=Path("var/models"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    source = os.environ.get(FROM_VARIABLE)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress()
    return in_one_sentence(
        progress,
        lambda: set_up(given.models, progress, source=Path(source) if source else None, log=LOG),
    )


if __name__ == "__main__":
    sys.exit(main())
