"""Schemas from clients: what is taken is decided in time, what is not is named."""

import json
import re
import time
from datetime import date
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.tools.narrowing import narrowed
from llm.tools.patterns import writable
from llm.tools.schemas import MOST_BYTES, Schema, SchemaRefused
from tests.web.tool_schemas import FUNCTIONS, of

TREE: dict[str, Any] = {
    "anyOf": [{"type": "number"}, of(op={"enum": ["+"]}, left={"$ref": "#"}, right={"$ref": "#"})]
}


def nested(levels: int, value: Any = 1) -> Any:
    for _ in range(levels):
        value = {"op": "+", "left": value, "right": 1}
    return value


@pytest.mark.parametrize(
    ("schema", "where", "said"),
    [
        ({"type": "wizard"}, "type", "no valid JSON schema"),
        (of(a={"multipleOf": 0}), "properties.a.multipleOf", "no valid JSON schema"),
        (of(a={"pattern": "("}), "properties.a.pattern", "regex"),
        (of(a={"$ref": "https://example.org/s"}), "properties.a.$ref", "nothing is fetched"),
        (of(a={"$ref": "other.json"}), "properties.a.$ref", "nothing is fetched"),
        (of(a={"$ref": "#/$defs/no"}), "properties.a.$ref", "points to nothing"),
        (of(a={"$dynamicRef": "#x"}), "properties.a.$dynamicRef", "`$ref`"),
        (of(a={"$id": "https://example.org/a"}), "properties.a.$id", "one document"),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "", "without end"),
        ({"description": "x" * MOST_BYTES}, "", "bytes"),
        ({"anyOf": [{"anyOf": [{}] * 40}] * 40}, "", "alternatives"),
        (of(None, **{f"p{n}": {"pattern": rf"\p{{L}}{{9}}{n}"} for n in range(1_200)}), "", "patterns"),
        ({"patternProperties": {rf"\w{{9}}{n}": True for n in range(1_200)}}, "", "patterns"),
        (
            of(
                a={
                    "prefixItems": [
                        {"items": {"$ref": f"#/properties/a/prefixItems/{n}"}} for n in range(900)
                    ]
                }
            ),
            "",
            "references",
        ),
    ],
)
def test_what_is_no_schema_or_takes_for_ever_is_refused_by_its_place(
    schema: dict[str, Any], where: str, said: str
) -> None:
    with pytest.raises(SchemaRefused) as refused:
        Schema(schema)
    assert refused.value.where == where
    assert said in refused.value.problem
    assert refused.value.problem.endswith(".")


def test_a_hostile_schema_and_value_are_decided_in_time() -> None:
    begun = time.monotonic()
    forked: dict[str, Any] = {"anyOf": [of(["a"], x={"$ref": "#"}), of(["b"], x={"$ref": "#"})]}
    value: Any = {}
    for _ in range(200):
        value = {"x": value}
        assert Schema(forked).fault(value)
    slow = Schema({"pattern": "^(a+)+$"})
    assert slow.fault("a" * 5_000 + "!")
    looking = Schema({"pattern": "^(?=(a+)+$)x"})
    assert looking.fault("a" * 5_000 + "!")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": "(?=[ab]*a[ab]{1000}c)a"}, "ab" * 2000),
        ({"pattern": "(?=(([ab]?){50}){50}c)a"}, "ab" * 2000),
        ({"anyOf": [{"pattern": f"a[ab]{{3000}}c{n}"} for n in range(90)]}, "ab" * 2000),
        (
            {"patternProperties": {f"(?=x)(x+x+)+(?=y){n}": False for n in range(90)}},
            {"x" * 50 + str(n): 1 for n in range(200)},
        ),
        (
            {"items": {"allOf": [{"$ref": "#/$defs/p"}] * 900}, "$defs": {"p": {"pattern": r"(x+x+)+(?=y)"}}},
            ["x" * 50] * 200,
        ),
    ],
)
def test_a_text_that_a_pattern_would_take_minutes_to_match_is_not_matched(
    schema: dict[str, Any], value: Any
) -> None:
    taken = Schema(schema)
    begun = time.monotonic()
    assert taken.fault(value) == "it is too long to be held against the schema's patterns"
    assert time.monotonic() - begun < 2


