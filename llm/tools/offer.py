"""Tools: functions that a client offers a model, and what a model makes of them.

Pure values; knows neither HTTP nor an engine. Its hard rule: a ToolCall is only
ever made of arguments that satisfy the tool's schema.
"""

import enum
import re
import uuid
from typing import Any

import msgspec

from llm.events import Usage
from llm.tools.schemas import Schema

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# A function without parameters takes none; one whose schema says nothing takes what comes.
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


class Tool(msgspec.Struct, frozen=True):
    name: str
    description: str
    parameters: Schema

    def shape(self) -> dict[str, Any]:
        """As a chat's request describes it."""
        described = {"description": self.description} if self.description else {}
        function = {"name": self.name, **described, "parameters": self.parameters.schema}
        return {"type": "function", "function": function}


class Demand(enum.Enum):
    AUTO = "auto"  # a call or words, as the model likes
    REQUIRED = "required"  # at least one call


class Offer(msgspec.Struct, frozen=True):
    """The tools that a model may call, or must."""

    tools: tuple[Tool, ...]
    demand: Demand = Demand.AUTO
    parallel: bool | None = None  # several calls at once: may not be (False), are asked for (True)

    @property
    def several(self) -> bool:
        """Whether a model that is held to a grammar is let go on after a call: small ones do not end by themselves."""
        return self.parallel is True

    def named(self, name: str) -> Tool | None:
        return next((tool for tool in self.tools if tool.name == name), None)


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    name: str
    arguments: str  # JSON

    def shape(self) -> dict[str, Any]:
        """As it stands in a chat's message."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


class Writing(msgspec.Struct, frozen=True):
    """The engine has taken the request and writes; of a call nothing is told before it is whole."""


class Said(msgspec.Struct, frozen=True):
    """Words of the answer."""

    text: str


class Thought(msgspec.Struct, frozen=True, tag="thought"):
    """What the model says to itself before it answers."""

    text: str


class Called(msgspec.Struct, frozen=True, tag="called"):
    calls: tuple[ToolCall, ...]


class Ended(msgspec.Struct, frozen=True):
    """Last. `finish_reason` is OpenAI's: "stop", "length" or "tool_calls"."""

    finish_reason: str
    usage: Usage


ToolEvent = Writing | Said | Thought | Called | Ended


class CallFault(ValueError):
    """What the model wrote is no call that can be made; str() says why."""


def added(first: Usage, second: Usage) -> Usage:
    """Of several requests made for one: what was written is added up, the prompt is the first's."""
    prompt = first if first.prompt_tokens else second
    return Usage(
        prompt_tokens=prompt.prompt_tokens,
        completion_tokens=first.completion_tokens + second.completion_tokens,
        prompt_tokens_details=prompt.prompt_tokens_details,
    )


def called(offer: Offer, wanted: list[tuple[object, object]]) -> tuple[ToolCall, ...]:
    """Calls of names with arguments (values, or their JSON), the same one once. Raises CallFault."""
    calls: dict[tuple[str, str], ToolCall] = {}
    for name, given in wanted[: 1 if offer.parallel is False else None]:
        tool = offer.named(name) if isinstance(name, str) else None
        if tool is None:
            raise CallFault("there is no function of that name")
        arguments = given
        if isinstance(given, str):
            try:
                arguments = msgspec.json.decode(given or "{}")
            except (msgspec.MsgspecError, RecursionError) as error:
                raise CallFault(f"the arguments of {tool.name} are not JSON") from error
        if not isinstance(arguments, dict):
            raise CallFault(f"the arguments of {tool.name} are no object")
        fault = tool.parameters.fault(arguments)
        if fault is not None:
            raise CallFault(f"the arguments of {tool.name} are not valid: {fault}")
        written = msgspec.json.encode(arguments).decode()
        calls.setdefault((tool.name, written), ToolCall(f"call_{uuid.uuid4().hex[:24]}", tool.name, written))
    if not calls:
        raise CallFault("no function was called")
    return tuple(calls.values())
