"""An offer of tools: however many there are, their schemas are read in a short time, or refused."""

import time
from typing import Any

import pytest

from library.errors import InvalidRequest
from tests.web.tool_schemas import of
from web.openai.tools import MOST_TOOLS, offer


def tools(*schemas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": {"name": f"f{at}", "parameters": schema}}
        for at, schema in enumerate(schemas)
    ]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object", "description": "x" * 20_000}, "bytes together"),
        (of(None, **{f"p{n}": {"pattern": rf"\p{{L}}{{9}}{n}"} for n in range(40)}), "patterns together"),
    ],
)
def test_what_is_too_much_together_is_refused_before_it_is_read(schema: dict[str, Any], said: str) -> None:
    begun = time.monotonic()
    with pytest.raises(InvalidRequest, match=said) as refused:
        offer(tools(*[schema] * MOST_TOOLS), None, None, nested=True)
    assert refused.value.parameter == "tools"
    assert time.monotonic() - begun < 2


def test_many_tools_of_a_usual_size_are_taken() -> None:
    usual = of(
        ["name"], name={"type": "string", "description": "what it is called" * 20}, n={"type": "integer"}
    )
    taken = offer(tools(*[usual] * MOST_TOOLS), None, None, nested=True)
    assert taken is not None
    assert len(taken.tools) == MOST_TOOLS
