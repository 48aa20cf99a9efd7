"""Cards: what each kind of model file is taken for, and what is no model at all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from library.errors import ModelFileInvalid
from llm.model_files.architectures import ENCODERS, HELPERS, KNOWN, PROJECTOR, WINDOW_EVERY
from llm.model_files.card import Cache, Kind, inspect, inspect_chat_model, part_files
from tests.llm.gguf_files import (
    ARRAY,
    BOOL,
    F32,
    KEYS,
    Q4_1,
    TENSORS,
    WHOLE,
    counted,
    gguf,
    key,
    listed,
    said,
    tensor,
)
from tests.places import ROOT, chat_model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def refusal(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(ModelFileInvalid) as caught:
        inspect(file)
    return str(caught.value)


@pytest.mark.parametrize(
    ("template", "tools"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False),
        ("{# toolset #}" * 400 + "{%- if tools %}{{ tools | tojson }}{% endif %}", True),
        ("x" * 2**18 + "tools", False),  # beyond what is read of it
    ],
)
def test_a_template_that_has_a_place_for_tools_is_known_by_it(file, template, tools):
    file.write_bytes(gguf((*KEYS[:1], said("tokenizer.chat_template", template))))
    card = inspect(file)
    assert (card.template, card.tools) == (True, tools)


@pytest.mark.models
def test_the_starter_model_is_a_chat_model():
    card = inspect_chat_model(chat_model())
    assert (card.kind, card.architecture, card.template) == (Kind.CHAT, "llama", True)
    assert (card.context_tokens, card.quantisation, card.licence) == (8192, "Q4_1", "apache-2.0")
    assert (card.parameters, card.tensors, card.vocabulary) == (134_515_008, 272, 49_152)
    # 30 layers of 3 heads for keys and values, 64 numbers each
    assert card.cache == Cache(whole=30 * 3 * (64 + 64) * 2)
    assert (card.size_bytes, card.parts) == (chat_model().stat().st_size, 1)


def test_a_model_that_says_next_to_nothing_is_one(file):
    file.write_bytes(gguf(KEYS[:1]))
    card = inspect(file)
    assert (card.kind, card.template, card.name, card.licence) == (Kind.CHAT, False, "", "")
    assert (card.context_tokens, card.vocabulary, card.cache) == (0, 0, Cache())


KINDS = {
    "llama": (Kind.CHAT, [said("general.architecture", "llama"), said("general.type", "model")]),
    "vector": (Kind.EMBEDDING, [said("general.architecture", "bert"), counted("bert.pooling_type", 1)]),
    "bert without pooling": (Kind.EMBEDDING, [said("general.architecture", "nomic-bert")]),
    "decoder": (Kind.EMBEDDING, [said("general.architecture", "qwen3"), counted("qwen3.pooling_type", 3)]),
    "judge": (Kind.RERANK, [said("general.architecture", "qwen3"), counted("qwen3.pooling_type", 4)]),
    "no pooling": (Kind.CHAT, [said("general.architecture", "qwen3"), counted("qwen3.pooling_type", 0)]),
    "mmproj": (Kind.PROJECTOR, [said("general.architecture", "clip"), said("general.type", "mmproj")]),
    "old mmproj": (Kind.PROJECTOR, [said("general.architecture", "clip")]),
    "lora": (Kind.ADAPTER, [said("general.architecture", "llama"), said("general.type", "adapter")]),
    "old lora": (Kind.ADAPTER, [said("general.architecture", "llama"), said("adapter.type", "lora")]),
    "control vector": (Kind.ADAPTER, [said("general.architecture", "controlvector")]),
    "voice": (Kind.HELPER, [said("general.architecture", "wavtokenizer-dec")]),
}


@pytest.mark.parametrize(("kind", "keys"), KINDS.values(), ids=KINDS)
def test_each_kind_is_told_from_the_others(file, kind, keys):
    file.write_bytes(gguf(keys))
    assert inspect(file).kind is kind
    if kind is not Kind.CHAT:
        with pytest.raises(ModelFileInvalid, match=r"^model.gguf is .* Name a chat model\.$"):
            inspect_chat_model(file)


def test_an_encoder_with_a_head_that_judges_is_a_reranker(file):
    tensors = [tensor("cls.output.weight", (64,), F32, 0)]
    file.write_bytes(gguf([said("general.architecture", "bert")], tensors))
    assert inspect(file).kind is Kind.RERANK


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gguf(tensors=()), "a vocabulary and no weights"),
        (gguf([*KEYS, said("general.type", "vocab")]), "a vocabulary and no weights"),
        (gguf([said("general.type", "imatrix")]), "measurements for quantising"),
        (gguf(KEYS[1:]), "no architecture"),
        (gguf([said("general.architecture", "../llama")]), "no architecture"),
        (gguf([counted("general.architecture", 1)]), "no architecture"),
        (gguf([said("general.architecture", "flux")]), "flux, which the engine does not know"),
    ],
)
def test_what_no_engine_could_load_is_refused(file, content, says):
    sentence = refusal(file, content)
    assert says in sentence
    assert sentence.startswith("model.gguf ")


@pytest.mark.parametrize(
    ("keys", "quantisation"),
    [
        ([counted("general.file_type", 15)], "Q4_K_M"),
        ([counted("general.file_type", 99)], "Q4_1"),
        ([said("general.file_type", "best")], "Q4_1"),
        ([], "Q4_1"),
    ],
)
def test_the_quantisation_is_the_files_word_or_that_of_most_numbers(file, keys, quantisation):
    file.write_bytes(gguf([KEYS[0], *keys]))
    assert inspect(file).quantisation == quantisation


# --- what a token of context takes ----------------------------------------------------------------

SHAPE = (counted("llama.block_count", 4), counted("llama.embedding_length", 64))


@pytest.mark.parametrize(
    ("keys", "cache"),
    [
        ([counted("llama.attention.head_count", 8)], Cache(whole=4 * 8 * 16 * 2)),
        (
            [counted("llama.attention.head_count", 8), counted("llama.attention.head_count_kv", 2)],
            Cache(whole=4 * 2 * 16 * 2),
        ),
        (
            [
                counted("llama.attention.head_count", 8),
                counted("llama.attention.head_count_kv", 1),
                counted("llama.attention.key_length", 24),
                counted("llama.attention.value_length", 16),
            ],
            Cache(whole=4 * 40 * 2),
        ),
        # Layers without attention remember nothing.
        (
            [
                counted("llama.attention.head_count", 8),
                listed("llama.attention.head_count_kv", 0, 2, 0, 2),
            ],
            Cache(whole=2 * 2 * 16 * 2),
        ),
        # A list that is too short is none: at worst too much.
        (
            [counted("llama.attention.head_count", 8), listed("llama.attention.head_count_kv", 1)],
            Cache(whole=4 * 8 * 16 * 2),
        ),
        ([], Cache()),
    ],
)
def test_the_cache_follows_from_the_attention(file, keys, cache):
    file.write_bytes(gguf([KEYS[0], *SHAPE, *keys]))
    assert inspect(file).cache == cache


HEADS = 8 * 16 * 2


@pytest.mark.parametrize(
    ("architecture", "pattern", "cache"),
    [
        ("gemma2", b"", Cache(whole=2 * HEADS, windowed=2 * HEADS, window=1024)),
        ("gemma2", "number", Cache(whole=HEADS, windowed=3 * HEADS, window=1024)),
        ("gemma2", "list", Cache(whole=HEADS, windowed=3 * HEADS, window=1024)),
        # Not known to take turns: at worst too much.
        ("llama", b"", Cache(whole=4 * HEADS, windowed=0, window=1024)),
    ],
)
def test_layers_with_a_window_are_counted_apart(file, architecture, pattern, cache):
    keys = [
        said("general.architecture", architecture),
        counted(f"{architecture}.block_count", 4),
        counted(f"{architecture}.embedding_length", 128),
        counted(f"{architecture}.attention.head_count", 8),
        counted(f"{architecture}.attention.head_count_kv", 4),
        counted(f"{architecture}.attention.sliding_window", 1024),
    ]
    name = f"{architecture}.attention.sliding_window_pattern"
    if pattern == "number":
        keys.append(counted(name, 4))
    elif pattern == "list":
        keys.append(key(name, ARRAY, bytes((BOOL, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1))))
    file.write_bytes(gguf(keys))
    assert inspect(file).cache == cache


# --- models in parts ------------------------------------------------------------------------------


def in_parts(folder: Path, parts: int = 3) -> Path:
    """As the engine's own tools cut a model: the first has the keys, each its own tensors."""
    for n in range(parts):
        split = [counted("split.count", parts), counted("split.no", n) if n else counted("split.no", 0)]
        tensors = [tensor(f"blk.{n}.weight", (64, 4), Q4_1, 0)]
        file = folder / f"big-{n + 1:05}-of-{parts:05}.gguf"
        file.write_bytes(gguf([*(KEYS if n == 0 else ()), *split], tensors, data=bytes(160)))
    return folder / f"big-00001-of-{parts:05}.gguf"


