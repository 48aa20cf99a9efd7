"""Reranking over HTTP: with a real graph that counts the word pieces which query and document share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cross_encoder import write_cross_encoder
from tests.places import MODELS, embedding_model
from tests.running import Appliance, running
from tests.web.our_spec import assert_described, strict

pytestmark = pytest.mark.models

RERANK = "/v1/rerank"
ASKED = {
    "model": "shared",
    "query": "light the stove",
    "documents": ["water", {"text": "the stove"}, "light the stove"],
}


@pytest.fixture(scope="module")
def reranking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    embedding_model()
    models: Path = tmp_path_factory.mktemp("models")
    (models / "embedding").symlink_to((MODELS / "embedding").resolve())
    write_cross_encoder(models / "rerank" / "shared")
    folder = tmp_path_factory.mktemp("reranking")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    settings = '[search]\nreranker = "shared"\n[llm]\nenabled = false\n'
    with running(folder, settings=settings, models=models) as house:
        yield house


def test_documents_come_back_best_first_with_their_index(reranking: Appliance) -> None:
    status, answer = reranking.post(RERANK, ASKED)
    assert status == 200, answer
    assert [result["index"] for result in answer["results"]] == [2, 1, 0]
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert answer["model"] == "shared"
    assert not any("document" in result for result in answer["results"])
    # [CLS] light the stove [SEP] ... [SEP]: six, and 1, 2 and 3.
    assert answer["usage"] == {"prompt_tokens": 24, "total_tokens": 24}


def test_only_the_best_and_with_their_text_if_that_is_asked_for(reranking: Appliance) -> None:
    _, answer = reranking.post(RERANK, ASKED | {"top_n": 2, "return_documents": True})
    assert [result["document"]["text"] for result in answer["results"]] == ["light the stove", "the stove"]
    assert_described(strict(reranking, RERANK, "application/json"), answer)
    assert len(reranking.post(RERANK, ASKED | {"top_n": 99})[1]["results"]) == 3


def test_more_documents_than_a_batch_keep_their_index(reranking: Appliance) -> None:
    documents = [f"stove {'light ' * (n % 3)}" for n in range(11)]
    _, answer = reranking.post(RERANK, {"query": "light the stove", "documents": documents})
    assert sorted(result["index"] for result in answer["results"]) == list(range(11))
    assert answer["results"][0]["index"] == 2  # the first of the best


def test_it_is_listed_as_a_model(reranking: Appliance) -> None:
    assert "shared" in [model["id"] for model in reranking.get("/v1/models")[1]["data"]]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": "x" * 1001}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "water"}, "documents"),
        ({"documents": [5]}, "documents[0]"),
        ({"documents": [{"title": "x"}]}, "documents[0].text"),
        ({"documents": ["a"] * 1001}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"model": "almanac"}, "model"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(
    reranking: Appliance, change: dict[str, Any], param: str
) -> None:
    status, answer = reranking.post(RERANK, ASKED | change)
    assert (status, answer["error"]["param"]) == (400, param)


def test_an_unknown_model_is_not_found_and_what_is_ignored_is_named(reranking: Appliance) -> None:
    assert reranking.post(RERANK, ASKED | {"model": "rerank-9"})[0] == 404
    _, headers, _ = reranking.request("POST", RERANK, ASKED | {"max_chunks_per_doc": 3})
    assert headers["almanac-ignored"] == "max_chunks_per_doc"


def test_where_there_is_none_a_sentence_says_so(house: Appliance) -> None:
    status, answer = house.post(RERANK, {name: given for name, given in ASKED.items() if name != "model"})
    assert (status, answer["error"]["param"]) == (400, "model")
    assert "search.reranker" in answer["error"]["message"]
    assert house.post(RERANK, ASKED)[0] == 404


def test_a_chat_in_a_house_without_a_chat_model_is_not_found(reranking: Appliance) -> None:
    body = {"model": "SmolLM2", "messages": [{"role": "user", "content": "Hi"}]}
    assert reranking.post("/v1/chat/completions", body)[0] == 404
