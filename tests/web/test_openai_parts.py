"""What stands behind the OpenAI API: errors, and requests to an engine that the starter model is not."""

import json
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from library.errors import IndexUnavailable, InvalidRequest, ModelFailed, ModelNotFound, ModelUnavailable
from tests.web.openai_spec import assert_valid
from web.openai.bare import bodies_of, reshaped
from web.openai.messages import check_messages
from web.openai.parameters import ChatParameters, ignored, parameters
from web.problems import almanac_problem, openai_error


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (503, "server_error"),
    ],
)
def test_every_status_has_its_type(status: int, kind: str) -> None:
    error = openai_error(status, "A sentence.", "code", None)
    assert error["error"]["type"] == kind
    assert_valid("ErrorResponse", error)


@pytest.mark.parametrize(
    ("error", "status", "param"),
    [
        (InvalidRequest("stop[1]", "is wrong."), 400, "stop[1]"),
        (ModelNotFound("gpt-9", ()), 404, "model"),
        (ModelUnavailable("It is being loaded."), 503, None),
        (IndexUnavailable("It is being loaded."), 503, None),
        (ModelFailed("It broke."), 502, None),
    ],
)
def test_our_errors_come_in_openais_envelope(error: Any, status: int, param: str | None) -> None:
    request: Any = SimpleNamespace(url=SimpleNamespace(path="/v1/embeddings"))
    response = almanac_problem(request, error)
    assert response.status_code == status
    assert response.content["error"]["param"] == param
    assert_valid("ErrorResponse", response.content)


def test_a_seed_goes_on_from_choice_to_choice_and_stays_one() -> None:
    assert [body["seed"] for body in bodies_of({"seed": 2**32 - 1, "n": 3}, n=3)] == [2**32 - 1, 0, 1]
    assert bodies_of({"n": 2, "top_k": 3}, n=2) == [{"top_k": 3}, {"top_k": 3}]


def test_reasoning_passes_apart_from_the_content_also_where_chunks_are_opened() -> None:
    import asyncio

    thought = {"index": 0, "delta": {"reasoning_content": "Hm."}, "finish_reason": None}
    said = {"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

    async def engine(body: dict[str, Any]) -> AsyncGenerator[list[bytes], None]:
        for chunk in ({"choices": [thought]}, {"choices": [said]}, {"choices": [], "usage": usage}):
            yield [
                msgspec.json.encode(
                    {"id": str(body["seed"]), "object": "o", "created": 1, "model": "m"} | chunk
                )
            ]

    async def scene() -> list[dict[str, Any]]:
        bodies = bodies_of({"seed": 1}, n=2)
        batches = reshaped(engine, bodies, lambda _: None, n=2, include_usage=True)
        return [json.loads(payload) async for batch in batches for payload in batch]

    chunks = asyncio.run(scene())
    assert [chunk["id"] for chunk in chunks] == ["1"] * 5
    assert [choice["index"] for chunk in chunks for choice in chunk["choices"]] == [0, 0, 1, 1]
    assert chunks[0]["choices"][0]["delta"] == {"reasoning_content": "Hm."}
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    assert chunks[-1]["usage"]["prompt_tokens"] == 3  # one prompt, written to twice
    assert chunks[-1]["choices"] == []


UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
named = st.sampled_from([*ChatParameters.__struct_fields__, "unheard_of"])
roles = st.sampled_from(["system", "user", "assistant", "tool", "function", "wizard"])
fields = st.sampled_from(["content", "tool_calls", "tool_call_id", "name"])


@UNHURRIED
@given(st.dictionaries(named, anything, max_size=4))
def test_whatever_is_asked_for_is_taken_or_refused_in_words(body: dict[str, Any]) -> None:
    try:
        parameters({"model": "m", "messages": []} | body, ChatParameters)
    except InvalidRequest as refused:
        assert refused.parameter
        assert str(refused).endswith(".")
    for value in ignored(body, ()).values():
        assert value.isascii()
        assert value.isprintable()


@UNHURRIED
@given(st.lists(st.tuples(roles, st.dictionaries(fields, anything, max_size=3)), max_size=4))
def test_whatever_messages_are_sent_are_taken_or_refused_in_words(given: list[Any]) -> None:
    try:
        check_messages([{"role": role} | fields for role, fields in given])
    except InvalidRequest as refused:
        assert refused.parameter.startswith("messages")


@pytest.mark.parametrize(
    "grammar", ['root ::= "' + "a" * 70_000 + '"', f'root ::= {"(" * 40_000}"a"{")" * 40_000}']
)
def test_a_grammar_that_an_engine_dies_of_never_reaches_it(grammar: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        bodies_of({"grammar": grammar}, n=1)
    assert refused.value.parameter == "grammar"
    assert bodies_of({"grammar": 'root ::= ("a" | "b")+'}, n=1)
