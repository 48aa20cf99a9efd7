"""Tools: whatever the model, what it calls can be called; on the real starter model, whose template knows none."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema_rs
import openai
import pytest

from tests.running import Appliance
from tests.web.openai_spec import assert_valid
from tests.web.tool_schemas import FUNCTIONS, of

pytestmark = pytest.mark.models

CHAT = "/v1/chat/completions"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": of(city={"type": "string"}),
    },
}
ADD: dict[str, Any] = {
    "type": "function",
    "function": {"name": "add", "parameters": of(a={"type": "integer"}, b={"type": "integer"})},
}
ASKED = [{"role": "user", "content": "What is the weather in Paris?"}]
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
TOLD = [
    *ASKED,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "It rains, 12 degrees."},
]


def tool(name: str) -> dict[str, Any]:
    schema = FUNCTIONS[name][0]
    return {"type": "function", "function": {"name": name} | ({"parameters": schema} if schema else {})}


def satisfied(name: str, arguments: str) -> bool:
    schema = FUNCTIONS[name][0] or {"type": "object", "maxProperties": 0}
    validator = jsonschema_rs.validator_for(schema, validate_formats=True, offline=True)
    return validator.is_valid(json.loads(arguments))


def whole(house: Appliance, body: dict[str, Any]) -> dict[str, Any]:
    """The one choice of a valid answer."""
    status, answer = house.post(CHAT, {"max_tokens": 200, "temperature": 0} | body)
    assert status == 200, answer
    assert_valid("CreateChatCompletionResponse", answer)
    choice: dict[str, Any] = answer["choices"][0]
    return choice


def streamed(house: Appliance, body: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same, put together from a stream's valid chunks, as clients do; and the chunks."""
    asked = {"max_tokens": 200, "temperature": 0, "stream": True} | body
    status, _, answer = house.request("POST", CHAT, asked)
    assert status == 200, answer
    *events, last = [event for event in answer.decode().strip().split("\n\n") if event.startswith("data: ")]
    assert last == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    message: dict[str, Any] = {"content": "", "tool_calls": []}
    finish = None
    for chunk in chunks:
        assert_valid("CreateChatCompletionStreamResponse", chunk)
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            message["content"] += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls", ()):
                if call["index"] == len(message["tool_calls"]):  # first its id and name
                    assert call["id"].startswith("call_")
                    assert call["function"]["arguments"] == ""
                    message["tool_calls"].append(call | {"function": dict(call["function"])})
                else:
                    message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"][
                        "arguments"
                    ]
    return {"message": message, "finish_reason": finish}, chunks


@pytest.mark.timeout(900)
def test_two_hundred_requests_over_twenty_schemas_are_all_well_formed(house: Appliance, model: str) -> None:
    asked = []
    for name, (_, question) in FUNCTIONS.items():
        other = "switch_light" if name != "switch_light" else "search"
        named = {"type": "function", "function": {"name": name}}
        for n in range(10):
            choice: Any = (
                named,
                "required",
                named,
                "auto",
                named,
                "required",
                named,
                named,
                "required",
                "auto",
            )[n]
            body = {
                "model": model,
                "messages": [{"role": "user", "content": question}],
                "tools": [tool(name)] if choice == "required" else [tool(other), tool(name)],
                "tool_choice": choice,
                "temperature": (0, 0.7)[n % 2],
                "seed": n,
            }
            asked.append((name, other, body, n >= 5))
    assert len(asked) == 200

    def ask(one: tuple[str, str, dict[str, Any], bool]) -> str:
        name, other, body, in_stream = one
        choice = streamed(house, body)[0] if in_stream else whole(house, body)
        message = choice["message"]
        calls = message.get("tool_calls") or []
        if not calls:
            assert body["tool_choice"] == "auto", (name, choice)
            assert choice["finish_reason"] in ("stop", "length")
            return "words"
        assert choice["finish_reason"] == "tool_calls"
        assert not message["content"] or body["tool_choice"] == "auto"
        for call in calls:
            given = call["function"]
            assert given["name"] in ({name, other} if body["tool_choice"] == "auto" else {name})
            assert satisfied(given["name"], given["arguments"]), (name, given)
        return "calls"

    with ThreadPoolExecutor(4) as pool:
        outcomes = Counter(pool.map(ask, asked))
    print(outcomes)
    assert outcomes["calls"] >= 160, outcomes