def test_a_long_text_is_judged_where_no_pattern_is_its_own() -> None:
    schema = Schema(of(["path"], path={"pattern": r"^(?!/)[\w./]+$"}, text={"type": "string"}))
    assert schema.fault({"path": "notes/a.md", "text": "a" * 20_000}) is None
    assert schema.fault({"path": "/etc/passwd", "text": "a" * 20_000})


@pytest.mark.parametrize(
    "schema",
    [
        {"required": [f"{n:x}" for n in range(6_000)], "anyOf": [{}] * 900},
        {"required": ["a" * 30_000], "anyOf": [{}] * 900},
        {
            "properties": {"e": {"enum": ["b" * 40 + str(n) for n in range(900)]}},
            "anyOf": [{"required": ["e"]}] * 900,
        },
    ],
)
def test_what_alternatives_have_in_common_does_not_unfold_without_end(schema: dict[str, Any]) -> None:
    Schema({"type": "object"} | schema)
    begun = time.monotonic()
    with pytest.raises(SchemaRefused, match="too large"):
        narrowed({"type": "object"} | schema, "f")
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("back", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}])
def test_a_reference_back_that_has_company_stays_a_reference(back: dict[str, Any]) -> None:
    schema = of(x={"type": "object", "properties": {"y": True}} | back)
    Schema(schema)
    assert len(json.dumps(narrowed(schema, "f"))) < 2_000


def test_recursion_is_taken_and_its_values_are_judged() -> None:
    schema = Schema(TREE)
    assert schema.fault(nested(3)) is None
    assert schema.fault(nested(3, "x"))
    assert schema.fault(nested(60)) == "it is nested too deeply"


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("tight", [False, True])
def test_a_narrowed_schema_stays_within_the_dialect_and_resolves(name: str, tight: bool) -> None:
    schema = FUNCTIONS[name][0] or {"type": "object", "properties": {}}
    node, definitions = narrowed(schema, "f", tight=tight)
    whole = node | {"$defs": definitions}
    jsonschema_rs.validator_for(whole, offline=True)  # raises for a reference that leads nowhere
    for keyword in ("allOf", "oneOf", "not", "if", "uniqueItems", "multipleOf", "patternProperties"):
        assert f'"{keyword}"' not in json.dumps(whole)


def test_recursion_ends_after_some_levels_where_it_can() -> None:
    node, definitions = narrowed(TREE, "f")
    judge = jsonschema_rs.validator_for(node | {"$defs": definitions}, offline=True)
    assert judge.is_valid(nested(3))
    assert not judge.is_valid(nested(4))
    endless = of(again={"$ref": "#"})
    assert narrowed(endless, "f")[1]  # nothing satisfies it: left as it is


def test_what_must_be_and_is_not_described_is_let_be() -> None:
    node, _ = narrowed({"type": "object", "required": ["a"]}, "f")
    assert node["properties"] == {"a": {}}
    assert node["required"] == ["a"]


def test_alternatives_are_joined_with_what_stands_beside_them() -> None:
    schema = of([], a={"type": "string"}, b={"type": "integer"}) | {
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}]
    }
    node, _ = narrowed(schema, "f")
    assert [one["required"] for one in node["anyOf"]] == [["a"], ["b"]]
    assert all(set(one["properties"]) == {"a", "b"} for one in node["anyOf"])


def test_an_enum_without_end_is_not_given_to_an_engine() -> None:
    with pytest.raises(SchemaRefused, match="1000 values"):
        narrowed(of(a={"enum": list(range(1_001))}), "f")


def test_too_large_a_schema_is_not_given_to_an_engine() -> None:
    wide = {"allOf": [of(None, **{f"p{n}": {"type": "string"} for n in range(100)})] * 2}
    schema: dict[str, Any] = {"anyOf": [wide | {"anyOf": [{"required": [str(n)]} for n in range(60)]}]}
    with pytest.raises(SchemaRefused, match="too large"):
        narrowed(schema, "f")


