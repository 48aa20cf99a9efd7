"""Requests to the ctransformers worker: what may be asked of it, and what it refuses by name.

The same small wire as llama.cpp's server. Pure. Its hard rule: what the engine
cannot do is refused, never ignored, unless it was asked for in the one value
that asks for nothing. Refusals name their field as `llm.engines.engine` reads it.
"""

import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

Asked = TypeVar("Asked", bound=msgspec.Struct)

_Stop = Annotated[str, Meta(max_length=1_000)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=0, lt=2**31)]
MOST_STOPS = 64


class Refusal(Exception):
    """An answer other than 200, in the engine's envelope."""

    def __init__(self, status: int, message: str, type_: str = "invalid_request_error", **more: int) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": status, "message": message, "type": type_, **more}}


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool = False


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens are chosen, and when to stop. Defaults are llama.cpp's."""

    temperature: Annotated[float, Meta(ge=0, le=100)] = 0.8
    top_p: _Share = 0.95
    top_k: _Count = 40  # 0: all
    repeat_penalty: Annotated[float, Meta(gt=0, le=100)] = 1.0
    repeat_last_n: Annotated[int, Meta(ge=0, le=4096)] = 64
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] = -1  # -1: another each time
    max_tokens: Annotated[int, Meta(ge=-1, lt=2**31)] = -1  # -1: as many as fit
    max_completion_tokens: Annotated[int, Meta(ge=-1, lt=2**31)] = -1
    stop: _Stop | Annotated[list[_Stop], Meta(max_length=MOST_STOPS)] = ()  # type: ignore[assignment]
    ignore_eos: bool = False
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    model: Any = None  # there is one
    cache_prompt: bool = True  # it always is

    @property
    def stops(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.stop,) if isinstance(self.stop, str) else self.stop))

    @property
    def most_tokens(self) -> int | None:
        given = [most for most in (self.max_tokens, self.max_completion_tokens) if most >= 0]
        return min(given) if given else None


class ChatRequest(Sampling, frozen=True, kw_only=True, forbid_unknown_fields=True):
    messages: list[dict[str, Any]]
    chat_template_kwargs: dict[str, Any] = {}


class TextRequest(Sampling, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prompt: str | list[_Count]


class CountRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    messages: list[dict[str, Any]]
    model: Any = None
    chat_template_kwargs: dict[str, Any] = {}


# What the engine cannot do, the values that ask for nothing, and why not.
_CANNOT: dict[str, tuple[tuple[Any, ...], str]] = {
    "n": ((1,), "it writes one answer at a time"),
    "best_of": ((1,), "it writes one answer at a time"),
    "logprobs": ((False,), "it tells no probabilities"),
    "top_logprobs": ((0,), "it tells no probabilities"),
    "logit_bias": (({},), "it takes no biases"),
    "presence_penalty": ((0,), "it knows no other penalty than repeat_penalty"),
    "frequency_penalty": ((0,), "it knows no other penalty than repeat_penalty"),
    "response_format": (({"type": "text"},), "it cannot be held to a schema"),
    "json_schema": (({},), "it cannot be held to a schema"),
    "grammar": (("",), "it cannot be held to a grammar"),
    "tools": (([],), "it calls no tools"),
    "tool_choice": (("none", "auto"), "it calls no tools"),
    "parallel_tool_calls": ((True, False), "it calls no tools"),
    "modalities": ((["text"],), "it writes text only"),
}


def asked(body: bytes, kind: type[Asked]) -> Asked:
    """The body as a request of that kind. Raises Refusal, with the field's name."""
    try:
        given = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: no UTF-8 within a text
        raise Refusal(400, f"The body is no JSON object: {error}") from error
    given = {name: value for name, value in given.items() if value is not None}
    for name in given.keys() & _CANNOT.keys():
        neutral, why = _CANNOT[name]
        if given.pop(name) not in neutral:
            raise Refusal(400, f"Field '{name}': ctransformers cannot, {why}")
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise Refusal(400, _named(str(error))) from error


def conversation(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with their parts of text put together. Raises Refusal for what is none."""
    if not messages:
        raise Refusal(400, "Field 'messages': is empty")
    return [message | {"role": _role(message), "content": _content(message)} for message in messages]


def _role(message: dict[str, Any]) -> str:
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise Refusal(400, "Field 'messages': each needs a role")
    return "system" if role == "developer" else role


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [None]
    texts = [
        part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts
    ]
    if not all(isinstance(text, str) for text in texts):
        raise Refusal(400, "Field 'messages': ctransformers reads text only")
    return "\n".join(text for text in texts if text)


def _named(said: str) -> str:
    """A sentence of msgspec's with the field first: "Expected `float`, got `str` - at `$.temperature`"."""
    what, _, where = said.partition(" - at `$.")
    field = re.match(r"\w+", where) or re.search(r"field `(\w+)`", what)
    if "unknown field" in what and field:
        return f"Field '{field[1] if field.re.groups else field[0]}': ctransformers does not know it"
    if field is None:
        return what
    return f"Field '{field[1] if field.re.groups else field[0]}': {what[:1].lower()}{what[1:]}"
