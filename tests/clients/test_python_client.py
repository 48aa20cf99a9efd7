"""The official Python client, unmodified: everything that it is for, as a client's author would try it.

What it was sent is held against OpenAI's description, and against what each request was promised (conftest.py).
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from tests.clients.crowded import full, stopped, struck
from tests.clients.recorded import assert_as_promised
from tests.clients.relay import Relay, relay_to
from tests.running import Appliance
from tests.web.busy import load

pytestmark = pytest.mark.models
HELLO: Any = [{"role": "user", "content": "Say hello."}]
ENDLESS: Any = {"max_tokens": 3000, "extra_body": {"ignore_eos": True}}


@contextmanager
def speaking_to(house: Appliance, **options: Any) -> Iterator[openai.OpenAI]:
    """A client of another house than the one that most tests share, through a relay as well."""
    with relay_to(house.url) as relay:
        with openai.OpenAI(
            base_url=f"{relay.listen()}/v1", api_key="none needed", **{"max_retries": 0} | options
        ) as client:
            yield client
        assert_as_promised(relay)


def test_models_are_listed_and_each_can_be_retrieved(
    client: openai.OpenAI, model: str, embedding: str
) -> None:
    listed = list(client.models.list())
    assert {"almanac", "almanac:garden", model, embedding} <= {entry.id for entry in listed}
    for entry in listed:
        assert client.models.retrieve(entry.id) == entry


@pytest.mark.parametrize("library", [True, False], ids=["library", "bare model"])
def test_a_chat_whole_and_streamed(
    client: openai.OpenAI, model: str, material: dict[str, Any], library: bool
) -> None:
    asked: Any = {
        "model": "almanac:garden" if library else model,
        "messages": [{"role": "user", "content": material["question"]}],
        "max_tokens": 40,
        "temperature": 0,
    }
    whole = client.chat.completions.create(**asked)
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == whole.choices[0].message.content
    assert len(deltas) > 1
    assert final.choices[0].finish_reason == whole.choices[0].finish_reason
    assert final.usage
    assert whole.usage
    assert final.usage.total_tokens == whole.usage.total_tokens


@pytest.mark.parametrize(
    "choice",
    ["auto", "none", "required", "named"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_tools(
    client: openai.OpenAI, model: str, material: dict[str, Any], choice: str, *, stream: bool
) -> None:
    named = {"type": "function", "function": {"name": "clock"}}
    asked: Any = {
        "model": model,
        "messages": [{"role": "user", "content": "What is the weather in Bergen tomorrow?"}],
        "tools": [material["weather"], material["clock"]],
        "tool_choice": named if choice == "named" else choice,
        "temperature": 0,
        "max_tokens": 200,
    }
    if stream:
        with client.chat.completions.stream(**asked) as said:
            completion: Any = said.get_final_completion()
    else:
        completion = client.chat.completions.create(**asked)
    calls = completion.choices[0].message.tool_calls or []
    names = {call.function.name for call in calls}
    if choice == "none":
        assert calls == []
    elif choice == "named":
        assert names == {"clock"}
    else:
        assert names <= {"weather", "clock"}
        assert choice == "auto" or names
    if calls:  # and the conversation goes on with what the tools answered
        answers = [
            {"role": "tool", "tool_call_id": call.id, "content": "It rains, and it is noon."}
            for call in calls
        ]
        said_before = completion.choices[0].message.model_dump(exclude_none=True)
        more = {"messages": [*asked["messages"], said_before, *answers], "tool_choice": "none"}
        after = client.chat.completions.create(**asked | more | {"max_tokens": 20})
        assert after.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_json_schema(client: openai.OpenAI, model: str, material: dict[str, Any], *, stream: bool) -> None:
    asked: Any = {
        "model": model,
        "messages": [{"role": "user", "content": "Which colour has the sky?"}],
        "response_format": material["colour"],
        "temperature": 0,
        "max_tokens": 100,
        "stream": stream,
    }
    answer: Any = client.chat.completions.create(**asked)
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    else:
        text = answer.choices[0].message.content
    found = json.loads(text)
    assert found.keys() == {"colour", "bright"}
    assert found["colour"] in ("red", "blue")


def test_embeddings_which_the_client_asks_for_in_base64(
    client: openai.OpenAI, relay: Relay, embedding: str
) -> None:
    made = client.embeddings.create(model=embedding, input=["a jar of water", "a stove"])
    plain = client.embeddings.create(
        model=embedding, input=["a jar of water", "a stove"], encoding_format="float"
    )
    for one, other in zip(made.data, plain.data, strict=True):
        assert len(one.embedding) == 384
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert b'"encoding_format":"base64"' in bytes(relay.conversations[0].asked).replace(b" ", b"")


@pytest.mark.parametrize("library", [True, False], ids=["library", "bare model"])
def test_a_response_whole_and_streamed(
    client: openai.OpenAI, model: str, material: dict[str, Any], library: bool
) -> None:
    asked: Any = {
        "model": "almanac:garden" if library else model,
        "input": material["question"],
        "max_output_tokens": 40,
        "temperature": 0,
    }
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == whole.output_text != ""
    assert final.status == whole.status


def test_a_completion_of_the_old_kind_whole_and_streamed(client: openai.OpenAI, model: str) -> None:
    asked: Any = {"model": model, "prompt": "Water is", "max_tokens": 6, "temperature": 0}
    whole = client.completions.create(**asked)
    text = "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True))
    assert whole.choices[0].text == text != ""


def test_mistakes_come_as_the_clients_own_exceptions(
    client: openai.OpenAI, model: str, embedding: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=HELLO, temperature=9)
    assert (refused.value.param, refused.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "water " * 6000}])
    assert refused.value.param == "messages"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-9", messages=HELLO, stream=True)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=embedding, input="")
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=model, input="Hi", previous_response_id="resp_1")


def test_a_stream_can_be_left_and_the_model_is_free_at_once(
    client: openai.OpenAI, house: Appliance, model: str
) -> None:
    for create in (
        lambda: client.chat.completions.create(model=model, messages=HELLO, stream=True, **ENDLESS),
        lambda: client.responses.create(
            model=model, input="Count to a thousand.", max_output_tokens=3000, stream=True
        ),
    ):
        stream: Any = create()
        next(iter(stream))
        stream.close()
        house.until(lambda: load(house)["running"] == 0, 5)


def test_the_client_for_async_code(relay: Relay, house: Appliance, model: str, embedding: str) -> None:
    async def speak() -> None:
        async with openai.AsyncOpenAI(
            base_url=f"{relay.listen()}/v1", api_key="none needed", max_retries=0
        ) as client:
            asked: Any = {"model": model, "messages": HELLO, "max_tokens": 8, "temperature": 0}
            whole, made, models = await asyncio.gather(
                client.chat.completions.create(**asked),
                client.embeddings.create(model=embedding, input="water"),
                client.models.list(),
            )
            assert len(made.data[0].embedding) == 384
            assert model in {entry.id for entry in models.data}
            stream = await client.chat.completions.create(**asked, stream=True)
            text = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            assert "".join(text) == whole.choices[0].message.content
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("gpt-9")
            # Cancelled in the middle, as an application does that is told to stop.
            endless = await client.chat.completions.create(**asked | ENDLESS, stream=True)
            reading = asyncio.create_task(_read_on(endless))
            await asyncio.sleep(0.5)
            assert not reading.done()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await endless.close()

    asyncio.run(speak())
    house.until(lambda: load(house)["running"] == 0, 5)


async def _read_on(stream: openai.AsyncStream[Any]) -> None:
    async for _ in stream:
        pass


def test_too_many_requests_are_a_rate_limit_error_that_says_when_to_come_back(crowded: Appliance) -> None:
    with speaking_to(crowded) as client, full(crowded) as (asked, _):
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(**asked)
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 60
        assert refused.value.type == "rate_limit_error"
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(**asked, stream=True)


def test_a_client_that_may_try_again_does_so_when_it_was_told_to(crowded: Appliance) -> None:
    def leave(response: Any) -> None:
        if response.status_code == 429:
            crowd.close()

    with full(crowded) as (asked, crowd):
        hooks = {"response": [leave]}
        with speaking_to(
            crowded, max_retries=2, http_client=openai.DefaultHttpxClient(event_hooks=hooks)
        ) as client:
            assert client.chat.completions.create(**asked).choices[0].message.content


def test_a_model_that_dies_under_an_answer_is_an_internal_server_error_and_comes_back(
    crowded: Appliance, model: str
) -> None:
    with speaking_to(crowded) as client:
        asked: Any = {"model": model, "messages": HELLO}
        with struck(crowded), pytest.raises(openai.InternalServerError) as broken:
            client.chat.completions.create(**asked, **ENDLESS)
        assert broken.value.status_code == 502
        assert broken.value.type == "server_error"
        crowded.until(lambda: crowded.get("/status")[1]["model"]["state"] == "ready", 10)
        assert client.chat.completions.create(**asked, max_tokens=4).choices


def test_a_house_that_is_stopped_is_unavailable_to_who_still_waits(passing: Appliance, model: str) -> None:
    with speaking_to(passing) as client, stopped(passing):
        with pytest.raises(openai.InternalServerError) as turned_away:
            client.chat.completions.create(model=model, messages=HELLO)
        assert turned_away.value.status_code == 503
        assert turned_away.value.type == "server_error"
