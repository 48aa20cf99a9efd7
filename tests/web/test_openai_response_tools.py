"""Function calls by way of /v1/responses: the same calls, as items and events; on the real starter model."""

import json
from typing import Any

import openai
import pytest

from llm.events import AnswerKind, Done, Token, Usage
from llm.tools.offer import Called, Thought, ToolCall
from tests.running import Appliance
from tests.web.openai_spec import assert_valid
from tests.web.test_openai_responses import assert_well_formed
from tests.web.tool_schemas import of
from web.openai.library import LibraryText
from web.openai.parameters import parameters
from web.openai.response_events import ResponseWritten
from web.openai.response_parameters import ResponseParameters

RESPONSES = "/v1/responses"
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": of(city={"type": "string"}),
    "strict": True,
}
ASKED: dict[str, Any] = {
    "input": "What is the weather in Paris?",
    "tools": [WEATHER],
    "tool_choice": "required",
    "temperature": 0,
    "max_output_tokens": 200,
}
models = pytest.mark.models


@models
def test_a_call_is_the_same_whole_and_streamed(house: Appliance, model: str) -> None:
    status, answer = house.post(RESPONSES, ASKED | {"model": model})
    assert status == 200, answer
    assert_valid("Response", answer)
    (call,) = answer["output"]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "get_weather", "completed")
    assert isinstance(json.loads(call["arguments"])["city"], str)
    assert answer["status"] == "completed"
    assert answer["usage"]["output_tokens"] > 5
    found = [event for _, event in house.events(RESPONSES, ASKED | {"model": model, "stream": True})]
    assert_well_formed(found)
    kinds = [event["type"] for event in found]
    assert [kind for kind in kinds if not kind.endswith(".delta")] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    pieces = "".join(event["delta"] for event in found if event["type"].endswith("arguments.delta"))
    assert pieces == found[-3]["arguments"] == found[-1]["response"]["output"][0]["arguments"]
    assert json.loads(pieces) == json.loads(call["arguments"])


@models
def test_the_official_client_sends_back_what_a_function_gave(client: openai.OpenAI, model: str) -> None:
    named = {"type": "function", "name": "get_weather"}
    asked: Any = ASKED | {"model": model, "tool_choice": named}
    response = client.responses.create(**asked)
    (call,) = response.output
    assert call.type == "function_call"
    conversation: Any = [
        {"role": "user", "content": ASKED["input"]},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "It rains, 12 degrees."},
    ]
    more: Any = {"tools": [WEATHER], "temperature": 0, "max_output_tokens": 60}
    again = client.responses.create(model=model, input=conversation, **more)
    assert again.output
    assert again.usage
    assert response.usage
    assert again.usage.input_tokens > 0
    silent: Any = more | {"tool_choice": "none"}
    assert client.responses.create(model=model, input=conversation, **silent).output[0].type == "message"


@models
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        (
            {"tools": [WEATHER | {"parameters": of(a={"type": "wizard"})}]},
            "tools[0].parameters.properties.a.type",
        ),
        ({"tools": [WEATHER | {"parameters": {"$ref": "http://127.0.0.1:9"}}]}, "tools[0].parameters.$ref"),
        ({"tool_choice": {"type": "function", "name": "no"}}, "tool_choice.name"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        (
            {
                "input": [
                    {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "b", "output": "x"},
                ]
            },
            "input[1].call_id",
        ),
    ],
)
def test_what_cannot_be_offered_is_refused_by_its_name(
    house: Appliance, model: str, change: dict[str, Any], param: str
) -> None:
    for stream in (True, False):
        status, answer = house.post(RESPONSES, ASKED | {"model": model, "stream": stream} | change)
        assert (status, answer["error"]["param"]) == (400, param), answer
        assert_valid("ErrorResponse", answer)


def test_thoughts_words_and_two_calls_are_items_in_their_order() -> None:
    asked = parameters({"model": "m", "input": "Hi", "tools": [WEATHER]}, ResponseParameters)
    written = ResponseWritten(asked, LibraryText("http://house"), cited=False)
    calls = (ToolCall("call_1", "get_weather", '{"city":"Paris"}'), ToolCall("call_2", "get_weather", "{}"))
    done = Done(AnswerKind.WRITTEN, "m", "tool_calls", Usage(3, 4), ())
    given = (Thought("Hm."), Token("Let me look."), Called(calls), done)
    found = [*written.begin(), *(event for one in given for event in written.add(one))]
    assert_well_formed([event | {"sequence_number": at} for at, event in enumerate(found)])
    response = written.response()
    assert_valid("Response", response)
    assert [item["type"] for item in response["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert {item["status"] for item in response["output"]} == {"completed"}
    added = [event["output_index"] for event in found if event["type"] == "response.output_item.added"]
    ended = [event["output_index"] for event in found if event["type"] == "response.output_item.done"]
    assert added == ended == [0, 1, 2, 3]
