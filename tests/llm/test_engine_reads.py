"""The engine as one that reads: vectors and scores, of the real one; no text is written here."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from library.errors import InvalidRequest
from llm.engines.engine import Engine
from llm.engines.supervisor import ModelSettings, Supervisor
from llm.model_files.card import Kind, inspect
from search.embedder import Embedder
from tests.llm.gguf_files import counted
from tests.llm.minilm_gguf import write_embedder, write_reranker
from tests.llm.tiny_llama import tiny_llama
from tests.places import embedding_model

TEXTS = [
    "Water is boiled for a minute.",
    "Light the stove with birch bark.",
    "It's 3.14, isn't it? (Yes!) e-mail@example.org #7",
    "Größe naïve Äpfel 東京 résumé",
    "birch " * 200,
]
BIRCH = 16421


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedder(tmp_path_factory.mktemp("models") / "reads.gguf", embedding_model())


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reranker(tmp_path_factory.mktemp("models") / "judges.gguf", embedding_model())


@asynccontextmanager
async def engine_of(file: Path, folder: Path, **settings: object) -> AsyncGenerator[Engine, None]:
    supervisor = Supervisor(file, folder, ModelSettings(**settings))
    await supervisor.start()
    try:
        await supervisor.settled.wait()
        assert supervisor.reason is None
        yield supervisor.engine()
    finally:
        await supervisor.stop()


def pooled(pooling: int) -> Callable[[dict[str, bytes], dict[str, tuple[int, ...]]], None]:
    def change(keys: dict[str, bytes], _: dict[str, tuple[int, ...]]) -> None:
        keys["pooling"] = counted("llama.pooling_type", pooling)
        keys["llama.context_length"] = counted("llama.context_length", 2048)

    return change


@pytest.mark.models
def test_it_makes_the_vectors_that_the_library_is_searched_with(embedder, tmp_path):
    wanted = Embedder(embedding_model(), threads=1).embed(TEXTS)

    async def scene():
        async with engine_of(embedder, tmp_path) as engine:
            for text, vector in zip(TEXTS, wanted, strict=True):
                made, tokens = await engine.embed(text)
                assert np.linalg.norm(made) == pytest.approx(1, abs=1e-5)
                assert float(np.dot(made, vector)) > 0.98
                assert tokens > 8

    asyncio.run(scene())


@pytest.mark.models
def test_token_ids_are_framed_as_a_text_is(embedder, tmp_path):
    async def scene():
        async with engine_of(embedder, tmp_path) as engine:
            by_text = await engine.embed("birch birch")
            assert await engine.embed([BIRCH, BIRCH]) == by_text
            assert by_text[1] == 4
            for hostile in ([10**6], [10**12], [-1], [-(10**12)]):
                with pytest.raises(InvalidRequest) as caught:
                    await engine.embed(hostile)
                assert caught.value.parameter == "input"
            assert await engine.embed([BIRCH, BIRCH]) == by_text

    asyncio.run(scene())


@pytest.mark.models
@pytest.mark.parametrize(("context", "most"), [(128, 128), (4096, 512)])
def test_a_text_is_read_whole_or_refused_with_both_counts(embedder, tmp_path, context, most):
    async def scene():
        async with engine_of(embedder, tmp_path, context_tokens=context) as engine:
            assert (await engine.embed("birch " * (most - 2)))[1] == most
            with pytest.raises(InvalidRequest, match=f"holds {most + 1} tokens and the model reads {most}"):
                await engine.embed("birch " * (most - 1))

    asyncio.run(scene())


@pytest.mark.models
def test_one_that_may_cut_a_text_reads_more_than_a_batch(tmp_path):
    """A chat model's architecture, of which the last token is the vector: as many embedding models are made."""
    file = tmp_path / "last.gguf"
    file.write_bytes(tiny_llama(change=pooled(3)))
    assert (inspect(file).kind, inspect(file).in_one_piece) == (Kind.EMBEDDING, False)

    async def scene():
        async with engine_of(file, tmp_path, context_tokens=2048) as engine:
            vector, tokens = await engine.embed([70] * 1500)
            assert tokens > 1500
            assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
            with pytest.raises(InvalidRequest, match=r"holds 30\d\d tokens and the model reads 2048"):
                await engine.embed([70] * 3000)

    asyncio.run(scene())


@pytest.mark.models
def test_one_whose_every_token_counts_is_read_in_one_piece(tmp_path):
    file = tmp_path / "mean.gguf"
    file.write_bytes(tiny_llama(change=pooled(1)))
    assert inspect(file).in_one_piece

    async def scene():
        async with engine_of(file, tmp_path, context_tokens=2048) as engine:
            assert (await engine.embed([70] * 1500))[1] > 1500

    asyncio.run(scene())


@pytest.mark.models
def test_a_file_that_does_not_say_how_its_vectors_are_made_is_refused_in_words(tmp_path):
    file = write_embedder(
        tmp_path / "unsaid.gguf", embedding_model(), pooling=counted("bert.pooling_type", 0)
    )

    async def scene():
        async with engine_of(file, tmp_path) as engine:
            with pytest.raises(InvalidRequest, match="does not say how") as caught:
                await engine.embed("a")
            assert caught.value.parameter == "model"

    asyncio.run(scene())


@pytest.mark.models
def test_a_judge_says_the_same_of_the_same_and_refuses_what_is_too_long(reranker, tmp_path):
    async def scene():
        async with engine_of(reranker, tmp_path) as engine:
            first = await engine.judge("light the stove", "birch bark")
            other = await engine.judge("light the stove", "water")
            assert first == await engine.judge("light the stove", "birch bark")
            assert first[0] != other[0]
            assert (first[1], other[1]) == (7, 6)
            with pytest.raises(InvalidRequest, match=r"holds 60\d tokens together with the query") as caught:
                await engine.judge("light the stove", "water " * 600)
            assert caught.value.parameter == "documents"

    asyncio.run(scene())


@pytest.mark.models
def test_two_at_once_have_a_slot_each(embedder, tmp_path):
    async def scene():
        async with engine_of(embedder, tmp_path, parallel=2) as engine:
            alone = [(await engine.embed(text))[0] for text in TEXTS]
            together = await asyncio.gather(*map(engine.embed, TEXTS))
            for one, (other, _) in zip(alone, together, strict=True):
                assert float(np.dot(one, other)) > 0.999

    asyncio.run(scene())