def test_the_official_client_calls_a_function_and_is_answered(client: openai.OpenAI, model: str) -> None:
    tools: Any = [WEATHER, ADD]
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        asked: Any = {
            "model": model,
            "messages": ASKED,
            "tools": tools,
            "tool_choice": choice,
            "temperature": 0,
        }
        completion = client.chat.completions.create(**asked)
        (call,) = completion.choices[0].message.tool_calls or ()
        assert call.type == "function"
        assert isinstance(json.loads(call.function.arguments)["city"], str)
        assert completion.choices[0].finish_reason == "tool_calls"
        assert completion.choices[0].message.content is None
        assert completion.usage
        assert completion.usage.completion_tokens > 5
        with client.chat.completions.stream(**asked) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_completion().choices[0]
        assert "tool_calls.function.arguments.done" in kinds
        (streamed_call,) = final.message.tool_calls or ()
        assert streamed_call.function.name == "get_weather"
        assert isinstance(json.loads(streamed_call.function.arguments)["city"], str)
    answered: Any = {"model": model, "messages": TOLD, "tools": tools, "temperature": 0, "max_tokens": 60}
    choice = client.chat.completions.create(**answered).choices[0]
    assert choice.message.tool_calls or choice.message.content


def test_with_none_no_call_can_come_out(house: Appliance, model: str) -> None:
    body = {"model": model, "messages": ASKED, "max_tokens": 16}
    plain = whole(house, body)
    for more in ({"tool_choice": "none", "tools": [WEATHER]}, {"tools": []}):
        assert whole(house, body | more) == plain


def test_words_are_streamed_as_they_come_and_are_the_same_as_whole(house: Appliance, model: str) -> None:
    body = {"model": model, "tools": [WEATHER], "max_tokens": 40}
    asked = body | {"messages": [{"role": "user", "content": "Explain what rain is."}]}
    choice, chunks = streamed(house, asked)
    one = whole(house, asked)
    assert choice["finish_reason"] == one["finish_reason"]
    assert choice["message"]["content"] == one["message"]["content"] != ""
    assert len(chunks) > 5


def test_a_call_that_is_cut_short_is_none(house: Appliance, model: str) -> None:
    body = {"model": model, "messages": ASKED, "tools": [WEATHER], "tool_choice": "required", "max_tokens": 8}
    for choice in (whole(house, body), streamed(house, body)[0]):
        assert choice["finish_reason"] == "length"
        assert not choice["message"].get("tool_calls")


def test_each_of_several_choices_has_its_own_call(house: Appliance, model: str) -> None:
    body = {"model": model, "messages": ASKED, "tools": [WEATHER], "tool_choice": "required", "n": 2}
    status, answer = house.post(CHAT, body | {"max_tokens": 200, "seed": 1})
    assert status == 200, answer
    ids = [choice["message"]["tool_calls"][0]["id"] for choice in answer["choices"]]
    assert len(set(ids)) == 2


def test_an_answer_in_words_keeps_to_its_format_beside_tools(house: Appliance, model: str) -> None:
    schema = of(colour={"enum": ["red", "blue"]})
    format_ = {"type": "json_schema", "json_schema": {"name": "c", "schema": schema}}
    choice = whole(
        house,
        {
            "model": model,
            "messages": [{"role": "user", "content": "Which colour is the sky?"}],
            "tools": [WEATHER],
            "response_format": format_,
        },
    )
    if not choice["message"].get("tool_calls"):
        assert json.loads(choice["message"]["content"])["colour"] in ("red", "blue")


def bad(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f"} | function}]}


def bombs() -> dict[str, Any]:
    return {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)} | {"a40": {}}


