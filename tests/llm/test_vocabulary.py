"""Vocabularies: cut as the default engine cuts, and put together again."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.engines.ctransformers.convert import convert
from llm.engines.supervisor import ModelSettings, Supervisor
from llm.model_files.contents import Contents, read_contents
from llm.model_files.vocabulary import Vocabulary
from tests.contracts.engines import converted_model
from tests.llm.gguf_files import counted
from tests.llm.tiny_llama import BYTE_LEVEL, SENTENCE_PIECES, tiny_llama
from tests.places import chat_model

TEXTS = [
    "Hello world's  end\n\n\n  x",
    "日本語 text 12345 ünïcode 🎉🎉",
    "a\x04b\x00c",
    "    four    spaces\t\ttabs ",
    "<|im_start|>x<|im_end|><|not_one|>",
    "def f(x):\n    return x**2  # ok\r\n\n" * 3,
    "",
]


def byte_level(folder: Path) -> Vocabulary:
    (folder / "published.gguf").write_bytes(tiny_llama(BYTE_LEVEL))
    convert(folder / "published.gguf", folder / "converted.gguf", force=True)
    return Vocabulary(read_contents(folder / "converted.gguf"), lambda _: [])


def pieces(folder: Path, **more: bytes) -> Vocabulary:
    (folder / "pieces.gguf").write_bytes(tiny_llama(SENTENCE_PIECES, lambda keys, _: keys.update(more)))
    model: Contents = read_contents(folder / "pieces.gguf")
    return Vocabulary(model, lambda text: [3 + byte for byte in text.encode()])


@pytest.mark.models
def test_a_converted_model_is_cut_as_its_original_is_by_the_default_engine(tmp_path: Path) -> None:
    ours = Vocabulary(read_contents(converted_model()), lambda _: [])
    assert ours.ends == {0, 2}

    async def scene() -> list[list[int]]:
        supervisor = Supervisor(chat_model(), tmp_path, ModelSettings(context_tokens=256, parallel=1))
        await supervisor.start()
        await supervisor.settled.wait()
        client, cut = supervisor.engine()._client, []
        for text in TEXTS:
            asked = {"content": text, "parse_special": True, "add_special": False}
            cut.append((await client.post("/tokenize", content=json.dumps(asked))).json()["tokens"])
        await supervisor.stop()
        return cut

    theirs = asyncio.run(scene())
    assert [ours.tokens(text) for text in TEXTS] == theirs
    # Bytes that the vocabulary has no token for are left out by both; all else comes back.
    for text in TEXTS[:2] + TEXTS[3:4] + TEXTS[5:]:
        assert b"".join(map(ours.piece, ours.tokens(text))).decode() == text


def test_words_are_merged_and_control_tokens_found(tmp_path: Path) -> None:
    ours = byte_level(tmp_path)
    ids = ours.tokens("<|im_start|> wat<|im_end|>")
    assert ids == [1, 261, 2]
    assert [ours.piece(token) for token in ids] == [b"", b" wat", b""]
    assert (ours.opening_text, ours.closing_text, ours.ends) == ("<|im_start|>", "<|im_end|>", {0, 2})
    assert ours.piece(-1) == ours.piece(10**9) == b""


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_cut_and_put_together_again(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    ours = _kept(tmp_path_factory)
    assert b"".join(map(ours.piece, ours.tokens(text))).decode() == text


def _kept(factory: pytest.TempPathFactory, kept: list[Vocabulary] = []) -> Vocabulary:  # noqa: B006
    if not kept:
        kept.append(byte_level(factory.mktemp("vocabulary")))
    return kept[0]


def test_sentence_pieces_are_the_engines_and_control_tokens_ours(tmp_path: Path) -> None:
    ours = pieces(tmp_path)
    assert ours.tokens("ab</s>c") == [
        1,
        3 + ord("a"),
        3 + ord("b"),
        2,
        3 + ord("c"),
    ]  # with its opening token
    assert ours.tokens("<s>a\0b") == [1, 3 + ord("a"), 3 + ord("b")]  # and never twice
    assert (ours.piece(259), ours.piece(3 + 10), ours.piece(2), ours.ends) == (b" water", b"\n", b"", {2})


def test_a_model_that_wants_no_opening_token_gets_none(tmp_path: Path) -> None:
    assert pieces(
        tmp_path, **{"tokenizer.ggml.add_bos_token": counted("tokenizer.ggml.add_bos_token", 0)}
    ).tokens("a") == [3 + ord("a")]
