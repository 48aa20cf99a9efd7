"""The OpenAI API, through the official client, unmodified."""

import re

import openai
import pytest

from tests.running import Appliance

pytestmark = pytest.mark.models
QUESTION = [{"role": "user", "content": "How often is the colony called Marigold inspected?"}]


def raw_model(client: openai.OpenAI) -> str:
    return next(model.id for model in client.models.list() if not model.id.startswith("almanac"))


def test_the_library_each_shelf_and_the_bare_model_are_models(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert ids[0] == "almanac"
    assert "almanac:garden" in ids
    assert any("SmolLM2" in id_ for id_ in ids)
    assert client.models.retrieve("almanac:garden").id == "almanac:garden"


@pytest.mark.parametrize("model", ["almanac", "almanac:garden"])
def test_a_library_answer_carries_its_citations(client: openai.OpenAI, model: str) -> None:
    completion = client.chat.completions.create(model=model, messages=QUESTION)  # type: ignore[arg-type]
    message = completion.choices[0].message
    assert message.content
    assert completion.model == model
    assert completion.usage
    assert (
        completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    )
    for annotation in message.annotations or []:
        shown = annotation.url_citation
        assert re.fullmatch(r"\[\d+\]", message.content[shown.start_index : shown.end_index])
        extra = annotation.model_extra or {}
        assert {"document_id", "path", "title", "quote", "href"} <= extra.keys()
    sources = (completion.model_extra or {})["almanac"]["sources"]
    assert sources[0]["document"]["path"] == "garden/bees.md"


def test_a_streamed_library_answer_is_the_same_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="almanac:garden", messages=QUESTION)  # type: ignore[arg-type]
    stream = client.chat.completions.create(
        model="almanac:garden",
        messages=QUESTION,
        stream=True,
        stream_options={"include_usage": True},  # type: ignore[arg-type]
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[
        0
    ].finish_reason
    assert chunks[-1].usage == whole.usage
    last = [chunk for chunk in chunks if chunk.choices][-1]
    streamed = (last.choices[0].delta.model_extra or {}).get("annotations", [])
    assert [entry["n"] for entry in streamed] == [
        (annotation.model_extra or {})["n"] for annotation in whole.choices[0].message.annotations or []
    ]


def test_the_bare_model_answers_whole_and_streamed(client: openai.OpenAI) -> None:
    model = raw_model(client)
    asked = [{"role": "user", "content": "Say hello."}]
    whole = client.chat.completions.create(model=model, messages=asked, max_tokens=12, temperature=0)  # type: ignore[arg-type]
    assert whole.model == model
    assert whole.choices[0].message.content
    assert whole.usage
    assert whole.usage.completion_tokens <= 12
    stream = client.chat.completions.create(
        model=model, messages=asked, max_tokens=12, temperature=0, stream=True
    )  # type: ignore[arg-type]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == whole.choices[0].message.content


def test_an_unknown_model_is_a_not_found_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-9", messages=QUESTION)  # type: ignore[arg-type]
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="almanac:no-such-shelf", messages=QUESTION)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "only me"}]}, "messages"),
        ({"model": ""}, "model"),
        ({"model": 7}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_a_wrong_request_names_the_parameter(house: Appliance, change: dict[str, object], param: str) -> None:
    status, answer = house.post("/v1/chat/completions", {"model": "almanac", "messages": QUESTION} | change)
    assert status == 400
    assert answer["error"]["param"] == param
    assert answer["error"]["type"] == "invalid_request_error"


def test_half_a_body_and_no_body_are_refused_in_the_envelope(house: Appliance) -> None:
    for body in (b"", b"{", b"[]", b"\xff"):
        status, _, answer = house.request("POST", "/v1/chat/completions", body)
        assert status == 400, body
        assert b'"error"' in answer


def test_a_conversation_goes_along_with_the_question(client: openai.OpenAI) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the colony called?"},
        {"role": "assistant", "content": "Marigold."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "How often is the colony Marigold inspected?"}],
        },
    ]
    completion = client.chat.completions.create(model="almanac", messages=messages, max_tokens=30)  # type: ignore[arg-type]
    assert completion.choices[0].message.content
    assert completion.usage
    assert completion.usage.completion_tokens <= 30


def test_a_client_that_leaves_frees_the_model(client: openai.OpenAI) -> None:
    model = raw_model(client)
    for _ in range(4):  # more than there are slots
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Count to a thousand."}],
            max_tokens=2000,
            stream=True,
        )
        next(iter(stream))
        stream.close()
    short = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hi"}], max_tokens=2, timeout=20
    )
    assert short.choices


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "almanac", "messages": [{"role": ["x"], "content": "x"}]}',
        b'{"model": "almanac", "messages": [{"role": {}, "content": "x"}]}',
        b'{"model": "almanac", "messages": [{"role": "user", "content": "x"}], "stream": true, "stream_options": "x"}',
        b'{"model": "almanac", "messages": ' + b"[" * 100_000,
        b'{"model": "almanac", "messages": "\xe9"}',
        b'{"model": "almanac", "messages": [{"role": "user", "content": "How is water made safe?"}], "temperature": "hot"}',
    ],
)
def test_a_readers_mistake_is_never_a_500(house: Appliance, body: bytes) -> None:
    status, _, answer = house.request("POST", "/v1/chat/completions", body)
    assert status == 400, answer
    assert b'"error"' in answer


def test_a_client_that_leaves_before_a_whole_answer_frees_the_model(
    house: Appliance, client: openai.OpenAI
) -> None:
    model = raw_model(client)
    endless = {
        "model": model,
        "messages": [{"role": "user", "content": "Count."}],
        "max_tokens": 3000,
        "ignore_eos": True,
    }
    for _ in range(4):
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.5).post("/chat/completions", body=endless, cast_to=object)
    short = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Hi"}], max_tokens=2, timeout=5
    )
    assert short.choices
