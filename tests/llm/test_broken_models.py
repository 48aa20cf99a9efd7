"""A folder of broken model files: none crashes anything, each has its sentence, all of it in little memory and time.

They are made from the starter model, its header as it is and its weights as a
hole in the file, so that a folder full of them takes no room. A process of its
own looks through the folder, under limits that a mistake would break.
"""

import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from llm.model_files.ggml import TYPES
from llm.model_files.gguf import read_header
from tests.llm.gguf_files import ARRAY, KEYS, STRING, TENSORS, U32, counted, gguf, key, tensor
from tests.places import ROOT, chat_model

pytestmark = pytest.mark.models

MEMORY_BYTES, CPU_S = 512 * 2**20, 20

LOOKING = """
import json, resource, sys, time
from pathlib import Path
from llm.model_files.registry import Registry
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[3]),) * 2)
registry = Registry(Path(sys.argv[1]))
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
registry.look()
print(json.dumps({
    "kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before,
    "cpu_s": time.process_time() - began,
    "models": {model.path: [model.state, model.reason] for model in registry.files()},
}))
"""


def looked_through(folder: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", LOOKING, str(folder), str(MEMORY_BYTES), str(CPU_S)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def header() -> bytes:
    """Of the starter model: everything before its weights, which fill the file to its end."""
    said = read_header(chat_model())
    weights = sum(count // TYPES[kind][1] * TYPES[kind][2] for kind, count in said.values.items())
    with chat_model().open("rb") as file:
        return file.read(said.size_bytes - weights)


@pytest.fixture
def put(tmp_path: Path, header: bytes) -> Callable[..., None]:
    """Write one file: a header, and a hole up to its length."""

    def putting(name: str, beginning: bytes, size_bytes: int | None = None) -> None:
        (tmp_path / name).write_bytes(beginning)
        if size_bytes is not None:
            os.truncate(tmp_path / name, size_bytes)

    return putting


def test_a_folder_of_broken_models_is_listed(tmp_path, put, header):
    size = chat_model().stat().st_size
    # Cut at twenty places: ten in the header, ten in the weights.
    cuts = [len(header) * n // 10 for n in range(10)] + [
        size - 1 - (size - 2 * len(header)) * n // 10 for n in range(10)
    ]
    for cut in cuts:
        put(f"cut-{cut:09}.gguf", header[:cut], cut)
    put("empty.gguf", b"")
    put("magic.gguf", b"GGUG" + header[4:], size)
    put("zeros.gguf", b"", size)
    put("noise.gguf", random.Random(1).randbytes(100_000))
    put("version.gguf", header[:4] + struct.pack("<I", 77) + header[8:], size)
    put("many tensors.gguf", header[:8] + struct.pack("<Q", 2**63) + header[16:], size)
    put("many keys.gguf", header[:16] + struct.pack("<Q", 2**64 - 1) + header[24:], size)
    put("long key.gguf", header[:24] + struct.pack("<Q", 2**63) + header[32:], size)
    put("long string.gguf", gguf([key("x", STRING, struct.pack("<Q", 2**63))]), size)
    put("long list.gguf", gguf([key("x", ARRAY, struct.pack("<IQ", U32, 2**62))]), size)
    put("many strings.gguf", gguf([key("x", ARRAY, struct.pack("<IQ", STRING, 2**40))]), size)
    put("all empty strings.gguf", gguf([key("x", ARRAY, struct.pack("<IQ", STRING, 1_999_999))]), 2**40)
    put("deep lists.gguf", gguf([key("x", ARRAY, struct.pack("<IQ", ARRAY, 1) * 100_000)]), size)
    put("overlap.gguf", gguf(tensors=[TENSORS[0], tensor("t", (64,), 0, 32)]))
    put("beyond.gguf", gguf(tensors=[tensor("t", (2**20,), 0, 0)]))
    put("far beyond.gguf", gguf(tensors=[tensor("t", (1,), 0, 2**63)]))
    put("no such type.gguf", gguf(tensors=[tensor("t", (1,), 4_000_000_000, 0)]))
    put("crooked.gguf", gguf([*KEYS, counted("general.alignment", 3)]))
    put("whole.gguf", gguf())

    told = looked_through(tmp_path)

    models = told["models"]
    assert len(models) == len(cuts) + 19
    assert models.pop("whole.gguf") == ["registered", None]
    for path, (state, reason) in models.items():
        assert state == "unusable", path
        assert reason.startswith(path) or "part" in reason
        assert reason.endswith(".")
        assert len(reason) < 400
    assert all("cut short" in models[f"cut-{cut:09}.gguf"][1] for cut in cuts[10:])
    assert told["kib"] < 32 * 1024, told["kib"]


def test_flipped_bits_cost_a_sentence_at_most(tmp_path, put, header):
    """A flip in a word of the vocabulary makes another whole model; one in a length or a count does not."""
    chance, size = random.Random(7), chat_model().stat().st_size
    # Half of them where the counts and keys are, a third in the table of tensors, the rest anywhere.
    spans = [(0, 400)] * 60 + [(len(header) - 40_000, len(header) - 1)] * 40 + [(0, len(header) - 1)] * 20
    for n, (first, last) in enumerate(spans):
        flipped = bytearray(header)
        flipped[chance.randint(first, last)] ^= 1 << chance.randrange(8)
        put(f"{n:03}.gguf", bytes(flipped), size)

    put("whole.gguf", header, size)

    told = looked_through(tmp_path)

    assert len(told["models"]) == len(spans) + 1
    assert told["models"]["whole.gguf"] == ["registered", None]
    for state, reason in told["models"].values():
        assert (state == "registered") == (reason is None)
        assert reason is None or reason.endswith(".")
    assert told["kib"] < 32 * 1024, told["kib"]
