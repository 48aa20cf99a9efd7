"""`almanac models convert`: the starter model written anew, and everything that may go wrong on the way."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from library.errors import InvalidRequest, ModelFileInvalid, SetupError
from llm.engines.ctransformers import convert as ctransformers_convert
from llm.engines.ctransformers.convert import convert, converted_name
from llm.engines.ctransformers.preflight import inspect_for_ctransformers
from llm.model_files import contents as gguf_contents
from llm.model_files.byte_alphabet import BYTE, LETTER, as_bytes, as_letters
from llm.model_files.card import inspect, inspect_chat_model
from llm.model_files.contents import Contents, read_contents
from tests.contracts.engines import converted_model
from tests.llm.gguf_files import counted
from tests.llm.tiny_llama import BYTE_LEVEL, MERGES, tiny_llama
from tests.places import ROOT, chat_model


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A small model with a byte-level vocabulary and one table for reading and writing, as they are published."""
    file = tmp_path / "tiny.gguf"

    def tied(_: dict[str, bytes], shapes: dict[str, tuple[int, ...]]) -> None:
        del shapes["output.weight"]

    file.write_bytes(tiny_llama(BYTE_LEVEL, tied, version=3))
    return file


def weights(file: Path, model: Contents) -> dict[str, bytes]:
    raw = file.read_bytes()
    return {
        tensor.name: raw[model.data_at + tensor.offset : model.data_at + tensor.offset + tensor.size_bytes]
        for tensor in model.tensors
    }


def test_the_alphabet_has_a_letter_for_each_byte() -> None:
    assert sorted(BYTE.values()) == list(range(256))
    assert as_letters(b" \n\x00a") == "ĠĊĀa"
    assert as_bytes("ĠĊĀa") == b" \n\x00a"
    assert as_bytes("<|端|>") is None
    assert len(set(LETTER.values())) == 256


def test_what_is_written_is_what_was_there(published: Path) -> None:
    target = converted_name(published)
    told: list[tuple[int, int]] = []
    convert(published, target, progress=lambda done, of: told.append((done, of)))
    before, after = read_contents(published), inspect_for_ctransformers(target)
    assert after.version == 2
    old, new = weights(published, before), weights(target, after)
    assert new == old | {"output.weight": old["token_embd.weight"]}
    assert all(tensor.offset % 32 == 0 for tensor in after.tensors)
    assert after.data_at % 32 == 0
    tokens = after.strings("tokenizer.ggml.tokens")
    assert tokens[:3] == [b"<|endoftext|>", b"<|im_start|>", b"<|im_end|>"]
    assert set(tokens[3:259]) == {bytes([byte]) for byte in range(256)}
    assert tokens[259:] == [b" w", b"at", b" wat"]
    assert after.strings("tokenizer.ggml.merges") == [b"  w", b"a t", b" w at"]
    assert after.strings("almanac.merges") == [merge.encode() for merge in MERGES]
    assert set(after.values["tokenizer.ggml.scores"].numbers()) == {0.0}
    unchanged = {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}
    assert {
        name: value for name, value in after.values.items() if name in before.values and name not in unchanged
    } == {name: value for name, value in before.values.items() if name not in unchanged}
    assert told[-1] == (target.stat().st_size, target.stat().st_size)
    assert inspect_chat_model(target).engine == "ctransformers"
    assert inspect_chat_model(published).engine is None
    assert not [path for path in target.parent.iterdir() if path.name.startswith(".")]


