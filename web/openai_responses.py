"""/v1/responses: OpenAI's newer way to ask, from the library or from the bare model.

Its hard rule: nothing is kept. A response cannot be fetched, gone on with by
its id or run in the background; whoever goes on sends the conversation along.
Each event of the stream and the whole object are made by `_Written`, so that
the two cannot differ.
"""

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.params import Body
from litestar.response import Stream

from library.errors import AlmanacError, InvalidRequest, ModelUnavailable
from llm.answer import told
from llm.events import AnswerEvent, AnswerKind, Done, Failed, Token, Usage
from web.api import STREAM_HEADERS, require_json, server_sent
from web.house import House
from web.leaving import unless_gone
from web.openai_library import LibraryText, failed_status
from web.openai_messages import Message, question
from web.openai_models import ModelKind, asked_model, shelf_of
from web.openai_parameters import ignored, parameters, refuse
from web.openai_response_parameters import REFUSED, ResponseParameters, engine_body, input_messages
from web.problems import openai_error


class _Thought(msgspec.Struct, frozen=True):
    """What the model says to itself before it answers."""

    text: str


_Event = AnswerEvent | _Thought


@post("/v1/responses", status_code=200)
async def responses(
    request: Request[Any, Any, State], state: State, data: Annotated[dict[str, Any], Body()]
) -> Response[Any]:
    """A response, streamed or whole."""
    require_json(request)
    house: House = state.house
    asked = parameters(data, ResponseParameters)
    refuse(data, REFUSED)
    messages = input_messages(asked)
    kind = asked_model(house, asked.model, ModelKind.LIBRARY, ModelKind.CHAT)
    headers = ignored(data, asked.honoured(library=kind is ModelKind.LIBRARY))
    written = _Written(asked, LibraryText(str(request.base_url).rstrip("/")), cited=kind is ModelKind.LIBRARY)
    if kind is ModelKind.LIBRARY:
        events = _library_events(house, asked, messages)
    else:
        events = _model_events(house, engine_body(asked, messages))
    if not asked.stream:
        return await unless_gone(request, _whole(house, events, written, headers))
    # The first event is awaited here: a request that is refused is an HTTP error.
    with house.precedence.foreground():
        first = await unless_gone(request, _first(events))
    if isinstance(first, Failed):
        return _failure(first)
    stream = _streamed(house, first, events, written)
    return Stream(stream, media_type="text/event-stream", headers=STREAM_HEADERS | headers)


# --- what is written -------------------------------------------------------------------------------


def _library_events(
    house: House, asked: ResponseParameters, messages: list[Message]
) -> AsyncGenerator[_Event, None]:
    put = question(
        messages,
        shelf=shelf_of(asked.model),
        max_tokens=asked.max_output_tokens,
        sampling={
            name: value
            for name, value in (("temperature", asked.temperature), ("top_p", asked.top_p))
            if value is not None
        },
        parameter="input",
    )
    return house.answerer.answer(put)


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Usage | None = None


async def _model_events(house: House, body: dict[str, Any]) -> AsyncGenerator[_Event, None]:
    """The bare model's words as events. What goes wrong before the first is raised."""
    engine = house.models.engine()
    decoder = msgspec.json.Decoder(_Chunk)
    finish_reason, usage, begun = "stop", Usage(), False
    try:
        async with aclosing(engine.stream(body)) as payloads:
            async for payload in payloads:
                chunk = decoder.decode(payload)
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    finish_reason = choice.finish_reason or finish_reason
                    if choice.delta.reasoning_content:
                        begun = True
                        yield _Thought(choice.delta.reasoning_content)
                    if choice.delta.content:
                        begun = True
                        yield Token(choice.delta.content)
    except InvalidRequest as error:
        where = "input" if error.parameter.startswith("messages") else error.parameter
        where = "text.format" if where == "response_format" else where
        raise InvalidRequest(where, error.problem) from error
    except AlmanacError as error:
        if not begun:
            raise
        yield Failed(error.code, told(error, house.models))
        return
    yield Done(AnswerKind.WRITTEN, engine.model_id, finish_reason, usage, ())


