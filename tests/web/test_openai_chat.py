"""Chat completions: every parameter is honoured, named as ignored, or refused by its name; on the real model."""

import json
from typing import Any

import openai
import pytest

from llm.tools.schemas import Schema
from tests.running import Appliance
from tests.web.openai_spec import assert_valid
from web.openai.chat import _HONOURED_BY_LIBRARY, _IGNORED, _REFUSED
from web.openai.parameters import ChatParameters

pytestmark = pytest.mark.models

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Say hello."}]
MARIGOLD = [{"role": "user", "content": "How often is the colony called Marigold inspected?"}]
COLOURS = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}


def written(house: Appliance, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The whole answer, valid, and its headers."""
    status, headers, answer = house.request("POST", CHAT, {"max_tokens": 12, "temperature": 0} | body)
    assert status == 200, answer
    assert_valid("CreateChatCompletionResponse", json.loads(answer))
    return json.loads(answer), headers


def chunks(house: Appliance, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a streamed answer, each valid, which ends with its mark."""
    asked = {"max_tokens": 12, "temperature": 0, "stream": True} | body
    status, _, answer = house.request("POST", CHAT, asked)
    assert status == 200, answer
    *events, last = answer.decode().strip().split("\n\n")
    assert last == "data: [DONE]"
    found = [json.loads(event.removeprefix("data: ")) for event in events]
    for chunk in found:
        assert_valid("CreateChatCompletionStreamResponse", chunk)
    return found


def test_every_documented_parameter_is_honoured_ignored_or_refused() -> None:
    documented = [
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    ]
    honoured = set(ChatParameters.__struct_fields__)
    assert sorted(honoured | set(_IGNORED) | set(_REFUSED)) == sorted(documented)
    assert not honoured & set(_IGNORED) & set(_REFUSED)
    assert set(_HONOURED_BY_LIBRARY) <= honoured


@pytest.mark.parametrize("library", [True, False])
def test_whole_and_streamed_answers_are_of_openais_shape(house: Appliance, model: str, library: bool) -> None:
    asked = {"model": "almanac" if library else model, "messages": MARIGOLD}
    whole, _ = written(house, asked)
    said = chunks(house, asked | {"stream_options": {"include_usage": True}})
    assert said[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in said if chunk["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert len({chunk["id"] for chunk in said}) == 1
    assert [bool(chunk.get("usage")) for chunk in said] == [False] * (len(said) - 1) + [True]
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert said[-1]["usage"][count] == whole["usage"][count]
    assert not any(chunk.get("usage") for chunk in chunks(house, asked))


def test_several_choices_have_their_own_index_and_their_tokens_are_added_up(
    house: Appliance, model: str
) -> None:
    asked = {"model": model, "messages": HELLO, "n": 3, "temperature": 1.5, "seed": 7, "max_tokens": 6}
    whole, _ = written(house, asked)
    one, _ = written(house, asked | {"n": 1})
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert len(set(texts)) > 1  # one seed, and not three times the same
    assert texts[0] == one["choices"][0]["message"]["content"]
    assert whole["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    assert 6 < whole["usage"]["completion_tokens"] <= 18
    said = chunks(house, asked | {"stream_options": {"include_usage": True}})
    streamed = ["", "", ""]
    for chunk in said:
        for choice in chunk["choices"]:
            streamed[choice["index"]] += choice["delta"].get("content") or ""
    # The engine holds a space back in a stream until a word follows.
    assert [text.strip() for text in streamed] == [text.strip() for text in texts]
    assert said[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert len({chunk["id"] for chunk in said}) == 1


def test_log_probabilities_are_as_many_as_asked_for(house: Appliance, model: str) -> None:
    asked = {"model": model, "messages": HELLO, "logprobs": True, "max_tokens": 3}
    for top in (None, 0, 2):
        more = {} if top is None else {"top_logprobs": top}
        whole, _ = written(house, asked | more)
        told = whole["choices"][0]["logprobs"]["content"]
        assert len(told) == 3
        assert all(len(entry["top_logprobs"]) == (top or 0) for entry in told)
        assert "".join(entry["token"] for entry in told) == whole["choices"][0]["message"]["content"]
    streamed = [
        entry
        for chunk in chunks(house, asked | {"top_logprobs": 2})
        for choice in chunk["choices"]
        for entry in (choice["logprobs"] or {}).get("content", [])
    ]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in told]


def test_a_response_format_binds_the_model(client: openai.OpenAI, model: str) -> None:
    asked: Any = {"type": "json_schema", "json_schema": {"name": "c", "schema": COLOURS, "strict": True}}
    for format_, holds in ((asked, {"red", "blue"}), ({"type": "json_object"}, None)):
        completion = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Which colour is the sky? Answer in JSON."}],
            response_format=format_,
            temperature=0,
            max_tokens=200,
        )
        value = json.loads(completion.choices[0].message.content or "")
        assert isinstance(value, dict)
        assert holds is None or value["colour"] in holds


def test_a_developer_is_heard_as_the_system_is(house: Appliance, model: str) -> None:
    counted = [
        written(house, {"model": model, "messages": [{"role": role, "content": "Be brief."}, *HELLO]})[0]
        for role in ("system", "developer")
    ]
    assert counted[0]["usage"]["prompt_tokens"] == counted[1]["usage"]["prompt_tokens"]
    assert counted[0]["choices"] == counted[1]["choices"]


def test_a_seed_and_a_stop_are_honoured(house: Appliance, model: str) -> None:
    asked = {"model": model, "messages": HELLO, "temperature": 1.5}
    first, again = (written(house, asked | {"seed": 11})[0]["choices"] for _ in range(2))
    assert first == again
    text = first[0]["message"]["content"]
    cut = text.split()[1]
    stopped, _ = written(house, asked | {"seed": 11, "stop": [cut]})
    assert stopped["choices"][0]["message"]["content"] == text[: text.index(cut)]
    assert stopped["choices"][0]["finish_reason"] == "stop"


def test_a_bias_forbids_a_token(house: Appliance, model: str) -> None:
    asked = {"model": model, "messages": [{"role": "user", "content": "What is water?"}], "max_tokens": 1}
    plain, _ = written(house, asked)
    assert plain["choices"][0]["message"]["content"] == "Water"
    biased, _ = written(house, asked | {"logit_bias": {"12615": -100}})
    assert biased["choices"][0]["message"]["content"] not in ("Water", "")


def test_what_is_ignored_is_named(house: Appliance, model: str) -> None:
    vain = {"user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "verbosity": "low"}
    _, headers = written(house, {"model": model, "messages": HELLO} | vain)
    assert headers["almanac-ignored"] == "metadata, store, user, verbosity"
    _, headers = written(house, {"model": model, "messages": HELLO, "store": False, "top_k": 3})
    assert "almanac-ignored" not in headers
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    more = {"tools": [tool], "top_k": 3, "seed": 1, "x\r\nset-cookie": "y", "logit_bias": {"5": 1}}
    _, headers = written(house, {"model": "almanac", "messages": MARIGOLD} | vain | more)
    assert headers["almanac-ignored"] == "logit_bias, metadata, store, tools, top_k, user, verbosity"


WRONG = [
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 7}, "top_p"),
    ({"frequency_penalty": 9}, "frequency_penalty"),
    ({"presence_penalty": -9}, "presence_penalty"),
    ({"seed": 1.5}, "seed"),
    ({"seed": 2**70}, "seed"),
    ({"stop": 7}, "stop"),
    ({"stop": ""}, "stop"),
    ({"stop": ["a", ""]}, "stop[1]"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_completion_tokens": 2.5}, "max_completion_tokens"),
    ({"logit_bias": 7}, "logit_bias"),
    ({"logit_bias": {"5": "x"}}, "logit_bias"),
    ({"logit_bias": {"five": 1}}, "logit_bias"),
    ({"logprobs": 3}, "logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"response_format": {"type": "yaml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
    ),
    ({"tools": "all"}, "tools"),
    ({"tool_choice": "perhaps"}, "tool_choice"),
    ({"modalities": ["text", "audio"]}, "modalities[1]"),
    ({"audio": {"voice": "x"}}, "audio"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"function_call": "auto"}, "function_call"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"reasoning_effort": "endless"}, "reasoning_effort"),
    ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": ["Hi"]}, "messages[0]"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    (
        {"messages": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]},
        "messages[0].content[0].type",
    ),
    ({"messages": [{"role": "user", "content": [{"type": "film"}]}]}, "messages[0].content[0].type"),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b"}}]}
            ]
        },
        "messages",
    ),
    ({"messages": [*HELLO, {"role": "assistant", "content": None}]}, "messages[1].content"),
    ({"messages": [*HELLO, {"role": "tool", "content": "x"}]}, "messages[1].tool_call_id"),
    (
        {"messages": [*HELLO, {"role": "tool", "content": "x", "tool_call_id": "a"}]},
        "messages[1].tool_call_id",
    ),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": 1}]}]}, "messages[0].tool_calls[0].id"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}]}]},
        "messages[0].tool_calls[0].function",
    ),
]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("change", "param"), WRONG, ids=[f"{param}-{n}" for n, (_, param) in enumerate(WRONG)]
)
def test_what_cannot_be_is_refused_by_its_name(
    house: Appliance, model: str, change: dict[str, Any], param: str, stream: bool
) -> None:
    status, answer = house.post(CHAT, {"model": model, "messages": HELLO, "stream": stream} | change)
    assert status == 400, answer
    assert answer["error"]["param"] == param
    assert answer["error"]["message"].endswith(".")
    assert_valid("ErrorResponse", answer)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_the_library_refuses_what_would_change_its_answers_form(
    house: Appliance, change: dict[str, Any], param: str
) -> None:
    status, answer = house.post(CHAT, {"model": "almanac", "messages": MARIGOLD} | change)
    assert (status, answer["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "wizard"}, "type"),
        ({"properties": {"a": {"minimum": "one"}}}, "properties.a.minimum"),
        ({"properties": {"a": {"$ref": "http://example.org/a.json"}}}, "properties.a.$ref"),
        ({"pattern": "(" * 5000}, "pattern"),
        ({"type": "object", "description": "x" * 300_000}, ""),
    ],
)
@pytest.mark.parametrize("way", ["response_format", "json_schema"])
def test_an_impossible_schema_is_the_requests_fault(
    house: Appliance, model: str, schema: dict[str, Any], where: str, way: str
) -> None:
    form: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    asked = {way: form if way == "response_format" else schema}
    status, answer = house.post(CHAT, {"model": model, "messages": HELLO} | asked)
    path = ("response_format.json_schema.schema" if way == "response_format" else way, where)
    assert (status, answer["error"]["param"]) == (400, ".".join(filter(None, path))), answer


