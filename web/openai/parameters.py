"""Parameters of /v1: what a request may ask for, with its bounds, as OpenAI documents them.

Pure. What a struct names is checked and honoured; what an endpoint does not
honour it refuses by name (`refuse`) or ignores and says so (`ignored`). Its
hard rule: a wrong value is never passed on in the hope that the engine minds,
for it takes a `stop` of 7 and a `temperature` of -1 without a word.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from library.errors import InvalidRequest
from web.openai.messages import CHAT_PARTS, CHAT_PICTURE, DETAILS, ROLES

IGNORED_HEADER = "almanac-ignored"
MOST_CHOICES = 8  # written one after the other
# Values that ask for nothing.
_LONGEST_GRAMMAR, _MOST_BRACKETS = 64 * 1024, 2_000
_NOTHING: tuple[object, ...] = (None, False, "", [], {}, "auto", "default", "disabled")

Asked = TypeVar("Asked")

_Stop = Annotated[str, Meta(min_length=1)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Bias = dict[Annotated[str, Meta(pattern=r"^[0-9]{1,9}$")], Annotated[float, Meta(ge=-100, le=100)]]
_Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Choices = Annotated[int, Meta(ge=1, le=MOST_CHOICES)]
# What is looked at by hand, as the OpenAPI document tells it.
_TOKENS = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
_ONE_TEXT = [{"type": "string", "minLength": 1}, _TOKENS]
TEXTS = Meta(
    extra_json_schema={
        "anyOf": [*_ONE_TEXT, {"type": "array", "items": {"anyOf": _ONE_TEXT}, "minItems": 1}],
        "description": "Text, token ids of the model's own, or several of either.",
    }
)
_PARTS = [
    {
        "type": "object",
        "properties": {"type": {"const": kind}, field: {"type": "string"}},
        "required": ["type", field],
    }
    for kind, field in CHAT_PARTS.items()
]
_PICTURE = {
    "type": "object",
    "properties": {
        "type": {"const": CHAT_PICTURE},
        "image_url": {
            "type": "object",
            "properties": {
                "url": {"type": "string", "description": "A data URL; for models that see."},
                "detail": {"enum": [*DETAILS, None]},
            },
            "required": ["url"],
        },
    },
    "required": ["type", "image_url"],
}


def _message(
    roles: Iterable[str], *required: str, silent: bool = False, shows: bool = False
) -> dict[str, Any]:
    """Who says something in a chat; `silent` where it may be nothing, `shows` where it may be pictures."""
    parts = [*_PARTS, *([_PICTURE] if shows else [])]
    pieces = [{"type": "string"}, {"type": "array", "items": {"anyOf": parts}, "minItems": 1}]
    content = {"anyOf": [*pieces, *([{"type": "null"}] if silent else [])]}
    named = {name: {"type": "string"} for name in required}
    return {
        "properties": {"role": {"enum": sorted(roles)}, "content": content} | named,
        "required": ["role", *([] if silent else ["content"]), *required],
    }


MESSAGE = Meta(
    extra_json_schema={
        "anyOf": [
            _message(ROLES - {"assistant", "function", "tool", "user"}),
            _message({"user"}, shows=True),
            _message({"assistant", "function"}, silent=True),
            _message({"tool"}, "tool_call_id"),
        ]
    }
)
Temperature = Annotated[float, Meta(ge=0, le=2)]


class JsonSchema(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class PlainText(msgspec.Struct, frozen=True, tag="text"):
    pass


class AnyJson(msgspec.Struct, frozen=True, tag="json_object"):
    pass


class JsonOf(msgspec.Struct, frozen=True, tag="json_schema"):
    json_schema: JsonSchema


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What every endpoint that writes takes."""

    model: Annotated[str, Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    top_p: _Share | None = None
    seed: _Seed | None = None
    stop: _Stop | list[_Stop] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    logit_bias: _Bias | None = None
    max_tokens: _Count | None = None
    n: _Choices | None = None

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatParameters(Sampling, frozen=True, kw_only=True):
    messages: list[Annotated[dict[str, Any], MESSAGE]]  # looked at more closely in web.openai.messages
    max_completion_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_format: PlainText | AnyJson | JsonOf | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None


class TextParameters(Sampling, frozen=True, kw_only=True):
    prompt: Annotated[Any, TEXTS]
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: int | None = None


def parameters(body: Mapping[str, Any], kind: type[Asked]) -> Asked:
    """The body as `kind`. Raises InvalidRequest with the parameter's path, such as `stop[1]`."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        # "Expected `float` <= 2.0 - at `$.temperature`", "... - at `key` in `$.logit_bias`"
        said, _, where = str(error).partition(" - at `")
        path = where.rpartition("$")[2].rstrip("`").lstrip(".").removesuffix("[...]")
        lacking = re.search(r"missing required field `(\w+)`", said)
        if lacking:
            path, said = ".".join(filter(None, (path, lacking[1]))), "it is missing"
        raise InvalidRequest(path or "request", f"is not valid: {said[:1].lower()}{said[1:]}.") from error


def refuse(body: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    """Raise InvalidRequest for the first of `refused` that is asked for, with its sentence."""
    for name, sentence in refused.items():
        if body.get(name) not in (None, False, []):
            raise InvalidRequest(name, sentence)


def ignored(body: Mapping[str, Any], honoured: Iterable[str]) -> dict[str, str]:
    """The header that names what was asked for and is not honoured; none when there is nothing to name."""
    known = set(honoured)
    names = sorted(name for name, value in body.items() if name not in known and value not in _NOTHING)
    # A header's value is one line of ASCII; a parameter's name is whatever was sent.
    told = [name for name in names if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name)]
    return {IGNORED_HEADER: ", ".join(told[:32])} if told else {}


def require_readable_grammar(body: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for a `grammar` that an engine might read until its stack is full.

    It dies of 40,000 brackets, and of five deaths in a row a model is given up.
    """
    grammar = body.get("grammar")
    if not isinstance(grammar, str):
        return
    if len(grammar) > _LONGEST_GRAMMAR:
        raise InvalidRequest("grammar", f"must have at most {_LONGEST_GRAMMAR} characters.")
    if grammar.count("(") > _MOST_BRACKETS:
        raise InvalidRequest("grammar", f"must have at most {_MOST_BRACKETS} opening brackets.")


def is_tokens(given: object) -> bool:
    """Whether a text is given as token ids."""
    return (
        isinstance(given, list)
        and bool(given)
        and all(isinstance(id_, int) and not isinstance(id_, bool) for id_ in given)
    )


def reasoning_kwargs(effort: str) -> dict[str, Any]:
    """What an effort is to a chat template: models that can reason more or less read it there."""
    return {"reasoning_effort": effort} | ({"enable_thinking": False} if effort == "none" else {})
