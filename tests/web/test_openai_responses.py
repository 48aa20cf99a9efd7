"""Responses: from the library and the real model, whole and as events, each of OpenAI's shape."""

import json
import re
from typing import Any

import openai
import pytest

from llm.events import AnswerKind, Done, Failed, Token, Usage
from llm.tools.offer import Thought
from tests.running import Appliance
from tests.web.openai_spec import assert_valid, assert_valid_event
from web.openai.library import LibraryText
from web.openai.parameters import parameters
from web.openai.response_events import ResponseWritten
from web.openai.response_parameters import ResponseParameters

RESPONSES = "/v1/responses"
MARIGOLD = "How often is the colony called Marigold inspected?"
models = pytest.mark.models


def events(house: Appliance, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a streamed response, each valid, numbered, and named as its type."""
    status, headers, answer = house.request("POST", RESPONSES, body | {"stream": True})
    assert status == 200, answer
    assert headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.decode().strip().split("\n\n"):
        named, payload = block.split("\n", 1)
        event = json.loads(payload.removeprefix("data: "))
        assert named == f"event: {event['type']}"
        found.append(event)
    assert_well_formed(found)
    return found


def assert_well_formed(found: list[dict[str, Any]]) -> None:
    for event in found:
        assert_valid_event(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"] for event in found[:2]] == ["response.created", "response.in_progress"]
    text = "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
    for event in found:
        if event["type"] == "response.output_text.done":
            assert event["text"] == text


@models
@pytest.mark.parametrize("library", [True, False])
def test_a_stream_says_what_the_whole_says(house: Appliance, model: str, library: bool) -> None:
    asked = {
        "model": "almanac" if library else model,
        "input": MARIGOLD,
        "temperature": 0,
        "max_output_tokens": 60,
    }
    _, whole = house.post(RESPONSES, asked)
    assert_valid("Response", whole)
    found = events(house, asked)
    kinds = [event["type"] for event in found]
    assert [kind for kind in kinds if "delta" not in kind and "annotation" not in kind] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        f"response.{whole['status']}",
    ]
    last = found[-1]["response"]
    assert last["output"][0]["content"] == whole["output"][0]["content"]
    assert last["status"] == whole["status"]
    assert last["usage"]["output_tokens"] == whole["usage"]["output_tokens"] > 0
    annotated = [event["annotation"] for event in found if "annotation" in event]
    assert annotated == whole["output"][0]["content"][0]["annotations"]


@models
def test_the_official_client_reads_a_library_response_with_its_citations(client: openai.OpenAI) -> None:
    response = client.responses.create(model="almanac:garden", input=MARIGOLD)
    assert response.status == "completed"
    assert response.output_text
    assert response.usage
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    (message,) = response.output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert part.annotations
    for annotation in part.annotations:
        assert annotation.type == "url_citation"
        assert re.fullmatch(r"\[\d+\]", part.text[annotation.start_index : annotation.end_index])
        assert (annotation.model_extra or {})["path"] == "garden/bees.md"
    assert (response.model_extra or {})["almanac"]["sources"]


@models
def test_the_official_client_streams_and_gets_the_final_response(client: openai.OpenAI, model: str) -> None:
    asked: Any = {"model": model, "input": "Say hello.", "temperature": 0, "max_output_tokens": 400}
    with client.responses.stream(**asked) as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == said != ""


@models
def test_an_answer_that_is_cut_is_incomplete(client: openai.OpenAI, model: str) -> None:
    asked: Any = {"model": model, "input": "Count to a thousand.", "temperature": 0}
    response = client.responses.create(**asked, max_output_tokens=4)
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage
    assert response.usage.output_tokens == 4


@models
def test_instructions_and_a_conversation_go_along(
    house: Appliance, client: openai.OpenAI, model: str
) -> None:
    first = client.responses.create(model=model, input="Say hello.", max_output_tokens=8, temperature=0)
    conversation: Any = [
        {"role": "user", "content": "Say hello."},
        *[item.model_dump(exclude_none=True) for item in first.output],
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Again."}]},
    ]
    again = client.responses.create(
        model=model, instructions="Be brief.", input=conversation, max_output_tokens=8
    )
    chat = {
        "model": model,
        "max_tokens": 8,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Say hello."},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "Again."},
        ],
    }
    _, same = house.post("/v1/chat/completions", chat)
    assert again.usage
    assert again.usage.input_tokens == same["usage"]["prompt_tokens"]
    assert again.instructions == "Be brief."


@models
def test_a_format_binds_the_model(client: openai.OpenAI, model: str) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    response = client.responses.create(
        model=model,
        input="Which colour is the sky? Answer in JSON.",
        text={"format": {"type": "json_schema", "name": "colour", "schema": schema}},
        temperature=0,
        max_output_tokens=200,
    )
    assert json.loads(response.output_text)["colour"] in {"red", "blue"}


@models
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "a", "output": "b"}]}, "input[0].call_id"),
        ({"input": [{"type": "computer_call"}]}, "input[0].type"),
        ({"input": [{"role": "wizard", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": None}]}, "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"role": "assistant", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"input": "water " * 6000}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "wizard"}}}},
            "text.format.schema.type",
        ),
        ({"reasoning": {"effort": "endless"}}, "reasoning.effort"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(
    house: Appliance, model: str, change: dict[str, Any], param: str, stream: bool
) -> None:
    status, answer = house.post(RESPONSES, {"model": model, "input": "Hi", "stream": stream} | change)
    assert (status, answer["error"]["param"]) == (400, param), answer
    assert_valid("ErrorResponse", answer)


@models
def test_nothing_is_stored_and_what_is_ignored_is_named(house: Appliance, model: str) -> None:
    body = {"model": model, "input": "Hi", "max_output_tokens": 2, "store": True, "metadata": {"a": "b"}}
    _, headers, answer = house.request("POST", RESPONSES, body)
    assert headers["almanac-ignored"] == "metadata, store"
    assert json.loads(answer)["store"] is False
    _, headers, _ = house.request("POST", RESPONSES, body | {"model": "almanac", "instructions": "Be brief."})
    assert headers["almanac-ignored"] == "instructions, metadata, store"


@models
def test_errors_are_the_clients_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="gpt-9", input="Hi")
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="almanac", input="Hi", text={"format": {"type": "json_object"}})
    assert refused.value.param == "text.format"
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings"):
        client.responses.create(
            model=next(one.id for one in client.models.list() if "MiniLM" in one.id), input="Hi"
        )


# --- what the starter model does not do -----------------------------------------------------------


def told(*given: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """OpenAI's events for events of ours, and the response at their end."""
    asked = parameters({"model": "m", "input": "Hi"}, ResponseParameters)
    written = ResponseWritten(asked, LibraryText("http://house"), cited=False)
    found = [*written.begin(), *(event for one in given for event in written.add(one))]
    numbered = [event | {"sequence_number": at} for at, event in enumerate(found)]
    assert_well_formed(numbered)
    response = written.response()
    assert_valid("Response", response)
    return numbered, response


def test_thoughts_are_kept_apart_from_the_answer() -> None:
    done = Done(AnswerKind.WRITTEN, "m", "stop", Usage(3, 4), ())
    found, response = told(Thought("Let me "), Thought("see."), Token("Four"), Token("."), done)
    assert [event["type"] for event in found[2:7]] == [
        "response.output_item.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.output_item.done",
    ]
    thought, message = response["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Let me see."}]
    assert message["content"][0]["text"] == "Four."
    assert {event["output_index"] for event in found[7:-1]} == {1}


def test_a_model_that_breaks_ends_the_stream_with_a_failed_response() -> None:
    found, response = told(Token("Fo"), Failed("model_failed", "The model stopped."))
    assert found[-1]["type"] == "response.failed"
    assert response["status"] == "failed"
    assert response["error"] == {"code": "server_error", "message": "The model stopped."}
    assert response["output"][0]["content"][0]["text"] == "Fo"


def test_an_answer_without_a_word_is_still_a_message() -> None:
    _, response = told(Done(AnswerKind.WRITTEN, "m", "stop", Usage(), ()))
    assert response["output"][0]["content"][0]["text"] == ""
