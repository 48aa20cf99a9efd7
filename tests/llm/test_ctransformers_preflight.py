"""What is let through to ctransformers: all of it loads, and nothing that would end its process."""

import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from library.errors import ModelFileInvalid
from llm.engines.ctransformers.convert import convert
from llm.engines.ctransformers.preflight import available, inspect_for_ctransformers
from tests.llm.gguf_files import counted, key, listed, said
from tests.llm.tiny_llama import (
    BYTE_LEVEL,
    FLOAT32,
    SENTENCE_PIECES,
    WIDTH,
    numbers,
    real,
    strings,
    tiny_llama,
)
from tests.places import ROOT, chat_model, missing

Change = Callable[[dict[str, bytes], dict[str, tuple[int, ...]]], None]

# Loads each file that is named on a line and asks it for three tokens; says which it is at.
LOADING = """
import sys
from ctransformers.llm import LLM, Config
for line in sys.stdin:
    print("at", line.strip(), flush=True)
    try:
        model = LLM(line.strip(), "gguf", config=Config(context_length=64), lib="basic")
    except RuntimeError:
        print("refused", flush=True)
        continue
    if "pieces" in line:  # a byte-level vocabulary is read by ourselves
        model.tokenize("water is a caf\\u00e9")
    for token in (3, 4, 5):
        model.eval([token], batch_size=8, threads=1)
        model.sample(top_k=1, temperature=1.0, seed=1)
    print("fine", flush=True)
"""


def loaded(files: list[Path]) -> list[str]:
    """What became of each in the engine itself: "fine" or "refused". Fails if its process died."""
    if why := available():
        missing(why)
    done = subprocess.run(
        [sys.executable, "-c", LOADING],
        input="\n".join(map(str, files)),
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-300:], done.stderr[-300:])
    return [line for line in done.stdout.splitlines() if not line.startswith("at ")]


def refusal_of(folder: Path, change: Change, vocabulary: list[tuple[str, int]] = SENTENCE_PIECES) -> str:
    file = folder / "tiny.gguf"
    file.write_bytes(tiny_llama(vocabulary, change))
    with pytest.raises(ModelFileInvalid) as caught:
        inspect_for_ctransformers(file)
    return str(caught.value)


@pytest.mark.parametrize("version", [2, 3])
def test_a_file_that_it_can_run_is_let_through_and_runs(tmp_path: Path, version: int) -> None:
    file = tmp_path / "pieces.gguf"
    file.write_bytes(tiny_llama(version=version))
    assert inspect_for_ctransformers(file).version == version
    assert loaded([file]) == ["fine"]


@pytest.mark.models
def test_the_starter_model_is_refused_as_it_is_published_and_told_what_helps() -> None:
    with pytest.raises(ModelFileInvalid, match="almanac models convert") as caught:
        inspect_for_ctransformers(chat_model())
    assert "byte-level vocabulary" in str(caught.value)
    assert "one table for reading and writing" in str(caught.value)


def put(**changed: bytes) -> Change:
    """Other keys, their dots written as two underscores; an empty one is left out."""

    def change(said_of: dict[str, bytes], _: dict[str, tuple[int, ...]]) -> None:
        for name, value in changed.items():
            said_of[name.replace("__", ".")] = value
            if not value:
                del said_of[name.replace("__", ".")]

    return change


def shaped(name: str, shape: tuple[int, ...] | None) -> Change:
    def change(_: dict[str, bytes], shapes: dict[str, tuple[int, ...]]) -> None:
        shapes.pop(name, None)
        if shape:
            shapes[name] = shape

    return change