def test_json_of_any_kind_is_not_a_way_around(house: Appliance, model: str) -> None:
    form = {"type": "json_object", "schema": {"const": "an engine's own word for a schema"}}
    status, answer = house.post(
        CHAT, {"model": model, "messages": HELLO, "response_format": form, "max_tokens": 40}
    )
    assert status == 200
    assert answer["choices"][0]["message"]["content"].lstrip().startswith("{")


@pytest.mark.parametrize("stream", [False, True])
def test_formats_and_patterns_hold_that_the_engine_s_own_grammar_lets_slip(
    client: openai.OpenAI, model: str, stream: bool
) -> None:
    """Left to itself it lets February have 31 days, and knows no e-mail addresses."""
    schema = {
        "type": "object",
        "properties": {
            "days": {
                "type": "array",
                "items": {"type": "string", "format": "date"},
                "minItems": 2,
                "maxItems": 3,
            },
            "from": {"type": "string", "format": "email"},
            "code": {"type": "string", "pattern": "^\\d{3}-[A-Z]{2}$"},
            "litres": {"type": "integer", "minimum": 3, "maximum": 17},
        },
        "required": ["days", "from", "code", "litres"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "c", "schema": schema, "strict": True}}
    for seed in range(4):
        asked: Any = {
            "model": model,
            "response_format": form,
            "temperature": 1.5,
            "seed": seed,
            "max_tokens": 400,
        }
        asked["messages"] = [{"role": "user", "content": "Fill in the form with the strangest values."}]
        if stream:
            chunks = client.chat.completions.create(stream=True, **asked)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        else:
            text = client.chat.completions.create(**asked).choices[0].message.content
        assert Schema(schema).fault(json.loads(text)) is None, text


