"""OpenAI's own description of its API, as a test of what is sent here: shapes are theirs, extensions are listed.

Stricter than the description itself: a field that it does not name is wrong,
unless it is one of EXTENSIONS.
"""

import json
from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from tests.places import SHARED_DATA, shared_data

# Every field that is sent on purpose and that OpenAI's description does not know, and what it is for.
EXTENSIONS = {
    "almanac": "of library models: what kind of answer it is, its sources, its notices",
    "kind": "of a model: what it is asked for",
    "n": "of a citation: the number that stands in the text",
    "document_id": "of a citation: whence it is",
    "passage_id": "of a citation: whence it is",
    "path": "of a citation: whence it is",
    "quote": "of a citation: the passage",
    "href": "of a citation: where it opens",
    "reasoning_content": "of the bare model: what it said to itself, apart from the answer",
    "input_modalities": "of a model: whether it can be shown pictures",
    "store": "of a response: always false; OpenAI sends it too, and does not describe it",
    "timings": "of the bare model: the engine's own measurements",
}
# Of a library answer's chat annotation, beside the one that OpenAI puts into `url_citation`.
_OF_ANNOTATIONS = {"title"}
# In a stream, library models put them into the last chunk's delta; OpenAI has them in whole answers only.
_OF_DELTAS = {"annotations"}


def assert_valid(name: str, body: Any) -> None:
    """Fails unless `body` is a `name` of the description, extensions left out. Skips where that is absent."""
    problems = [
        f"{'/'.join(map(str, error.instance_path)) or name}: {error.message[:300]}"
        for error in _validator(name).iter_errors(without_extensions(body))
    ]
    assert not problems, "; ".join(problems)


def assert_valid_event(event: Any) -> None:
    """The same for an event of a response's stream, by its type: of an `anyOf` of fifty nobody learns what is wrong."""
    assert_valid(_events()[event["type"]], event)


def without_extensions(body: Any) -> Any:
    if isinstance(body, list):
        return [without_extensions(entry) for entry in body]
    if not isinstance(body, dict):
        return body
    extra = set(EXTENSIONS)
    if body.get("type") == "url_citation" and "url_citation" in body:
        extra |= _OF_ANNOTATIONS
    kept = {key: without_extensions(value) for key, value in body.items() if key not in extra}
    if isinstance(kept.get("delta"), dict):
        kept["delta"] = {key: value for key, value in kept["delta"].items() if key not in _OF_DELTAS}
    return kept


def is_at_hand() -> bool:
    """False where the description is absent; it is not part of the repository."""
    return (SHARED_DATA / "openai" / "openapi.json").exists()


@cache
def _components() -> dict[str, Any]:
    path = shared_data("openai") / "openapi.json"
    if not path.exists():
        pytest.skip(f"{path} is not there; it is not part of the repository")
    components: dict[str, Any] = json.loads(path.read_text())["components"]
    return components


@cache
def _events() -> dict[str, str]:
    """The schema's name for each type of event."""
    schemas = _components()["schemas"]
    names = [one["$ref"].rpartition("/")[2] for one in schemas["ResponseStreamEvent"]["anyOf"]]
    return {schemas[name]["properties"]["type"]["enum"][0]: name for name in names}


@cache
def _validator(name: str) -> jsonschema_rs.Draft202012Validator:
    components = _components()
    # It has no shape for the chunks of a text completion, whose reason is null until the last, as in a chat's.
    choice = components["schemas"]["CreateCompletionResponse"]["properties"]["choices"]["items"]
    choice["properties"]["finish_reason"]["nullable"] = True
    parts = {ref for schema in components["schemas"].values() for ref in _all_of_refs(schema)}
    closed = {
        key: schema if f"#/components/schemas/{key}" in parts else _closed(schema, parts)
        for key, schema in components["schemas"].items()
    }
    return jsonschema_rs.Draft202012Validator(
        _closed({"$ref": f"#/components/schemas/{name}"}, parts) | {"components": {"schemas": closed}}
    )


def _all_of_refs(schema: Any) -> set[str]:
    """What stands in an `allOf` is a part of something, and may not be closed by itself."""
    if isinstance(schema, list):
        return set().union(*map(_all_of_refs, schema))
    if not isinstance(schema, dict):
        return set()
    own = {part["$ref"] for part in schema.get("allOf", ()) if "$ref" in part}
    return own.union(*map(_all_of_refs, schema.values()))


def _closed(schema: Any, parts: set[str]) -> Any:
    if isinstance(schema, list):
        return [_closed(entry, parts) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: value if key == "allOf" else _closed(value, parts) for key, value in schema.items()}
    # What is a part somewhere is a whole here, where it stands alone: a chat's message, say.
    names_fields = (
        isinstance(schema.get("properties"), dict) or "allOf" in schema or schema.get("$ref") in parts
    )
    if names_fields and "additionalProperties" not in schema:
        closed["unevaluatedProperties"] = False
    # Of OpenAPI 3.0, in a document that says it is 3.1.
    return {"anyOf": [closed, {"type": "null"}]} if schema.get("nullable") is True else closed
