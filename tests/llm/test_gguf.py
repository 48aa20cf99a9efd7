"""GGUF headers: what a good one says, and that a bad one costs a sentence and nothing more."""

import os
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from library.errors import ModelFileInvalid
from llm.model_files.card import ModelCard, inspect
from llm.model_files.gguf import (
    MAX_LISTED,
    MAX_NUMBERS,
    MAX_STRINGS,
    MAX_TENSORS,
    Header,
    Listed,
    read_header,
)
from tests.llm.gguf_files import (
    ARRAY,
    DATA,
    F32,
    KEYS,
    Q4_1,
    STRING,
    TENSORS,
    U32,
    WHOLE,
    counted,
    gguf,
    key,
    listed,
    said,
    tensor,
    text,
)
from tests.places import chat_model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def refusal(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(ModelFileInvalid) as caught:
        read_header(file)
    return str(caught.value)


def test_a_whole_file_says_what_it_is(file):
    file.write_bytes(WHOLE)
    header = read_header(file)
    assert (header.tensors, header.values, header.size_bytes) == (2, {Q4_1: 256, F32: 64}, len(WHOLE))
    assert header.text("general.architecture") == "llama"
    assert header.text("general.name") == "A Model[31m"
    assert header.whole("llama.context_length") == 2048
    assert header.facts["tokenizer.ggml.tokens"] == Listed(3)
    assert header.facts["tokenizer.ggml.scores"] == Listed(3, (0, 0, 0))


def test_version_2_is_read_as_well(file):
    file.write_bytes(gguf(version=2))
    assert read_header(file).tensors == 2


def test_facts_of_the_wrong_type_are_none(file):
    file.write_bytes(gguf([said("a", "1"), counted("b", 0), counted("c", 7), listed("d", 1, 2)]))
    header = read_header(file)
    assert [header.whole(name) for name in "abcde"] == [0, 0, 7, 0, 0]
    assert [header.text(name) for name in "abcde"] == ["1", "", "", "", ""]


def test_of_a_long_list_only_its_length_is_kept(file):
    short, long = [1] * MAX_LISTED, [1] * (MAX_LISTED + 1)
    many = [listed(f"short{n}", *short) for n in range(MAX_NUMBERS // MAX_LISTED + 1)]
    file.write_bytes(gguf([listed("long", *long), *many]))
    facts = read_header(file).facts
    assert facts["long"] == Listed(MAX_LISTED + 1)
    assert facts["short0"] == Listed(MAX_LISTED, tuple(short))
    assert facts[f"short{len(many) - 1}"] == Listed(MAX_LISTED)


@pytest.mark.models
def test_the_starter_model_is_read():
    model = chat_model()
    header = read_header(model)
    assert (header.tensors, header.size_bytes) == (272, model.stat().st_size)
    assert sum(header.values.values()) == 134_515_008


def test_a_file_that_lacks_its_last_byte_is_cut_short(file):
    assert "cut short" in refusal(file, WHOLE[:-1])


def test_a_file_cut_anywhere_is_refused(file):
    for length in range(len(WHOLE)):
        refusal(file, WHOLE[:length])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"GGU", "not a GGUF"),
        (b"PK\x03\x04" + bytes(100), "not a GGUF"),
        (b"tjgg" + bytes(100), "GGML era"),
        (gguf(version=1), "version 1"),
        (gguf(version=4), "version 4"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(100), "big-endian"),
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
        (gguf([*KEYS, counted("general.alignment", 33)]), "alignment"),
        (gguf([*KEYS, said("general.alignment", "x")]), "alignment"),
        (gguf([*KEYS, counted("general.alignment", 0)]), "alignment"),
        (gguf([key("", STRING, text("x"))]), "key of 0 bytes"),
        (gguf(tensors=[tensor("t", (1,) * 5, F32, 0)]), "5 dimensions"),
        (gguf(tensors=[tensor("t", (2**63, 2**63), F32, 0)]), "impossible shape"),
        (gguf(tensors=[tensor("t", (2**40,), F32, 0)]), "cut short"),
        (gguf(tensors=[tensor("t", (33,), Q4_1, 0)]), "impossible shape"),
        (gguf(tensors=[tensor("t", (1,), 200, 0)]), "unknown type 200"),
        (gguf(tensors=[tensor("t", (1,), 31, 0)]), "unknown type 31"),
        (gguf(tensors=[tensor("t", (1,), F32, 2**50)]), "leaves a gap"),
        (gguf(tensors=[TENSORS[0], tensor("t", (64,), F32, 32)]), "t, that overlaps"),
        (gguf(tensors=[TENSORS[0], tensor("t", (64,), F32, 0)]), "t, that overlaps"),
        (gguf(tensors=[TENSORS[0], tensor("t", (64,), F32, 192)]), "t, that leaves a gap"),
        (gguf(tensors=[TENSORS[0], tensor("t", (64,), F32, 161)]), "t, that leaves a gap"),
        (gguf(tensors=[TENSORS[0], TENSORS[0]]), "tensor token_embd.weight twice"),
        (gguf(tensors=[tensor("t" * 64, (1,), F32, 0)]), "tensor name of 64 bytes"),
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
            read_header(path)


def test_a_hostile_file_name_does_not_reach_the_sentence(tmp_path):
    with pytest.raises(ModelFileInvalid) as caught:
        read_header(tmp_path / "a\x1b[2J\udcff.gguf")
    assert str(caught.value).encode().startswith(b"a[2J.gguf cannot be read")


def test_an_enormous_header_costs_little_time_and_memory(file):
    """Everything at its limit, in a file that claims 4 TiB."""
    vocabulary = key("v", ARRAY, struct.pack("<IQ", STRING, MAX_STRINGS)) + bytes(8 * MAX_STRINGS)
    tensors = [tensor(f"{n:063}", (2**30,), F32, n * 2**32) for n in range(MAX_TENSORS)]
    file.write_bytes(gguf([vocabulary], tensors))
    os.truncate(file, 2**42)
    began = time.process_time()
    with pytest.raises(ModelFileInvalid):
        read_header(file)
    assert time.process_time() - began < 3  # half a second; generous, because CI is slow

    tracemalloc.start()
    with pytest.raises(ModelFileInvalid):
        read_header(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 2**20


hostile = settings(
    max_examples=300, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def survives(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        assert isinstance(read_header(file), Header)
        assert isinstance(inspect(file), ModelCard)
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
