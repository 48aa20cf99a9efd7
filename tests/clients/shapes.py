"""Shapes: every answer and every event that a client was sent, held against OpenAI's description.

Which shape an answer has is told by what was asked. Deliberate extensions are
listed in tests/web/openai_spec.py, and nowhere else.
"""

import base64
import json
import struct
from collections.abc import Iterable
from typing import Any

from tests.clients.exchanges import Exchange
from tests.web.openai_spec import assert_valid, assert_valid_event

# Of a path: the shape of a whole answer, and of an event of a streamed one.
_SHAPES = {
    "/v1/chat/completions": ("CreateChatCompletionResponse", "CreateChatCompletionStreamResponse"),
    "/v1/completions": ("CreateCompletionResponse", "CreateCompletionResponse"),
    "/v1/embeddings": ("CreateEmbeddingResponse", ""),
    "/v1/responses": ("Response", ""),  # whose events each have a shape of their own
    "/v1/models": ("ListModelsResponse", ""),
}


def assert_shapes(found: Iterable[Exchange]) -> None:
    """Fails at the first answer that is not as described. Skips where the description is absent."""
    for exchange in found:
        try:
            _assert_shape(exchange)
        except AssertionError as wrong:
            wrong.add_note(f"{exchange.method} {exchange.path} {exchange.asked!r:.500}")
            raise


def _assert_shape(exchange: Exchange) -> None:
    model = exchange.path.removeprefix("/v1/models/") if exchange.path.startswith("/v1/models/") else None
    whole, of_event = ("Model", "") if model else _SHAPES[exchange.path]
    if exchange.status != 200:
        assert_valid("ErrorResponse", json.loads(exchange.answered))
    elif exchange.streamed:
        _assert_stream(exchange, of_event)
    elif exchange.whole:
        assert_valid(whole, _with_numbers(json.loads(exchange.answered)))


def _assert_stream(exchange: Exchange, of_event: str) -> None:
    events = exchange.events
    if of_event and exchange.whole:
        assert events.pop() == "[DONE]"
    for event in map(json.loads, events):
        if "error" in event and "choices" not in event and "type" not in event:
            assert_valid("ErrorResponse", event)
        elif of_event:
            assert_valid(of_event, event)
        else:
            assert_valid_event(event)


def _with_numbers(body: Any) -> Any:
    """Vectors in base64, which OpenAI sends and does not describe, as the numbers that they are."""
    if body.get("object") != "list":
        return body
    for entry in body["data"]:
        if isinstance(entry.get("embedding"), str):
            raw = base64.b64decode(entry["embedding"], validate=True)
            entry["embedding"] = list(struct.unpack(f"<{len(raw) // 4}f", raw))
    return body
