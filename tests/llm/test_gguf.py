"""GGUF headers: what a good one says, and that a bad one costs a sentence and nothing more."""

import os
import struct
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from library.errors import ModelFileInvalid
from llm.gguf import MAX_STRINGS, GgufSummary, inspect
from tests.places import chat_model

U32, STRING, ARRAY, F32, Q4_1 = 4, 8, 9, 0, 3


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str, dimensions: tuple[int, ...], kind: int, offset: int) -> bytes:
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


KEYS = (
    key("general.architecture", STRING, text("llama")),
    key("general.name", STRING, text("A Model\x1b[31m")),
    key("general.file_type", U32, struct.pack("<I", 15)),
    key("llama.context_length", U32, struct.pack("<I", 2048)),
    key(
        "tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, 3) + text("a") + text("b" * 300) + text("")
    ),
    key("tokenizer.ggml.scores", ARRAY, struct.pack("<IQ3f", 6, 3, 0, 0, 0)),
    key("tokenizer.chat_template", STRING, text("{{ messages }}" * 200)),
)
TENSORS = (tensor("token_embd.weight", (64, 4), Q4_1, 0), tensor("output.weight", (64,), F32, 160))
DATA = bytes(160 + 256)


def gguf(
    keys: Iterable[bytes] = KEYS, tensors: Iterable[bytes] = TENSORS, *, version: int = 3, data: bytes = DATA
) -> bytes:
    keys, tensors = list(keys), list(tensors)
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join((*keys, *tensors))
    return header + bytes(-len(header) % 32) + data


WHOLE = gguf()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def refusal(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(ModelFileInvalid) as caught:
        inspect(file)
    return str(caught.value)


def test_a_whole_file_says_what_it_is(file):
    file.write_bytes(WHOLE)
    assert inspect(file) == GgufSummary(
        architecture="llama",
        name="A Model[31m",
        context_tokens=2048,
        template=True,
        tensors=2,
        size_bytes=len(WHOLE),
        quantisation="Q4_K_M",
    )


def test_version_2_is_read_as_well(file):
    file.write_bytes(gguf(version=2))
    assert inspect(file).architecture == "llama"


def test_a_model_without_a_template_and_name_is_one(file):
    file.write_bytes(gguf(KEYS[:1]))
    summary = inspect(file)
    assert (summary.template, summary.name, summary.context_tokens, summary.quantisation) == (
        False,
        "",
        0,
        None,
    )


@pytest.mark.models
def test_the_starter_model_is_read():
    model = chat_model()
    summary = inspect(model)
    assert (summary.architecture, summary.context_tokens, summary.template) == ("llama", 8192, True)
    assert (summary.tensors, summary.quantisation) == (272, "Q4_1")
    assert summary.size_bytes == model.stat().st_size


def test_a_file_that_lacks_its_last_byte_is_cut_short(file):
    assert "cut short" in refusal(file, WHOLE[:-1])


def test_a_file_cut_anywhere_is_refused(file):
    for length in range(len(WHOLE)):
        refusal(file, WHOLE[:length])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a GGUF"),
        (b"PK\x03\x04" + bytes(100), "not a GGUF"),
        (b"tjgg" + bytes(100), "GGML era"),
        (gguf(version=1), "version 1"),
        (gguf(version=4), "version 4"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(100), "big-endian"),
        (gguf(tensors=()), "no weights"),
        (gguf(KEYS[1:]), "no architecture"),
        (gguf([*KEYS, KEYS[0]]), "twice"),
        (gguf([key("x", 99, b"")]), "unknown type"),
        (gguf([key("x", ARRAY, struct.pack("<IQIQ", ARRAY, 1, STRING, 0))]), "list of the unknown type"),
        (gguf([key("x", ARRAY, struct.pack("<IQ", STRING, MAX_STRINGS + 1))]), "strings"),
        (gguf([key("x", ARRAY, struct.pack("<IQ", STRING, 2**64 - 1))]), "strings"),
        (gguf([key("x", ARRAY, struct.pack("<IQ", U32, 2**64 - 1))]), "ends in the middle"),
        (gguf([key("x", STRING, struct.pack("<Q", 2**63))]), "ends in the middle"),
        (gguf([struct.pack("<Q", 2**40)]), "key of"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 2**60), "keys"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1), "tensors"),
        (gguf([*KEYS, key("general.alignment", U32, struct.pack("<I", 33))]), "alignment"),
        (gguf([*KEYS, key("general.alignment", STRING, text("x"))]), "alignment"),
        (gguf(tensors=[tensor("t", (1,) * 5, F32, 0)]), "dimensions"),
        (gguf(tensors=[tensor("t", (2**63, 2**63), F32, 0)]), "cut short"),
        (gguf(tensors=[tensor("t", (1,), 200, 2**50)]), "cut short"),
        (gguf([*KEYS, key("split.no", 2, b"\x01\x00"), key("split.count", 2, b"\x03\x00")]), "part 2 of 3"),
    ],
)
def test_a_bad_header_is_refused_in_a_sentence(file, content, said):
    sentence = refusal(file, content)
    assert said in sentence
    assert sentence.startswith("model.gguf ")
    assert sentence.endswith(".")


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    for path in (tmp_path, tmp_path / "none.gguf", tmp_path / "pipe.gguf", tmp_path / "a\0b"):
        with pytest.raises(ModelFileInvalid):
            inspect(path)


def test_the_first_part_of_several_is_a_model(file):
    file.write_bytes(gguf([*KEYS, key("split.no", 2, b"\x00\x00"), key("split.count", 2, b"\x03\x00")]))
    assert inspect(file).tensors == 2


def test_an_enormous_header_costs_little_time_and_memory(file):
    """Everything at its limit, in a file that claims 4 TiB."""
    vocabulary = key("v", ARRAY, struct.pack("<IQ", STRING, MAX_STRINGS)) + bytes(8 * MAX_STRINGS)
    file.write_bytes(gguf([vocabulary], [tensor("t", (1,), F32, 0)] * 65_536))
    os.truncate(file, 2**42)
    began = time.process_time()
    with pytest.raises(ModelFileInvalid):
        inspect(file)
    assert time.process_time() - began < 3  # half a second; generous, because CI is slow

    tracemalloc.start()
    with pytest.raises(ModelFileInvalid):
        inspect(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


hostile = settings(
    max_examples=300, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def survives(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        assert isinstance(inspect(file), GgufSummary)
    except ModelFileInvalid as error:
        assert str(error)


@hostile
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - len(DATA) - 1), st.integers(0, 255)), min_size=1))
def test_overwritten_headers_never_raise_anything_else(file, changes):
    content = bytearray(WHOLE)
    for at, value in changes:
        content[at] = value
    survives(file, bytes(content))


@hostile
@given(st.binary(max_size=400), st.sampled_from([b"", b"GGUF", b"GGUF\x03\0\0\0", WHOLE[:24], WHOLE[:200]]))
def test_random_headers_never_raise_anything_else(file, rest, beginning):
    survives(file, beginning + rest)


@hostile
@given(
    st.integers(0, len(WHOLE) - len(DATA) - 8),
    st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1]),
)
def test_extreme_numbers_anywhere_never_raise_anything_else(file, at, number):
    survives(file, WHOLE[:at] + struct.pack("<Q", number) + WHOLE[at + 8 :])