@pytest.mark.parametrize(
    ("schema", "tight", "narrow"),
    [
        ({"type": "number", "minimum": 0.5, "maximum": 9.5}, True, {"type": "integer", "minimum": 1, "maximum": 9}),
        ({"type": "number", "minimum": 0.5, "maximum": 9.5}, False, {"type": "number", "minimum": 0.5, "maximum": 9.5}),
        ({"type": "number", "maximum": 10**400}, False, {"type": "number"}),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, True, {"enum": [0.5]}),
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": 3.5}, False, {"type": "integer", "minimum": 1, "maximum": 3}),
        ({"type": "integer", "multipleOf": 5, "minimum": 1, "maximum": 16}, False, {"enum": [5, 10, 15]}),
        ({"type": "integer", "maximum": 10**400}, False, {"type": "integer"}),
        ({"type": "string", "minLength": 2, "maxLength": 10**9}, False, {"type": "string", "minLength": 2}),
        ({"type": "array", "items": False}, False, {"type": "array", "items": {}, "maxItems": 0}),
        ({"type": "array", "maxItems": 10**9}, False, {"type": "array", "items": {}}),
        ({"enum": ["a"], "type": "string"}, False, {"enum": ["a"]}),
        ({}, False, {}),
    ],
)  # fmt: skip
def test_bounds_become_what_a_grammar_can_say(
    schema: dict[str, Any], tight: bool, narrow: dict[str, Any]
) -> None:
    assert narrowed(schema, "f", tight=tight)[0] == narrow


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        (r"^[A-Z]{3}-\d{4}$", "ABC-1234"),
        (r"^#?[0-9a-f]{6}$", "00ff00"),
        (r"^(?:yes|no)$", "no"),
        (r"\w+@\w+\.com", "a@b.com"),
        (r"^[^/]+/.*?$", "a/b"),
        (r"^(?!\.)[a-z.]{1,9}$", "a.b"),
    ],
)
def test_a_pattern_is_written_anew_and_matches_no_more(pattern: str, matching: str) -> None:
    written = writable(pattern)
    assert written
    rewritten, original = ({"type": "string", "pattern": one} for one in (written, pattern))
    assert Schema(rewritten).fault(matching) is None
    assert Schema(original).fault(matching) is None
    for hostile in ('"', "\\", "\n", "é"):
        assert Schema(rewritten).fault(hostile)


@pytest.mark.parametrize(
    "pattern",
    ["(", "[", "a{", "a{2000}", "(a{100}){100}", r"\1", r"\u0041", "(?i)a", "*", '^"$', "x" * 501, "[z-a]"],
)
def test_a_pattern_that_cannot_be_written_is_given_up(pattern: str) -> None:
    assert writable(pattern) is None


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=r"ab[]()^$.*+?{}|\-,1d:!=<", max_size=24), st.text(alphabet="ab1", max_size=6))
def test_what_is_written_anew_matches_only_what_the_pattern_does(pattern: str, value: str) -> None:
    written = writable(pattern)
    if written is None or "(?" in pattern:
        return
    try:
        original = Schema({"type": "string", "pattern": pattern})
    except SchemaRefused:
        return
    if Schema({"type": "string", "pattern": written}).fault(value) is None:
        # Anchors in the middle can only be left out: nothing else may be added.
        assert original.fault(value) is None or "^" in pattern[1:] or "$" in pattern[:-1]


def test_every_date_that_may_be_written_is_one() -> None:
    """The engine's own rule lets every month have 31 days."""
    pattern = narrowed({"type": "string", "format": "date"}, "when")[0]["pattern"]
    days = [
        f"{year}-{month:02}-{day:02}"
        for year in (1000, 2024, 2999)
        for month in range(14)
        for day in range(33)
    ]
    may_be = [day for day in days if re.fullmatch(pattern, day)]
    assert {date.fromisoformat(day).month for day in may_be} == set(range(1, 13))
    assert len(may_be) == 3 * 365
    moment = Schema({"type": "string", "format": "date-time"})
    assert moment.fault("2024-04-30T23:59:59Z") is None
    assert re.fullmatch(
        narrowed({"type": "string", "format": "date-time"}, "t")[0]["pattern"], "2024-04-30T23:59:59+02:00"
    )
