"""What our OpenAPI document says of /v1: each endpoint's request and answer, from the structs themselves.

Litestar sees bodies of any shape there, since fields that OpenAI adds tomorrow
pass through. Its hard rule: a request's schema is made from the very struct
that checks it, so that the two cannot differ.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Components, Operation

from web.openai.shapes import ErrorEnvelope

Kind = type[msgspec.Struct]

# A prefix, so that no struct of another API is taken for one of these.
_NAMES = "#/components/schemas/v1.{name}"
_ERRORS = {
    400: "Something in the request is wrong; `param` names it.",
    403: "A host or a page that may not.",
    404: "There is no such model; `param` is `model`.",
    413: "The body is larger than 4 MiB; 8 MiB with the pictures of a chat or a response.",
    429: "More wait for the model than may. `Retry-After` says when to ask again.",
    502: "The model failed while it was answering.",
    503: "The model is not there at the moment.",
}
_HEADERS = {
    "X-Request-Id": "The request's own, or a new one.",
    "almanac-ignored": "What was asked for and is not honoured, by name.",
    "almanac-cache": "`hit` or `miss`, where the request is repeatable.",
}


class Described(Operation):
    """An operation whose bodies are told by structs."""

    kinds: ClassVar[tuple[Kind, ...]] = ()


def described(
    asked: Kind | None,
    answer: Kind,
    event: Kind | None = None,
    *,
    ignored: Sequence[str] = (),
    refused: Sequence[str] = (),
) -> type[Described]:
    """An endpoint's request, its whole answer, and each event of its stream where it has one."""

    class Told(Described):
        kinds = tuple(kind for kind in (asked, answer, event, ErrorEnvelope) if kind is not None)

        def to_schema(self) -> dict[str, Any]:
            told = super().to_schema()
            if asked is not None:
                told["requestBody"] = {"required": True, "content": _json(asked)}
            told["responses"] = {"200": _answered(answer, event)} | {
                str(status): {"description": says, "content": _json(ErrorEnvelope)}
                for status, says in _ERRORS.items()
            }
            says = [f"Ignored, and named in `almanac-ignored`: {_named(ignored)}."] if ignored else []
            says += [f"Refused: {_named(refused)}."] if refused else []
            return told | ({"description": " ".join(says)} if says else {})

    return Told


def _answered(answer: Kind, event: Kind | None) -> dict[str, Any]:
    content = _json(answer)
    if event is not None:
        content["text/event-stream"] = {"schema": _reference(event)}
    headers = {name: {"description": says, "schema": {"type": "string"}} for name, says in _HEADERS.items()}
    says = "The answer; of a stream, the schema is that of each event's data." if event else "The answer."
    return {"description": says, "headers": headers, "content": content}


def _json(kind: Kind) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(kind)}}


def _reference(kind: Kind) -> dict[str, str]:
    return {"$ref": _NAMES.format(name=kind.__name__)}


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


@dataclass
class _WithStructs(Components):
    """Litestar puts its own schemas in when it has gone through the handlers; these stand beside them."""

    kinds: tuple[Kind, ...] = ()

    @property
    def _exclude_fields(self) -> set[str]:
        return {"kinds"}

    def to_schema(self) -> dict[str, Any]:
        _, schemas = msgspec.json.schema_components(self.kinds, ref_template=_NAMES)
        told = super().to_schema()
        ours = {f"v1.{name}": schema for name, schema in schemas.items()}
        return told | {"schemas": told.get("schemas", {}) | ours}


def components(handlers: Iterable[HTTPRouteHandler]) -> Components:
    """The structs that these handlers' operations refer to."""
    found = (
        kind
        for handler in handlers
        if issubclass(handler.operation_class, Described)
        for kind in handler.operation_class.kinds
    )
    return _WithStructs(kinds=tuple(dict.fromkeys(found)))