def test_a_model_in_parts_is_one_model(tmp_path):
    first = in_parts(tmp_path)
    card = inspect(first)
    assert (card.parts, card.tensors, card.parameters) == (3, 3, 3 * 256)
    assert card.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    assert part_files(first, 3) == sorted(tmp_path.iterdir())


def test_a_part_that_is_not_the_first_says_so(tmp_path):
    in_parts(tmp_path)
    with pytest.raises(ModelFileInvalid, match="part 2 of 3"):
        inspect(tmp_path / "big-00002-of-00003.gguf")


def test_a_missing_part_is_named(tmp_path):
    first = in_parts(tmp_path)
    (tmp_path / "big-00002-of-00003.gguf").unlink()
    with pytest.raises(ModelFileInvalid, match=r"part of the model is missing.*big-00002-of-00003\.gguf"):
        inspect(first)


def test_a_part_cut_short_is_named(tmp_path):
    first = in_parts(tmp_path)
    last = tmp_path / "big-00003-of-00003.gguf"
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(ModelFileInvalid, match=r"big-00003-of-00003\.gguf is cut short"):
        inspect(first)


def test_another_models_part_is_noticed(tmp_path):
    first = in_parts(tmp_path)
    (tmp_path / "big-00002-of-00003.gguf").write_bytes(WHOLE)
    with pytest.raises(ModelFileInvalid, match="not the part of the model that its name says"):
        inspect(first)