def test_converting_what_was_converted_changes_nothing(published: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once.gguf", tmp_path / "twice.gguf"
    convert(published, once)
    convert(once, twice)
    assert once.read_bytes() == twice.read_bytes()


def test_nothing_is_written_over_unasked(published: Path, tmp_path: Path) -> None:
    target = tmp_path / "there.gguf"
    target.write_text("mine")
    with pytest.raises(InvalidRequest, match="--force"):
        convert(published, target)
    assert target.read_text() == "mine"
    convert(published, target, force=True)
    assert inspect(target).engine == "ctransformers"
    link = tmp_path / "link.gguf"
    link.hardlink_to(published)
    before = published.read_bytes()
    for same in (published, link, tmp_path):
        with pytest.raises(InvalidRequest, match="another file"):
            convert(published, same, force=True)
    with pytest.raises(InvalidRequest, match="not there"):
        convert(published, tmp_path / "no" / "x.gguf")
    assert published.read_bytes() == before


def test_what_could_not_run_either_is_not_written(tmp_path: Path) -> None:
    source, target = tmp_path / "experts.gguf", tmp_path / "new.gguf"

    def change(said_of: dict[str, bytes], _: dict[str, tuple[int, ...]]) -> None:
        said_of["llama.expert_count"] = counted("llama.expert_count", 8)

    source.write_bytes(tiny_llama(BYTE_LEVEL, change))
    with pytest.raises(ModelFileInvalid, match="several experts"):
        convert(source, target)
    source.write_bytes(tiny_llama(BYTE_LEVEL)[:-100])
    with pytest.raises(ModelFileInvalid, match="cut short"):
        convert(source, target)
    assert sorted(tmp_path.iterdir()) == [source]


def test_a_full_disk_is_seen_before_anything_is_written(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = SimpleNamespace(free=2**20)
    monkeypatch.setattr(ctransformers_convert.shutil, "disk_usage", lambda _: few)
    with pytest.raises(SetupError, match="Make room"):
        convert(published, tmp_path / "new.gguf")
    assert sorted(tmp_path.iterdir()) == [published]


def test_a_file_that_shrinks_meanwhile_leaves_nothing(published: Path, tmp_path: Path) -> None:
    def shrink(_done: int, _of: int) -> None:
        os.truncate(published, 8_000)

    with pytest.raises(ModelFileInvalid):
        convert(published, tmp_path / "new.gguf", progress=shrink)
    assert sorted(tmp_path.iterdir()) == [published]


def test_a_damaged_file_is_refused_in_words_or_becomes_one_that_runs(published: Path, tmp_path: Path) -> None:
    whole, dice = published.read_bytes(), random.Random(3)
    header, target = whole.index(b"output_norm.weight") + 60, tmp_path / "new.gguf"
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            damaged[dice.randrange(header)] ^= 1 << dice.randrange(8)
        published.write_bytes(damaged)
        target.unlink(missing_ok=True)
        try:
            convert(published, target)
        except ModelFileInvalid as error:
            assert str(error).endswith(".")
            assert not target.exists()
            outcomes.add("refused")
        else:
            inspect_for_ctransformers(target)
            outcomes.add("written")
    assert outcomes == {"refused", "written"}


def test_contents_are_what_the_file_says(published: Path) -> None:
    model = read_contents(published)
    assert model.whole("llama.context_length") == 256
    assert model.whole("general.architecture") is None
    assert model.text("llama.context_length") == ""
    assert model.values["tokenizer.ggml.tokens"].numbers() == ()
    assert list(model.values["tokenizer.ggml.token_type"].strings()) == []
    assert model.values["llama.context_length"].listed() == (-1, 0)
    with pytest.raises(ModelFileInvalid):
        read_contents(published.with_name("none.gguf"))


def test_what_is_too_much_for_the_memory_is_not_taken_in(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_contents, "MAX_BYTES", 4_096)
    with pytest.raises(ModelFileInvalid, match="more beside its weights"):
        read_contents(published)


# --- the command, on the real model ---------------------------------------------------------------


def almanac(folder: Path, *given: str) -> subprocess.CompletedProcess[str]:
    config = folder / "almanac.toml"
    config.write_text(
        f"[paths]\ndata = {json.dumps(str(folder / 'data'))}\nmodels = {json.dumps(str(folder / 'models'))}\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "appliance", "--config", str(config), "models", *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.models
def test_the_command_converts_a_model_of_the_folder_and_says_what_next(tmp_path: Path) -> None:
    converted_model()  # skips where the engine is not there
    chat = tmp_path / "models" / "chat"
    chat.mkdir(parents=True)
    (chat / "smol.gguf").symlink_to(chat_model())
    done = almanac(tmp_path, "convert", "smol", "--out", str(chat / "a-smol.gguf"))
    assert done.returncode == 0, done.stderr
    assert "almanac models load a-smol" in done.stdout
    again = almanac(tmp_path, "convert", "smol", "--out", str(chat / "a-smol.gguf"))
    assert (again.returncode, "--force" in again.stderr) == (2, True)
    forced = almanac(
        tmp_path, "convert", str(chat / "smol.gguf"), "--out", str(chat / "a-smol.gguf"), "--force", "--json"
    )
    told = msgspec.json.decode(forced.stdout)
    assert (told["engine"], told["size_bytes"]) == ("ctransformers", (chat / "a-smol.gguf").stat().st_size)
    # First by its name, and yet nothing chooses it unasked.
    models = {
        model["id"]: model for model in msgspec.json.decode(almanac(tmp_path, "--json").stdout)["items"]
    }
    assert [name for name, model in models.items() if model["chosen"]] == ["smol"]
    assert "written for ctransformers" in models["a-smol"]["notes"][0]


@pytest.mark.parametrize("given", [("convert",), ("convert", "nothing-of-that-name")])
def test_the_command_says_what_it_cannot_convert(tmp_path: Path, given: tuple[str, ...]) -> None:
    (tmp_path / "models").mkdir()
    done = almanac(tmp_path, *given)
    assert done.returncode in {1, 2}
    assert done.stderr.startswith("almanac: ")
