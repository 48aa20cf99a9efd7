"""Parameters of a response: what they are, and the chat that they become. Pure."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from library.errors import InvalidRequest
from web.openai.messages import (
    RESPONSE_PARTS,
    RESPONSE_PICTURE,
    Message,
    Picture,
    content_of,
    shown,
    text_of,
)
from web.openai.parameters import AnyJson, PlainText, Temperature, reasoning_kwargs
from web.openai.response_calls import call_message, result_message

_ALONE = "cannot be: nothing is kept here. Send the whole conversation as `input`."
REFUSED = {
    "previous_response_id": _ALONE,
    "conversation": _ALONE,
    "prompt": "cannot be: there are no prompts on record here. Send the text as `instructions` and `input`.",
    "background": "must be false: nothing is kept here that could be fetched later.",
}
# What only honours a value that asks for nothing, or shapes the stream alone.
_TAKEN = ("model", "input", "instructions", "max_output_tokens", "stream", "temperature", "top_p")
_ROLES = ("user", "assistant", "system", "developer")


class JsonOf(msgspec.Struct, frozen=True, tag="json_schema", omit_defaults=True):
    """As in a chat's `response_format`, without the level between. Said back in the response, as it was asked for."""

    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class _TextOptions(msgspec.Struct, frozen=True):
    format: PlainText | AnyJson | JsonOf | None = None


class _Reasoning(msgspec.Struct, frozen=True):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None


class ResponseParameters(msgspec.Struct, frozen=True, kw_only=True):
    model: Annotated[str, Meta(min_length=1)]
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    temperature: Temperature | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stream: bool | None = None
    text: _TextOptions | None = None
    reasoning: _Reasoning | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None

    @property
    def format(self) -> PlainText | AnyJson | JsonOf:
        return (self.text and self.text.format) or PlainText()

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """What an answer in words must satisfy, where it is JSON."""
        match self.format:
            case AnyJson():
                return {"type": "object"}
            case JsonOf(schema=schema):
                return schema
        return None

    def honoured(self, *, library: bool) -> tuple[str, ...]:
        """Raises InvalidRequest for what would give something else than was asked for."""
        if not library:
            return (*_TAKEN, "text", "reasoning", "tools", "tool_choice", "parallel_tool_calls")
        if self.tool_choice not in (None, "none", "auto"):
            raise InvalidRequest("tool_choice", "must be `none` or `auto`: a library answer calls no tools.")
        if not isinstance(self.format, PlainText):
            raise InvalidRequest("text.format", "must be `text`: a library answer is prose with citations.")
        return (*(name for name in _TAKEN if name != "instructions"), "text", "tool_choice")


def input_messages(asked: ResponseParameters) -> tuple[list[Message], list[Picture]]:
    """The conversation as a chat's messages, and the pictures in it. Raises InvalidRequest."""
    pictures: list[Picture] = []
    messages = [{"role": "system", "content": asked.instructions}] if asked.instructions else []
    if isinstance(asked.input, str):
        messages.append({"role": "user", "content": asked.input})
    else:
        called: set[str] = set()
        for at, item in enumerate(asked.input):
            if item.get("type") == "reasoning":  # a model's thoughts are not said to it again
                continue
            message = _message(item, f"input[{at}]", called, pictures)
            if message.get("tool_calls") and messages and messages[-1].get("tool_calls"):
                messages[-1]["tool_calls"] += message["tool_calls"]  # called at once
            else:
                messages.append(message)
    if not any(str(message["content"] or "").strip() for message in messages):
        raise InvalidRequest("input", "must hold text.")
    return messages, pictures


def _message(item: dict[str, Any], where: str, called: set[str], pictures: list[Picture]) -> Message:
    kind, role = item.get("type", "message"), item.get("role")
    if kind == "item_reference":
        raise InvalidRequest(
            where, "refers to what was said before, and nothing is kept here. Send it along."
        )
    if kind == "function_call":
        message = call_message(item, where)
        called.add(item["call_id"])
        return message
    if kind == "function_call_output":
        return result_message(item, where, called)
    if kind != "message":
        raise InvalidRequest(f"{where}.type", "must be `message`, `function_call` or `function_call_output`.")
    if role not in _ROLES:
        raise InvalidRequest(f"{where}.role", f"must be one of {', '.join(_ROLES)}.")
    content, where = item.get("content"), f"{where}.content"
    if role != "user":
        return {"role": role, "content": text_of(content, where, RESPONSE_PARTS)}
    said = content_of(content, where, RESPONSE_PARTS, RESPONSE_PICTURE)
    pictures += [piece for piece in said if isinstance(piece, Picture)]
    return {"role": role, "content": shown(said)}


def engine_body(asked: ResponseParameters, messages: list[Message]) -> dict[str, Any]:
    """The same request as a streamed chat completion."""
    body: dict[str, Any] = {
        "messages": messages,
        "stream_options": {"include_usage": True},
        "max_tokens": asked.max_output_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
    }
    match asked.format:
        case AnyJson():
            body["response_format"] = {"type": "json_object"}
        case JsonOf(schema=schema, name=name):
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": name, "schema": schema},
            }
    if asked.reasoning and asked.reasoning.effort:
        body["chat_template_kwargs"] = reasoning_kwargs(asked.reasoning.effort)
    return {name: value for name, value in body.items() if value is not None}
