"""Requests made from our own description of the API, right and wrong ones alike: never a 5xx, always a sentence."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.running import Appliance

pytestmark = pytest.mark.models

# What only reads, and ends; `/v1` has a test of its own below, and so has what changes things elsewhere.
PATHS = re.compile(r"^/(?!v1/|api/events$)")
EXAMPLES = 15  # for each operation and kind of request
HELD_TO = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_described_request_is_our_mistake(house: Appliance, mode: GenerationMode) -> None:
    description = house.get("/api/schema/openapi.json")[1]
    schema = schemathesis.openapi.from_dict(description)
    schema.config.update(base_url=house.url)
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        parameters = description["paths"][operation.path].get("get", {}).get("parameters")
        if operation.method.upper() != "GET" or not PATHS.match(operation.path) or not parameters:
            continue

        @HELD_TO
        @given(case=operation.as_strategy(generation_mode=mode))
        def answered(case: schemathesis.Case) -> None:
            nonlocal asked
            asked += 1
            response = case.call()
            assert response.status_code < 500, response.text
            if response.status_code >= 400 and "json" in response.headers.get("content-type", ""):
                assert json.loads(response.content)["detail"].endswith("."), response.text

        # Where a parameter may be any text, no request can be made that contradicts the description.
        with suppress(*([Unsatisfiable] if mode is GenerationMode.NEGATIVE else [])):
            answered()
    assert asked >= 3 * EXAMPLES


# What may be asked anything: each with a model that answers there, since no generated name would be one.
ANSWERING = {
    "/v1/chat/completions": ("almanac:garden", "SmolLM2"),
    "/v1/completions": ("SmolLM2",),
    "/v1/embeddings": ("MiniLM",),
    "/v1/rerank": ("MiniLM",),  # there is no reranker, and that is said
    "/v1/responses": ("almanac:garden", "SmolLM2"),
}
# Enough for an answer to have a form. What is asked for otherwise is tested elsewhere, and would take minutes.
SHORT = {"max_tokens": 2, "max_completion_tokens": 2, "max_output_tokens": 16, "n": 2}
SECONDS = 30  # for each endpoint and kind of request


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_described_body_is_our_mistake(house: Appliance, mode: GenerationMode) -> None:
    """What is described is answered, or refused for more than its form; what contradicts that is always refused."""
    description = house.get("/api/schema/openapi.json")[1]
    known = [model["id"] for model in house.get("/v1/models")[1]["data"]]
    schema = schemathesis.openapi.from_dict(description)
    schema.config.update(base_url=house.url)
    statuses = []
    for path, names in ANSWERING.items():
        models = cycle([next(id_ for id_ in known if name in id_) for name in names])
        statuses += _statuses(schema[path]["POST"], mode, models)
    assert len(statuses) >= 3 * EXAMPLES
    assert statuses.count(200) >= 3 or mode is GenerationMode.NEGATIVE


def _statuses(operation: Any, mode: GenerationMode, models: Iterator[str]) -> list[int]:
    ends, statuses = time.monotonic() + SECONDS, []

    @HELD_TO
    @given(case=operation.as_strategy(generation_mode=mode))
    def asking(case: schemathesis.Case) -> None:
        if time.monotonic() > ends:
            return
        if isinstance(case.body, dict):
            case.body = _short(
                case.body if mode is GenerationMode.NEGATIVE else _whole(case.body), next(models)
            )
        response = case.call(timeout=120)  # a prompt may be long, and the machine busy
        statuses.append(response.status_code)
        assert response.status_code < 500, response.text
        assert response.status_code >= 400 or mode is GenerationMode.POSITIVE, case.body
        if response.status_code >= 400:
            error = json.loads(response.content)["error"]
            assert error["message"].endswith("."), error
            assert error["type"] == "invalid_request_error"
            assert "` is not valid: " not in error["message"] or mode is GenerationMode.NEGATIVE, error

    asking()
    return statuses


def _short(body: dict[str, Any], model: str) -> dict[str, Any]:
    """The same, of a model that there is, and with as few tokens as show its form. What is wrong stays wrong."""
    told = dict(body)
    if isinstance(told.get("model"), str) and told["model"]:
        told["model"] = model
    for name, most in SHORT.items():
        given = told.get(name)
        if (given is None and name != "n") or (type(given) is int and given > most):
            told[name] = most
    return told


def _whole(body: Any) -> Any:
    """To JSON Schema 2.0 is an integer, and to JSON's readers it is none."""
    if isinstance(body, dict):
        return {name: _whole(value) for name, value in body.items()}
    if isinstance(body, list):
        return list(map(_whole, body))
    return int(body) if isinstance(body, float) and body.is_integer() else body
