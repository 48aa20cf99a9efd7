"""Schemas in a request: checked, and put as an engine's grammar can keep to them.

Pure. Its hard rule: no schema reaches an engine before it was found to be one
that is decided in bounded time; an error names the very part of it.
"""

from typing import Any

from library.errors import InvalidRequest
from llm.tools.narrowing import narrowed
from llm.tools.schemas import Schema, SchemaRefused

Given = dict[str, Any]
Body = dict[str, Any]


def checked(given: Given, where: str, *, of_object: bool = False) -> Schema:
    """Raises InvalidRequest."""
    schema, _ = _read(given, where)
    if of_object and given.get("type", "object") != "object":
        raise InvalidRequest(f"{where}.type", "must be `object`: arguments have names.")
    return schema


def answer_schema(given: Given | None, where: str) -> Schema | None:
    """The schema that an answer in words must satisfy, if there is one. Raises InvalidRequest."""
    return None if given is None else checked(given, where)


def held(body: Body, where: str = "response_format.json_schema.schema") -> Body:
    """A request whose answer is held to a schema, as an engine is to be told of it; any other as it is.

    `where` is what the client calls the schema of `response_format`. Raises InvalidRequest.
    """
    form, own = body.get("response_format"), body.get("json_schema")  # the latter is llama.cpp's
    if isinstance(form, dict) and form.get("type") == "json_object":
        body = body | {"response_format": {"type": "json_object"}}
    elif isinstance(form, dict) and form.get("type") == "json_schema":
        described = form.get("json_schema")
        described = described if isinstance(described, dict) else {}
        held_to = described | {"schema": _narrowed(described.get("schema"), where)}
        body = body | {"response_format": {"type": "json_schema", "json_schema": held_to}}
    return body if own is None else body | {"json_schema": _narrowed(own, "json_schema")}


def _narrowed(given: object, where: str) -> Given:
    if not isinstance(given, dict):
        raise InvalidRequest(where, "must be a JSON schema, an object.")
    return _read(given, where)[1]


def _read(given: Given, where: str) -> tuple[Schema, Given]:
    """The schema, and as an engine's grammar can keep to it. Raises InvalidRequest."""
    try:
        schema = Schema(given)
        within, definitions = narrowed(given, "answer")
    except SchemaRefused as error:
        raise InvalidRequest(f"{where}.{error.where}".rstrip("."), error.problem) from error
    return schema, within | ({"$defs": definitions} if definitions else {})
