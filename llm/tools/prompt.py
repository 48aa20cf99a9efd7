"""Tools in plain words: for models whose chat template knows nothing of them.

Pure. The tools are listed in the system message, results of earlier calls are
told as the user's, and the reply is JSON that a grammar holds the model to:
`{"answer": …}` or `{"calls": […]}`. Its hard rule: what a tool gave back is
told as its result, and never becomes a message of the system.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from llm.tools.narrowing import narrowed
from llm.tools.offer import Demand, Offer

Message = dict[str, Any]
Part = dict[str, Any]

ANSWER, CALLS = "answer", "calls"
_MOST_CALLS = 8

_OFFERED = """You can call these functions:
{listed}

Reply with JSON only. {rule}"""
_CALL = '{"calls": [{"name": "the function", "arguments": {…}}]}'
_RULES = {
    Demand.AUTO: f'To answer in words, write {{"answer": "your words"}}. '
    f"If a function is needed, write {_CALL}.",
    Demand.REQUIRED: f"Call what the user needs: write {_CALL}.",
}


def offering(messages: Sequence[Message], offer: Offer) -> list[Message]:
    """The conversation, told plainly, with the tools in its system message."""
    listed = "\n".join(
        msgspec.json.encode(
            {"name": tool.name}
            | ({"description": tool.description} if tool.description else {})
            | {"parameters": tool.parameters.schema}
        ).decode()
        for tool in offer.tools
    )
    text = _OFFERED.format(listed=listed, rule=_RULES[offer.demand])
    told = plainly(messages)
    if told and told[0]["role"] in ("system", "developer"):
        first, told = told[0], told[1:]
        text = f"{_text(first)}\n\n{text}"
    return [{"role": "system", "content": text}, *told]


def plainly(messages: Sequence[Message]) -> list[Message]:
    """The conversation without calls: what they gave is told by the user, right after what was asked.

    The calls themselves are not: a small model that reads them writes them again
    in place of an answer. Messages of the user in a row become one, for many
    templates want the two to take turns. What they show stays where it was shown.
    """
    told: list[Message] = []
    calls: dict[str, str] = {}
    for message in messages:
        role, text = message.get("role"), _text(message)
        if role == "assistant" and message.get("tool_calls"):
            for call in message["tool_calls"]:
                calls[call["id"]] = f"{call['function']['name']}({call['function']['arguments']})"
            if text:
                told.append({"role": "assistant", "content": text})
            continue
        if role in ("tool", "function"):
            name = str(message.get("name") or "the function")
            text = f"Result of {calls.get(str(message.get('tool_call_id')), name)}:\n{text}"
            role = "user"
        if role == "user":
            shows = message.get("role") == "user" and _shows(message)
            content: str | list[Part] = message["content"] if shows else text
            if told and told[-1]["role"] == "user":
                content = _joined(told.pop()["content"], content)
            told.append({"role": "user", "content": content})
        else:
            told.append(dict(message))
    return told


def _shows(message: Message) -> bool:
    """Whether there are pictures in it."""
    content = message.get("content")
    return isinstance(content, list) and any(part.get("type") == "image_url" for part in content)


def _joined(first: str | list[Part], second: str | list[Part]) -> str | list[Part]:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: str | list[Part]) -> list[Part]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def speaks_of_calls(messages: Sequence[Message]) -> bool:
    return any(message.get("tool_calls") or message.get("role") == "tool" for message in messages)


def reply_schema(
    offer: Offer, *, tight: bool = False, answer: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a reply may be. `answer` is the schema of an answer in words; by default it is a text.

    Raises SchemaRefused where it becomes too large.
    """
    definitions: dict[str, Any] = {}
    calls = []
    for at, tool in enumerate(offer.tools):
        arguments, more = narrowed(tool.parameters.schema, f"f{at}", tight=tight)
        definitions |= more
        calls.append(_closed(name={"const": tool.name}, arguments=arguments))
    items = calls[0] if len(calls) == 1 else {"anyOf": calls}
    most = _MOST_CALLS if offer.several and not tight else 1
    reply = _closed(**{CALLS: {"type": "array", "items": items, "minItems": 1, "maxItems": most}})
    if offer.demand is Demand.AUTO:
        words: dict[str, Any] = {"type": "string"}
        if answer is not None:
            words, more = narrowed(answer, "answer", tight=tight)
            definitions |= more
        reply = {"anyOf": [_closed(**{ANSWER: words}), reply]}
    return reply | ({"$defs": definitions} if definitions else {})


class AnswerText:
    """The words of `{"answer": "…"}` while they are written."""

    _BEGINS = re.compile(rf'\s*\{{\s*"{ANSWER}"\s*:\s*"')
    # Whole characters and escapes; of a pair of surrogates, both.
    _WHOLE = re.compile(
        r'(?:[^"\\]|\\["\\/bfnrt]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}'
        r"|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4})+"
    )

    def __init__(self) -> None:
        self._raw = ""
        self._at: int | None = None

    def fed(self, piece: str) -> str:
        """What `piece` adds to the answer."""
        self._raw += piece
        if self._at is None:
            begun = self._BEGINS.match(self._raw)
            if begun is None:
                return ""
            self._at = begun.end()
        whole = self._WHOLE.match(self._raw, self._at)
        if whole is None:
            return ""
        self._at = whole.end()
        try:
            return msgspec.json.decode(f'"{whole.group()}"', type=str)
        except msgspec.MsgspecError:
            return ""


def _closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _text(message: Message) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text") or part.get("refusal") or "") for part in content)
