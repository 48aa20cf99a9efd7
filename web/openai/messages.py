"""Messages of a chat: who says what, and shows what, checked before anybody answers.

Pure. A picture is looked into elsewhere (`web.openai.pictures`). Its hard rule:
an error names the very message and field. The engine's templates take a role of
"wizard" and a tool's answer that nobody asked for, and write something.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from library.errors import InvalidRequest
from llm.answering.answer import Question
from llm.serving.queue import Reader

Message = dict[str, Any]

_TEXTS = ("name", "reasoning_content")  # beside the content
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
# The types of a part that is text, and the field that has it.
CHAT_PARTS = {"text": "text", "refusal": "refusal"}
RESPONSE_PARTS = {"input_text": "text", "output_text": "text", "refusal": "refusal"}
CHAT_PICTURE, RESPONSE_PICTURE = "image_url", "input_image"
DETAILS = ("auto", "low", "high", "original")
_OTHER_PARTS = ("input_audio", "file", "input_file", CHAT_PICTURE, RESPONSE_PICTURE)


class Picture(msgspec.Struct, frozen=True):
    """As it was sent, and not looked into yet."""

    where: str  # of its part in the request
    named: str  # of its URL
    url: str
    detail: str = "auto"


def check_messages(messages: Sequence[Message]) -> list[Picture]:
    """The pictures that are shown in them, in their order. Raises InvalidRequest."""
    if not messages:
        raise InvalidRequest("messages", "must be a list of at least one message.")
    called: set[str] = set()
    pictures: list[Picture] = []
    for at, message in enumerate(messages):
        where, role = f"messages[{at}]", message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise InvalidRequest(f"{where}.role", f"must be one of {', '.join(sorted(ROLES))}.")
        for field in _TEXTS:
            if not isinstance(message.get(field), str | None):
                raise InvalidRequest(f"{where}.{field}", "must be a string.")
        calls = _calls(message, where) if role == "assistant" else set()
        called |= calls
        if role == "tool":
            answered = message.get("tool_call_id")
            if not isinstance(answered, str) or answered not in called:
                raise InvalidRequest(
                    f"{where}.tool_call_id", "must be the id of a tool call in an earlier message."
                )
        if message.get("content") is None and (calls or role == "function"):
            continue
        if role == "user":
            said = content_of(message.get("content"), f"{where}.content")
            pictures += [piece for piece in said if isinstance(piece, Picture)]
        else:
            text_of(message.get("content"), f"{where}.content")
    return pictures


def _calls(message: Message, where: str) -> set[str]:
    calls = message.get("tool_calls")
    if calls is None:
        return set()
    if not isinstance(calls, list) or not calls:
        raise InvalidRequest(f"{where}.tool_calls", "must be a list of at least one tool call.")
    for at, call in enumerate(calls):
        if not isinstance(call, dict) or not isinstance(call.get("id"), str):
            raise InvalidRequest(f"{where}.tool_calls[{at}].id", "must be a string.")
        function = call.get("function")
        if not isinstance(function, dict) or not all(
            isinstance(function.get(field), str) for field in ("name", "arguments")
        ):
            raise InvalidRequest(
                f"{where}.tool_calls[{at}].function", "must hold `name` and `arguments`, both strings."
            )
    return {call["id"] for call in calls}


def spoken(messages: Sequence[Message]) -> list[Message]:
    """Checked messages as the engine takes them: it knows no refusals, which are words like others, and no nulls.

    Clients send whole messages back, with a null for whatever was not there.
    """
    return [
        {name: value for name, value in message.items() if value is not None or name == "content"}
        | (
            {"content": shown(content_of(message["content"], ""))}
            if isinstance(message.get("content"), list)
            and any(part["type"] != "text" for part in message["content"])
            else {}
        )
        for message in messages
    ]


def shown(content: Sequence[str | Picture]) -> str | list[dict[str, Any]]:
    """What is said and shown in a message, as the engine takes it: text, where it is nothing else."""
    if not any(isinstance(piece, Picture) for piece in content):
        return "\n".join(str(piece) for piece in content)
    return [
        {"type": CHAT_PICTURE, "image_url": {"url": piece.url}}
        if isinstance(piece, Picture)
        else {"type": "text", "text": piece}
        for piece in content
    ]


def content_of(
    content: object,
    where: str,
    parts: Mapping[str, str] = CHAT_PARTS,
    picture: str = CHAT_PICTURE,
) -> list[str | Picture]:
    """What a user says and shows, in its order. Raises InvalidRequest."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list) or not content:
        raise InvalidRequest(where, "must be text, or a list of parts.")
    return [
        _picture(part, f"{where}[{at}]", picture)
        if isinstance(part, dict) and part.get("type") == picture
        else _text_of_part(part, f"{where}[{at}]", parts)
        for at, part in enumerate(content)
    ]


def _picture(part: dict[str, Any], where: str, kind: str) -> Picture:
    """A chat has the URL one level down, with its detail."""
    named, holder = f"{where}.image_url", part
    if kind == CHAT_PICTURE:
        holder, named = part.get("image_url") or {}, f"{named}.url"
    url = holder.get("url" if kind == CHAT_PICTURE else "image_url") if isinstance(holder, dict) else None
    if not isinstance(url, str):
        raise InvalidRequest(named, "must be a string: a data URL with the picture in it.")
    detail = holder.get("detail")
    detail = "auto" if detail is None else detail
    if detail not in DETAILS:
        raise InvalidRequest(f"{named.removesuffix('.url')}.detail", f"must be one of {', '.join(DETAILS)}.")
    return Picture(where, named, url, detail)


def text_of(content: object, where: str, parts: Mapping[str, str] = CHAT_PARTS) -> str:
    """The text of a message's content, its parts joined by line ends. Raises InvalidRequest."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise InvalidRequest(where, "must be text, or a list of text parts.")
    return "\n".join(_text_of_part(part, f"{where}[{at}]", parts) for at, part in enumerate(content))


def _text_of_part(part: object, where: str, parts: Mapping[str, str]) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in (CHAT_PICTURE, RESPONSE_PICTURE):
        raise InvalidRequest(
            where,
            f"shows a picture where none can be: the user shows it, as `{CHAT_PICTURE}` in a chat "
            f"and as `{RESPONSE_PICTURE}` in a response.",
        )
    if kind in _OTHER_PARTS:
        raise InvalidRequest(where, "is neither text nor a picture, and the models here take nothing else.")
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in parts:
        raise InvalidRequest(f"{where}.type", f"must be one of {', '.join(parts)}.")
    text = part.get(parts[kind])
    if not isinstance(text, str):
        raise InvalidRequest(f"{where}.{parts[kind]}", "must be a string.")
    return text


def question(
    messages: Sequence[Message],
    *,
    shelf: str | None,
    max_tokens: int | None,
    sampling: dict[str, object],
    reader: Reader,
    parameter: str = "messages",
) -> Question:
    """The last user message is the question; what came before is the conversation."""
    at = next((at for at in range(len(messages) - 1, -1, -1) if messages[at]["role"] == "user"), None)
    text = "" if at is None else text_of(messages[at]["content"], f"{parameter}[{at}].content")
    if at is None or not text.strip():
        raise InvalidRequest(parameter, "must hold a user message with text: the question to the library.")
    history = [
        {"role": message["role"], "content": text_of(message.get("content") or "", "")}
        for message in messages[:at]
        if message["role"] in ("user", "assistant")
    ]
    return Question(
        text=text,
        shelf=shelf,
        history=tuple(history),
        max_tokens=max_tokens,
        sampling=sampling,
        reader=reader,
    )