def deep() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        schema = of(a=schema)
    return schema


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name"),
    ({"tools": [WEATHER] * 129}, "tools"),
    (bad(name="a b"), "tools[0].function.name"),
    (bad(name="x" * 65), "tools[0].function.name"),
    (bad(description=7), "tools[0].function.description"),
    (bad(strict="yes"), "tools[0].function.strict"),
    (bad(parameters=[]), "tools[0].function.parameters"),
    (bad(parameters={"type": "string"}), "tools[0].function.parameters.type"),
    (bad(parameters={"type": "wizard"}), "tools[0].function.parameters.type"),
    (bad(parameters=of(a={"type": "wizard"})), "tools[0].function.parameters.properties.a.type"),
    (bad(parameters=of(a={"minLength": -1})), "tools[0].function.parameters.properties.a.minLength"),
    (bad(parameters=of(a={"pattern": "("})), "tools[0].function.parameters.properties.a.pattern"),
    (
        bad(parameters=of(a={"pattern": "((a{999}){999}){999}"})),
        "tools[0].function.parameters.properties.a.pattern",
    ),
    (bad(parameters={"$ref": "http://127.0.0.1:9/x"}), "tools[0].function.parameters.$ref"),
    (bad(parameters={"$ref": "file:///etc/passwd"}), "tools[0].function.parameters.$ref"),
    (bad(parameters=of(a={"$ref": "#/nowhere"})), "tools[0].function.parameters.properties.a.$ref"),
    (bad(parameters={"$ref": "#"}), "tools[0].function.parameters"),
    (bad(parameters={"$schema": "http://127.0.0.1:9/x"}), "tools[0].function.parameters"),
    (bad(parameters={"$defs": bombs(), "$ref": "#/$defs/a0"}), "tools[0].function.parameters"),
    (bad(parameters=deep()), "tools[0].function.parameters"),
    (bad(parameters=of(a={"description": "x" * 2**20})), "tools[0].function.parameters"),
    ({"tool_choice": "required"}, "tool_choice"),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "no"}}},
        "tool_choice.function.name",
    ),
    ({"tools": [WEATHER], "tool_choice": {"type": "wizard"}}, "tool_choice.type"),
    ({"tools": [WEATHER], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"tools": [WEATHER], "logprobs": True}, "logprobs"),
    ({"tools": [WEATHER], "grammar": 'root ::= "x"'}, "grammar"),
]


@pytest.mark.parametrize(
    ("change", "param"), REFUSED, ids=[f"{n}-{param}" for n, (_, param) in enumerate(REFUSED)]
)
def test_what_cannot_be_offered_is_refused_by_its_name_and_at_once(
    house: Appliance, model: str, change: dict[str, Any], param: str
) -> None:
    for stream in (True, False):
        status, answer = house.post(CHAT, {"model": model, "messages": ASKED, "stream": stream} | change)
        assert (status, answer["error"]["param"]) == (400, param), answer
        assert_valid("ErrorResponse", answer)


def test_the_librarys_own_tools_are_used_in_the_house_and_cited(client: openai.OpenAI, model: str) -> None:
    asked: Any = {
        "model": model,
        "messages": [{"role": "user", "content": "How often is the colony called Marigold inspected?"}],
        "tools": [{"type": "search_library"}],
        "tool_choice": {"type": "search_library"},
        "temperature": 0,
        "max_tokens": 100,
    }
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason in ("stop", "length")
    assert not choice.message.tool_calls
    assert choice.message.content
    for annotation in choice.message.annotations or ():
        mark = annotation.url_citation
        assert choice.message.content[mark.start_index : mark.end_index].startswith("[")
        assert "/read/" in mark.url
    response = client.responses.create(
        model=model,
        input=asked["messages"][0]["content"],
        tools=asked["tools"],
        tool_choice=asked["tool_choice"],
        temperature=0,
        max_output_tokens=100,
    )
    assert response.output_text
    assert [item.type for item in response.output] == ["message"]
