"""Gathered: a streamed completion put together again, as the engine would have told it whole.

Why: the engine notices within a token that nobody reads a stream any more; that
nobody waits for a whole answer it notices within a second, and writes on until
then. Pure.
"""

from typing import Any

import msgspec

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Gathered:
    """Of one choice, chat or plain text."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._tail: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._logprobs: list[Any] | None = None
        self._finish_reason: str | None = None
        self._is_chat = False

    def add(self, payload: bytes) -> None:
        """The next chunk, as the engine wrote it."""
        chunk = _decode(payload)
        choices = chunk.pop("choices", None) or ()
        self._tail |= {name: chunk[name] for name in ("usage", "timings") if chunk.get(name)}
        self._head = self._head or chunk
        for choice in choices:
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            if told := choice.get("logprobs"):
                self._logprobs = (self._logprobs or []) + (told.get("content") or [])
            if "text" in choice:
                self._say("text", choice["text"])
            if (delta := choice.get("delta")) is not None:
                self._is_chat = True
                for name in ("reasoning_content", "content"):
                    self._say(name, delta.get(name))
                for call in delta.get("tool_calls") or ():
                    self._call(call)

    def whole(self) -> dict[str, Any]:
        """OpenAI's `chat.completion` or `text_completion`, with the engine's own fields."""
        texts = {name: "".join(pieces) for name, pieces in self._texts.items()}
        choice: dict[str, Any] = {"index": 0, "finish_reason": self._finish_reason}
        if self._is_chat:
            message: dict[str, Any] = {"role": "assistant", "content": texts.get("content", "")} | texts
            if self._calls:
                message["tool_calls"] = [call for _, call in sorted(self._calls.items())]
                message["content"] = message["content"] or None
            choice["message"] = message
        else:
            choice["text"] = texts.get("text", "")
        choice["logprobs"] = None if self._logprobs is None else {"content": self._logprobs}
        kind = "chat.completion" if self._is_chat else "text_completion"
        return self._head | {"object": kind, "choices": [choice]} | self._tail

    def _say(self, name: str, piece: str | None) -> None:
        if piece:
            self._texts.setdefault(name, []).append(piece)

    def _call(self, piece: dict[str, Any]) -> None:
        call = self._calls.setdefault(
            piece.get("index", 0), {"type": "function", "id": "", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = piece.get("id") or call["id"]
        function, more = call["function"], piece.get("function") or {}
        for name in ("name", "arguments"):
            function[name] += more.get(name) or ""