def test_a_prompt_beyond_the_context_is_refused_with_both_counts(house: Appliance, model: str) -> None:
    long = [{"role": "user", "content": "water " * 6000}]
    for stream in (True, False):
        status, answer = house.post(CHAT, {"model": model, "messages": long, "stream": stream})
        assert (status, answer["error"]["param"]) == (400, "messages")
        assert "60" in answer["error"]["message"]
        assert "4096" in answer["error"]["message"]


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"-1e999"])
def test_a_temperature_that_is_no_number_is_the_requests_fault(
    house: Appliance, model: str, number: bytes
) -> None:
    body = b'{"model": "%s", "messages": [{"role": "user", "content": "Hi"}], "temperature": %s}'
    status, _, answer = house.request("POST", CHAT, body % (model.encode(), number))
    assert status == 400
    assert_valid("ErrorResponse", json.loads(answer))


def test_a_tools_answer_to_a_call_is_taken(house: Appliance, model: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "It rains.", "tool_call_id": "a"},
    ]
    assert written(house, {"model": model, "messages": messages})


def test_parts_of_text_and_refusals_are_words_like_others(house: Appliance, model: str) -> None:
    said = [{"type": "text", "text": "Well."}, {"type": "refusal", "refusal": "No."}]
    in_parts = [*HELLO, {"role": "assistant", "content": said}, *HELLO]
    plain = [*HELLO, {"role": "assistant", "content": "Well.\nNo."}, *HELLO]
    one, other = (written(house, {"model": model, "messages": messages})[0] for messages in (in_parts, plain))
    assert one["choices"] == other["choices"]