TOKENS = [token for token, _ in SENTENCE_PIECES]
HEADS = "llama.attention.head_count"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put(general__architecture=said("general.architecture", "qwen2")), "architecture qwen2"),
        (put(llama__block_count=b""), "no llama.block_count"),
        (put(llama__attention__head_count=counted(HEADS, 0)), "no llama.attention.head_count"),
        (put(llama__attention__head_count=counted(HEADS, 3)), "a shape that cannot be"),
        (put(llama__attention__head_count_kv=listed(f"{HEADS}_kv", 1, 1)), "layers of different shapes"),
        (put(llama__attention__key_length=counted("llama.attention.key_length", 8)), "llama.attention.key_length"),
        (put(llama__embedding_length=said("llama.embedding_length", "32")), "no llama.embedding_length"),
        (put(llama__expert_count=counted("llama.expert_count", 8)), "several experts"),
        (put(llama__rope__scaling__type=said("llama.rope.scaling.type", "yarn")), "stretches its context"),
        (put(llama__logit_scale=real("llama.logit_scale", 4)), "scales its outcome"),
        (put(tokenizer__ggml__model=said("tokenizer.ggml.model", "bert")), "tokenizer, bert"),
        (put(tokenizer__ggml__tokens=b""), "no vocabulary"),
        (put(tokenizer__ggml__token_type=b""), "of what kind its tokens are"),
        (put(tokenizer__ggml__scores=numbers("tokenizer.ggml.scores", FLOAT32, [0, 0])), "scores that do not belong"),
        (put(tokenizer__ggml__tokens=strings("tokenizer.ggml.tokens", [t.replace("<0x0A>", "x") for t in TOKENS])), "no token for some bytes"),
        (put(tokenizer__ggml__eos_token_id=counted("tokenizer.ggml.eos_token_id", 99_999)), "eos token"),
        (put(split__count=key("split.count", 2, struct.pack("<H", 2))), "several parts"),
        (shaped("output.weight", None), "almanac models convert"),
        (shaped("rope_freqs.weight", (8,)), "has the tensor rope_freqs.weight"),
        (shaped("blk.0.ffn_up.weight", None), "lacks the tensor blk.0.ffn_up.weight"),
        (shaped("blk.0.attn_q.weight", (WIDTH, WIDTH * 2)), "another shape"),
    ],
)  # fmt: skip
def test_each_obstacle_has_its_words(tmp_path: Path, change: Change, words: str) -> None:
    assert words in refusal_of(tmp_path, change)


def test_what_conversion_does_not_help_is_not_sent_there(tmp_path: Path) -> None:
    def change(said_of: dict[str, bytes], shapes: dict[str, tuple[int, ...]]) -> None:
        put(llama__expert_count=counted("llama.expert_count", 8))(said_of, shapes)
        shaped("output.weight", None)(said_of, shapes)

    said_so = refusal_of(tmp_path, change)
    assert "one table" in said_so
    assert "convert" not in said_so


def test_a_byte_level_vocabulary_of_anybody_elses_is_refused(tmp_path: Path) -> None:
    """Its bytes are there, but not the merges that cut words as the model was taught."""
    tokens = [bytes([byte]).decode("latin-1") for byte in range(128)]
    raw = [(token, 1) for token in ["<s>", "x", "</s>", *tokens]] + BYTE_LEVEL[131:]
    change = put(tokenizer__ggml__tokens=strings("tokenizer.ggml.tokens", (token for token, _ in raw)))
    both = put(tokenizer__ggml__scores=numbers("tokenizer.ggml.scores", FLOAT32, [0.0] * len(raw)))

    def changes(said_of: dict[str, bytes], shapes: dict[str, tuple[int, ...]]) -> None:
        change(said_of, shapes)
        both(said_of, shapes)

    assert "did not write" in refusal_of(tmp_path, changes, BYTE_LEVEL)


@pytest.mark.parametrize("vocabulary", ["pieces", "bytes"])
def test_no_damaged_file_that_is_let_through_ends_the_engine(tmp_path: Path, vocabulary: str) -> None:
    """Bits are flipped all over the header; what is let through is given to the engine itself."""
    whole, dice = tiny_llama(), random.Random(7)
    if vocabulary == "bytes":
        (tmp_path / "published").write_bytes(tiny_llama(BYTE_LEVEL))
        convert(tmp_path / "published", tmp_path / "converted")
        whole = (tmp_path / "converted").read_bytes()
    header = whole.index(b"output.weight") + 60
    through = []
    for at in range(600):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 2)):
            damaged[dice.randrange(header)] ^= 1 << dice.randrange(8)
        file = tmp_path / f"{vocabulary}-{at}.gguf"
        file.write_bytes(damaged)
        try:
            inspect_for_ctransformers(file)
        except ModelFileInvalid:
            file.unlink()
        else:
            through.append(file)
    assert 20 < len(through) < 580  # letters of names and tokens, scores, numbers of no consequence
    assert set(loaded(through)) <= {"fine", "refused"}