@pytest.mark.parametrize("parts", [4, 2**32 - 1])
def test_a_first_part_under_another_name_is_refused(file, parts):
    assert "not named so" in refusal(file, gguf([*KEYS, counted("split.count", parts)], TENSORS))


# --- what the engine knows ------------------------------------------------------------------------

# One tiny file for each name: what is known complains of something else than the name.
ASKING = """
import json, os, sys
import xllamacpp
folder, names = sys.argv[1], json.loads(sys.argv[2])
log = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT)
os.dup2(log, 2)
for name in names:
    asked = xllamacpp.CommonParams()
    asked.model.path = f"{folder}/{name}.gguf"
    asked.hostnames = [f"{folder}/{name}.sock"]
    asked.verbosity = 1
    try:
        xllamacpp.Server(asked)
    except RuntimeError:
        pass
os._exit(0)
"""


def test_the_engine_knows_the_architectures_of_the_table(tmp_path):
    names = [*sorted(KNOWN - {PROJECTOR}), "nonsuch"]
    for name in names:
        (tmp_path / f"{name}.gguf").write_bytes(gguf([said("general.architecture", name)]))
    command = [sys.executable, "-c", ASKING, str(tmp_path), json.dumps(names)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    said_of = (tmp_path / "log").read_text(errors="replace")
    assert "unknown model architecture: 'nonsuch'" in said_of
    assert [name for name in names if f"model architecture: '{name}'" in said_of] == ["nonsuch"]


def test_the_tables_agree_with_each_other():
    assert ENCODERS | HELPERS | {PROJECTOR} | WINDOW_EVERY.keys() <= KNOWN
    assert not ENCODERS & HELPERS