def test_an_effort_of_reasoning_is_taken_even_where_the_model_has_none(house: Appliance, model: str) -> None:
    for effort in ("none", "low"):
        answer, headers = written(house, {"model": model, "messages": HELLO, "reasoning_effort": effort})
        assert "reasoning_content" not in answer["choices"][0]["message"]
        assert "almanac-ignored" not in headers


def test_what_a_client_sends_back_may_be_null_but_nothing_else_than_text(
    house: Appliance, model: str
) -> None:
    empty = dict.fromkeys(("name", "refusal", "reasoning_content", "tool_calls", "audio", "function_call"))
    answer, _ = written(house, {"model": model, "messages": [HELLO[0] | empty]})
    assert answer["choices"][0]["message"]["content"]
    for field in ("name", "reasoning_content"):
        status, answer = house.post(CHAT, {"model": model, "messages": [HELLO[0] | {field: 5}]})
        assert (status, answer["error"]["param"]) == (400, f"messages[0].{field}")
    status, answer = house.post(CHAT, {"model": model, "messages": HELLO, "grammar": "root ::= nothing"})
    assert (status, answer["error"]["param"]) == (400, "grammar")


def test_too_large_a_body_is_413_and_the_next_request_works(house: Appliance, model: str) -> None:
    status, _, answer = house.request("POST", CHAT, b'{"messages": "' + b"x" * 10_000_000 + b'"}')
    assert status == 413
    assert_valid("ErrorResponse", json.loads(answer))
    assert written(house, {"model": model, "messages": HELLO})


def test_a_model_of_another_kind_is_told_where_to_ask(house: Appliance, client: openai.OpenAI) -> None:
    embedding = next(one.id for one in client.models.list() if "MiniLM" in one.id)
    status, answer = house.post(CHAT, {"model": embedding, "messages": HELLO})
    assert (status, answer["error"]["param"]) == (400, "model")
    assert "/v1/embeddings" in answer["error"]["message"]


def test_every_model_and_the_list_are_of_openais_shape(house: Appliance) -> None:
    _, listed = house.get("/v1/models")
    assert_valid("ListModelsResponse", listed)
    for entry in listed["data"]:
        assert_valid("Model", entry)
        assert house.get(f"/v1/models/{entry['id']}")[1] == entry
    assert_valid("ErrorResponse", house.get("/v1/models/gpt-9")[1])
