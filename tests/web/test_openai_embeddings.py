"""Embeddings over HTTP, by the model that the library is searched with."""

import base64
import struct
from typing import Any

import openai
import pytest

from search.embedder import Embedder
from tests.places import embedding_model
from tests.running import Appliance
from tests.web.openai_spec import assert_valid

pytestmark = pytest.mark.models

EMBEDDINGS = "/v1/embeddings"
TEXTS = ["Water is boiled for a minute.", "Light the stove with birch bark."]


@pytest.fixture
def model(client: openai.OpenAI) -> str:
    return next(model.id for model in client.models.list() if "MiniLM" in model.id)


def test_the_vectors_are_those_that_the_library_is_searched_with(client: openai.OpenAI, model: str) -> None:
    made = client.embeddings.create(model=model, input=TEXTS, encoding_format="float")
    wanted = Embedder(embedding_model(), threads=1).embed(TEXTS)
    assert [entry.index for entry in made.data] == [0, 1]
    for entry, vector in zip(made.data, wanted, strict=True):
        assert sum(a * b for a, b in zip(entry.embedding, vector, strict=True)) == pytest.approx(1, abs=0.01)
        assert sum(number**2 for number in entry.embedding) == pytest.approx(1, abs=1e-4)
    assert made.model == model
    assert made.usage.prompt_tokens == made.usage.total_tokens == 18  # twice seven, each framed by two


def test_base64_is_the_same_vector(house: Appliance, client: openai.OpenAI, model: str) -> None:
    _, plain = house.post(EMBEDDINGS, {"model": model, "input": TEXTS[0]})
    assert_valid("CreateEmbeddingResponse", plain)
    _, encoded = house.post(EMBEDDINGS, {"model": model, "input": TEXTS[0], "encoding_format": "base64"})
    raw = base64.b64decode(encoded["data"][0]["embedding"])
    assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(plain["data"][0]["embedding"], abs=1e-7)
    # The client asks for base64 by itself, and decodes it.
    made = client.embeddings.create(model=model, input=TEXTS[0]).data[0].embedding
    assert made == pytest.approx(plain["data"][0]["embedding"], abs=1e-6)


def test_tokens_of_the_models_own_give_the_texts_vector(house: Appliance, model: str) -> None:
    _, by_text = house.post(EMBEDDINGS, {"model": model, "input": "water"})
    for tokens in ([2300], [[2300]]):
        _, by_tokens = house.post(EMBEDDINGS, {"model": model, "input": tokens})
        assert by_tokens == by_text
    assert by_text["usage"]["prompt_tokens"] == 3  # framed by two


def test_a_long_list_keeps_its_order(client: openai.OpenAI, model: str) -> None:
    texts = [f"{'water ' * (n % 7)}jar number {n}" for n in range(40)]
    made = client.embeddings.create(model=model, input=texts)
    assert [entry.index for entry in made.data] == list(range(40))
    for at in (0, 13, 39):
        alone = client.embeddings.create(model=model, input=texts[at]).data[0].embedding
        both = zip(alone, made.data[at].embedding, strict=True)
        assert sum(a * b for a, b in both) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": {"text": "x"}}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 5]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [True]}, "input[0]"),
        ({"input": [10**9]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"dimensions": 128}, "dimensions"),
        ({"dimensions": 1024}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"model": ""}, "model"),
        ({"model": "almanac"}, "model"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(
    house: Appliance, model: str, change: dict[str, Any], param: str
) -> None:
    status, answer = house.post(EMBEDDINGS, {"model": model, "input": "a"} | change)
    assert (status, answer["error"]["param"]) == (400, param)
    assert_valid("ErrorResponse", answer)


def test_too_long_a_text_is_refused_with_both_counts(house: Appliance, model: str) -> None:
    status, answer = house.post(EMBEDDINGS, {"model": model, "input": ["a", "water " * 300]})
    assert (status, answer["error"]["param"]) == (400, "input[1]")
    assert "302" in answer["error"]["message"]
    assert "256" in answer["error"]["message"]
    assert house.post(EMBEDDINGS, {"model": model, "input": "water " * 254})[0] == 200


def test_the_models_own_size_may_be_named_and_a_user_is_ignored(house: Appliance, model: str) -> None:
    body = {"model": model, "input": "a", "dimensions": 384, "user": "me"}
    status, headers, _ = house.request("POST", EMBEDDINGS, body)
    assert (status, headers["almanac-ignored"]) == (200, "user")


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="MiniLM"):
        client.embeddings.create(model="text-embedding-3-small", input="a")