async def _first(events: AsyncGenerator[_Event, None]) -> _Event | None:
    return await anext(events, None)


async def _whole(
    house: House, events: AsyncGenerator[_Event, None], written: "_Written", headers: dict[str, str]
) -> Response[Any]:
    with house.precedence.foreground():
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Failed):
                    return _failure(event)
                for _ in written.add(event):
                    pass
                if isinstance(event, Done):
                    return Response(written.response(), headers=headers)
    raise ModelUnavailable("The answer ended without a word. Ask again.")


def _failure(failed: Failed) -> Response[Any]:
    status = failed_status(failed)
    return Response(openai_error(status, failed.message, failed.code, None), status_code=status)


async def _streamed(
    house: House, first: _Event | None, events: AsyncGenerator[_Event, None], written: "_Written"
) -> AsyncIterator[bytes]:
    number = 0

    def sent(told: Iterator[dict[str, Any]]) -> bytes:
        nonlocal number
        out = b""
        for event in told:
            out += server_sent(event["type"], event | {"sequence_number": number})
            number += 1
        return out

    with house.precedence.foreground():
        async with aclosing(events):
            yield sent(written.begin())
            if first is not None:
                yield sent(written.add(first))
            async for event in events:
                if out := sent(written.add(event)):
                    yield out


# --- the shapes ------------------------------------------------------------------------------------


class _Written:
    """A response while it is written: each event adds to it, and is told as OpenAI's events."""

    def __init__(self, asked: ResponseParameters, text: LibraryText, *, cited: bool) -> None:
        self._asked, self._text, self._cited = asked, text, cited
        self._id, self._created = f"resp_{uuid.uuid4().hex}", int(time.time())
        self._message_id, self._thought_id = f"msg_{uuid.uuid4().hex}", f"rs_{uuid.uuid4().hex}"
        self._thought = ""
        self._status = "in_progress"
        self._failed: Failed | None = None
        self._done: Done | None = None
        self._begun = False  # the message, which follows the thoughts

    def begin(self) -> Iterator[dict[str, Any]]:
        yield {"type": "response.created", "response": self.response()}
        yield {"type": "response.in_progress", "response": self.response()}

    def add(self, event: _Event) -> Iterator[dict[str, Any]]:
        if isinstance(event, _Thought):
            yield from self._think(event.text)
            return
        if isinstance(event, Failed):
            self._status, self._failed = "failed", event
            yield {"type": "response.failed", "response": self.response()}
            return
        before = len(self._text.marks)
        piece = self._text.add(event)
        if piece or isinstance(event, Done):
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
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "reasoning": {"effort": asked.reasoning and asked.reasoning.effort, "summary": None},
            "store": False,
            "temperature": asked.temperature,
            "text": {"format": msgspec.to_builtins(asked.format)},
            "tool_choice": "none",
            "tools": [],
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
        thought = [self._thought_item(done=self._begun)] if self._thought else []
        return thought + ([self._message()] if self._begun else [])

    def _message(self, *, empty: bool = False) -> dict[str, Any]:
        status = self._status if self._status in ("in_progress", "completed") else "incomplete"
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

    def _begin_message(self) -> Iterator[dict[str, Any]]:
        if self._begun:
            return
        at = 0
        if self._thought:
            about = {"item_id": self._thought_id, "output_index": 0, "content_index": 0}
            yield {"type": "response.reasoning_text.done", **about, "text": self._thought}
            item = self._thought_item(done=True)
            yield {"type": "response.output_item.done", "output_index": 0, "item": item}
            at = 1
        self._begun = True
        item = self._message(empty=True)
        yield {"type": "response.output_item.added", "output_index": at, "item": item}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._about("response.content_part.added", content_index=0, part=part)

    def _end(self, done: Done) -> Iterator[dict[str, Any]]:
        self._done = done
        self._status = "incomplete" if done.finish_reason == "length" else "completed"
        text = self._text.text
        yield self._about("response.output_text.done", content_index=0, text=text, logprobs=[])
        yield self._about("response.content_part.done", content_index=0, part=self._part())
        yield {
            "type": "response.output_item.done",
            "output_index": 1 if self._thought else 0,
            "item": self._message(),
        }
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
