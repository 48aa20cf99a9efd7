"""Function calls in a response: as items of its output and events of its stream, and as items of an input.

Pure. Its hard rule: an item that is announced is finished with the same
arguments, for a call is whole before anything of it is told.
"""

import uuid
from collections.abc import Iterator
from typing import Any

from library.errors import InvalidRequest
from llm.answering.library_tools import TOOLS
from llm.tools.offer import ToolCall
from web.openai.messages import RESPONSE_PARTS, Message, text_of

_PIECE = 48  # characters of arguments in one event


class CallItems:
    """The calls of one response, in order."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []

    def add(self, calls: tuple[ToolCall, ...], *, first_index: int) -> Iterator[dict[str, Any]]:
        """The events that tell of them; the first call's item is the `first_index`th of the output."""
        for at, call in enumerate(calls, start=first_index):
            item = {
                "id": f"fc_{uuid.uuid4().hex}",
                "type": "function_call",
                "status": "completed",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
            }
            about = {"item_id": item["id"], "output_index": at}
            begun = item | {"status": "in_progress", "arguments": ""}
            yield {"type": "response.output_item.added", "output_index": at, "item": begun}
            for start in range(0, len(call.arguments), _PIECE):
                delta = call.arguments[start : start + _PIECE]
                yield {"type": "response.function_call_arguments.delta", **about, "delta": delta}
            told = {"name": call.name, "arguments": call.arguments}
            yield {"type": "response.function_call_arguments.done", **about, **told}
            self.items.append(item)
            yield {"type": "response.output_item.done", "output_index": at, "item": item}


def call_message(item: dict[str, Any], where: str) -> Message:
    """An earlier call, as a chat's message. Raises InvalidRequest."""
    for field in ("call_id", "name", "arguments"):
        if not isinstance(item.get(field), str) or not (item[field] or field == "arguments"):
            raise InvalidRequest(f"{where}.{field}", "must be a string.")
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def result_message(item: dict[str, Any], where: str, called: set[str]) -> Message:
    """What a call gave, as a chat's message. `called` are the ids of earlier calls. Raises InvalidRequest."""
    id_, output = item.get("call_id"), item.get("output")
    if not isinstance(id_, str) or id_ not in called:
        raise InvalidRequest(f"{where}.call_id", "must be the `call_id` of an earlier `function_call`.")
    return {
        "role": "tool",
        "tool_call_id": id_,
        "content": text_of(output, f"{where}.output", RESPONSE_PARTS),
    }


def told_tool(given: dict[str, Any]) -> dict[str, Any]:
    """A tool of a request, as its response has it: the library's own as the functions that they are."""
    own = TOOLS.get(str(given.get("type")))
    if own is not None:
        given = {"type": "function"} | own.shape()["function"]
    return {"parameters": None, "strict": None} | given


def told_choice(given: str | dict[str, Any] | None) -> str | dict[str, Any]:
    if isinstance(given, dict) and given.get("type") in TOOLS:
        return {"type": "function", "name": given["type"]}
    return given or "auto"
