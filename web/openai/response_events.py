"""A response while it is written: each event of ours adds to it, and is told as OpenAI's.

Pure. Its hard rule: the events and the whole object are made here from the same
parts, so that a stream and a whole answer cannot differ.
"""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec

from llm.events import AnswerEvent, Done, Failed, Usage
from llm.tools.offer import Called, Thought
from web.openai.library import LibraryText
from web.openai.response_calls import CallItems, told_choice, told_tool
from web.openai.response_parameters import ResponseParameters
from web.problems import failed_status

WrittenEvent = AnswerEvent | Thought | Called


class ResponseWritten:
    def __init__(self, asked: ResponseParameters, text: LibraryText, *, cited: bool) -> None:
        self._asked, self._text, self._cited = asked, text, cited
        self._id, self._created = f"resp_{uuid.uuid4().hex}", int(time.time())
        self._message_id, self._thought_id = f"msg_{uuid.uuid4().hex}", f"rs_{uuid.uuid4().hex}"
        self._thought = ""
        self._status = "in_progress"
        self._failed: Failed | None = None
        self._done: Done | None = None
        self._begun = self._ended = False  # the message, which follows the thoughts
        self._calls = CallItems()  # last

    def begin(self) -> Iterator[dict[str, Any]]:
        yield {"type": "response.created", "response": self.response()}
        yield {"type": "response.in_progress", "response": self.response()}

    def add(self, event: WrittenEvent) -> Iterator[dict[str, Any]]:
        if isinstance(event, Thought):
            yield from self._think(event.text)
            return
        if isinstance(event, Called):
            yield from self._end_thought()
            yield from self._end_message("completed")
            yield from self._calls.add(event.calls, first_index=len(self._output()))
            return
        if isinstance(event, Failed):
            self._status, self._failed = "failed", event
            yield {"type": "response.failed", "response": self.response()}
            return
        before = len(self._text.marks)
        piece = self._text.add(event)
        if piece or (isinstance(event, Done) and not self._calls.items):
            yield from self._begin_message()
        if piece:
            yield self._about("response.output_text.delta", content_index=0, delta=piece, logprobs=[])
        for at in range(before, len(self._text.marks)):
            yield self._about(
                "response.output_text.annotation.added",
                content_index=0,
                annotation_index=at,
                annotation=self._annotations[at],
            )
        if isinstance(event, Done):
            yield from self._end(event)

    def response(self) -> dict[str, Any]:
        """The whole, as far as it is written."""
        asked, done, failed = self._asked, self._done, self._failed
        cut = self._status == "incomplete"
        error = None
        if failed is not None:
            code = "invalid_prompt" if failed_status(failed) == 400 else "server_error"
            error = {"code": code, "message": failed.message}
        shape: dict[str, Any] = {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if self._status == "completed" else None,
            "status": self._status,
            "background": False,
            "error": error,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": {},
            "model": asked.model,
            "output": self._output(),
            "parallel_tool_calls": bool(asked.tools) and asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": asked.reasoning and asked.reasoning.effort, "summary": None},
            "store": False,
            "temperature": asked.temperature,
            "text": {"format": msgspec.to_builtins(asked.format)},
            "tool_choice": told_choice(asked.tool_choice) if asked.tools else "none",
            "tools": [told_tool(tool) for tool in asked.tools or ()],
            "top_p": asked.top_p,
            "truncation": "disabled",
        }
        if done is not None:
            shape["usage"] = _usage(done.usage)
            if self._cited:
                shape["almanac"] = self._text.extension(done)
        return shape

    @property
    def _annotations(self) -> list[dict[str, Any]]:
        marks = zip(self._text.marks, self._text.sources, strict=True)
        return [{"type": "url_citation"} | source | mark for mark, source in marks]

    def _output(self) -> list[dict[str, Any]]:
        thought = [self._thought_item(done=self._thought_done)] if self._thought else []
        return thought + ([self._message()] if self._begun else []) + self._calls.items

    @property
    def _thought_done(self) -> bool:
        return self._begun or bool(self._calls.items) or self._status != "in_progress"

    def _message(self, *, empty: bool = False) -> dict[str, Any]:
        status = self._status if self._status in ("in_progress", "completed") else "incomplete"
        status = "completed" if self._ended else status
        content = [] if empty else [self._part()]
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _part(self) -> dict[str, Any]:
        return {
            "type": "output_text",
            "text": self._text.text,
            "annotations": self._annotations,
            "logprobs": [],
        }

    def _thought_item(self, *, done: bool) -> dict[str, Any]:
        content = [{"type": "reasoning_text", "text": self._thought}] if self._thought else []
        status = "completed" if done else "in_progress"
        return {
            "id": self._thought_id,
            "type": "reasoning",
            "summary": [],
            "content": content,
            "status": status,
        }

    def _about(self, kind: str, **more: Any) -> dict[str, Any]:
        """An event about the message."""
        return {
            "type": kind,
            "item_id": self._message_id,
            "output_index": 1 if self._thought else 0,
            **more,
        }

    def _think(self, piece: str) -> Iterator[dict[str, Any]]:
        about = {"item_id": self._thought_id, "output_index": 0, "content_index": 0}
        if not self._thought:
            item = self._thought_item(done=False)
            yield {"type": "response.output_item.added", "output_index": 0, "item": item}
        self._thought += piece
        yield {"type": "response.reasoning_text.delta", **about, "delta": piece}

    def _end_thought(self) -> Iterator[dict[str, Any]]:
        if self._thought and not self._begun:
            about = {"item_id": self._thought_id, "output_index": 0, "content_index": 0}
            yield {"type": "response.reasoning_text.done", **about, "text": self._thought}
            item = self._thought_item(done=True)
            yield {"type": "response.output_item.done", "output_index": 0, "item": item}

    def _begin_message(self) -> Iterator[dict[str, Any]]:
        if self._begun:
            return
        yield from self._end_thought()
        self._begun = True
        item = self._message(empty=True)
        at = 1 if self._thought else 0
        yield {"type": "response.output_item.added", "output_index": at, "item": item}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._about("response.content_part.added", content_index=0, part=part)

    def _end_message(self, status: str) -> Iterator[dict[str, Any]]:
        if not self._begun or self._ended:
            return
        self._ended = status == "completed"
        text = self._text.text
        yield self._about("response.output_text.done", content_index=0, text=text, logprobs=[])
        yield self._about("response.content_part.done", content_index=0, part=self._part())
        at = 1 if self._thought else 0
        yield {"type": "response.output_item.done", "output_index": at, "item": self._message()}

    def _end(self, done: Done) -> Iterator[dict[str, Any]]:
        self._done = done
        self._status = "incomplete" if done.finish_reason == "length" else "completed"
        yield from self._end_message(self._status)
        yield {"type": f"response.{self._status}", "response": self.response()}


def _usage(usage: Usage) -> dict[str, Any]:
    # Tokens of reasoning are not told apart by the engine.
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.prompt_tokens_details.cached_tokens,
            "cache_write_tokens": 0,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }
