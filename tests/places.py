"""Where tests find what is not in the repository, and what they do when it is not there."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODELS = Path(os.environ.get("ALMANAC_TEST_MODELS", ROOT / "var" / "models"))
EMBEDDING_MODEL = MODELS / "embedding" / "all-MiniLM-L6-v2"
# Real books and a retrieval collection, kept beside the repository where it is developed.
SHARED_DATA = ROOT.parent / "shared" / "data"


def embedding_model() -> Path:
    """The starter embedding model's folder; a test without it is skipped, in CI it fails."""
    if not (EMBEDDING_MODEL / "model.int8.onnx").exists():
        missing("the starter embedding model is not built; run `make test` once with a network")
    return EMBEDDING_MODEL


def chat_model() -> Path:
    """The starter chat model's file."""
    found = sorted((MODELS / "chat").glob("*.gguf"))
    if not found:
        missing("the starter chat model is not there; run `make test` once with a network")
    return found[0]


def shared_data(name: str) -> Path:
    """A folder of the shared data; the repository stands alone, so its absence only skips."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there; it is not part of the repository")
    return path


def program(name: str) -> str:
    """A program of the machine's; a test without it is skipped, in CI it fails."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed")
    return str(path)


def missing(what: str) -> None:
    """Skip the test for want of something; in CI, where everything must be there, fail it."""
    if os.environ.get("ALMANAC_CI"):
        pytest.fail(what)
    pytest.skip(what)
