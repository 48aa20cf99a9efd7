"""Requests made from our own description of the API, right and wrong ones alike: never a 5xx, always a sentence."""

import json
import re
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.running import Appliance

pytestmark = pytest.mark.models

# What only reads, and ends. `/v1` is described in its own words, and what changes things has tests of its own.
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
