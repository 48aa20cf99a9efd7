"""The OpenAI API: what lets any client that speaks it use the library or the bare model.

`almanac` answers from the whole library, `almanac:{shelf}` from one shelf; the
chat model's own id is the model alone. Library answers carry their citations as
[n] in the text and as `annotations`; an extension field `almanac` holds the
verdict, the sources and the notices. Knows no engine: requests for the bare
model are handed through as they are.
"""

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.params import Body, FromPath
from litestar.response import Stream

from library.errors import AlmanacError, InvalidRequest, ModelNotFound, ModelUnavailable
from llm.answer import BACK_WITHIN_S, Question, told
from llm.events import AnswerEvent, Citation, Done, Failed, PassagesFound, Token, Waiting
from search.values import Passage
from web.api import STREAM_HEADERS, require_json, server_sent, usage_shape
from web.house import House
from web.leaving import unless_gone
from web.problems import failed_problem, failed_status, openai_error, status_of
from web.shapes import passage_href, source_shape
from web.waiting import begun, comment, reader_of

LIBRARIAN = "almanac"
_SHELF_PREFIX = "almanac:"
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
# What a library answer takes over from the request; the rest of the body is
# about the bare model's output and has no meaning for a cited answer.
_SAMPLING = ("temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty")
_DONE = b"data: [DONE]\n\n"


@get("/v1/models", sync_to_thread=True)
def models(state: State) -> dict[str, Any]:
    """The library as a model, each shelf as a model, and the chat model itself."""
    house: House = state.house
    return {"object": "list", "data": [_model_shape(house, id_) for id_ in _model_ids(house)]}


@get("/v1/models/{model_id:path}", sync_to_thread=True)
def model(state: State, model_id: FromPath[str]) -> dict[str, Any]:
    """One model. 404 when there is none of that id."""
    house: House = state.house
    wanted, known = model_id.lstrip("/"), _model_ids(house)
    if wanted not in known:
        raise ModelNotFound(wanted, known)
    return _model_shape(house, wanted)


@post("/v1/chat/completions", status_code=200)
async def chat_completions(
    request: Request[Any, Any, State], state: State, data: Annotated[dict[str, Any], Body()]
) -> Response[Any]:
    """A chat completion, streamed or whole."""
    require_json(request)
    house: House = state.house
    messages = _messages(data)
    wanted = data.get("model")
    if not isinstance(wanted, str) or not wanted:
        raise InvalidRequest("model", f"must be a string; see /v1/models. For the library: {LIBRARIAN!r}.")
    streaming = data.get("stream", False)
    if not isinstance(streaming, bool):
        raise InvalidRequest("stream", "must be true or false.")
    if wanted == house.models.model_id:
        return await _bare_model(request, house, data, streaming=streaming)
    known = _model_ids(house)
    if wanted not in known:
        raise ModelNotFound(wanted, known)
    shelf = wanted.removeprefix(_SHELF_PREFIX) if ":" in wanted else None
    question = _question(data, messages, shelf, reader_of(request))
    answer = _Completion(wanted, str(request.base_url).rstrip("/"))
    if streaming:
        options = data.get("stream_options")
        if options is not None and not isinstance(options, dict):
            raise InvalidRequest("stream_options", "must be an object.")
        include_usage = bool(options and options.get("include_usage"))
        first, events = await begun(request, house.answerer.answer(question))
        if isinstance(first, Failed) and first.retry_after_s:
            return failed_problem(request, first)
        stream = _streamed_answer(events, answer, include_usage=include_usage)
        return Stream(stream, media_type="text/event-stream", headers=STREAM_HEADERS)
    return await unless_gone(request, _whole_answer(request, house, question, answer))


# --- the bare model ------------------------------------------------------------------------------


async def _bare_model(
    request: Request[Any, Any, State], house: House, body: dict[str, Any], *, streaming: bool
) -> Response[Any]:
    house.models.engine()  # nobody waits for a model that is not there
    if not streaming:
        completion = await unless_gone(request, _handed_through(house, body, reader_of(request)))
        return Response(completion)
    # The first bytes are awaited here, so that a request refused at once is an
    # HTTP error and not a stream that begins with one.
    _, stream = await begun(request, _passed_on(house, body, reader_of(request)))
    return Stream(stream, media_type="text/event-stream", headers=STREAM_HEADERS)


async def _handed_through(house: House, body: dict[str, Any], reader: str) -> dict[str, Any]:
    with house.precedence.foreground():
        async with house.turns.turn(reader):
            engine = await house.models.engine_back(BACK_WITHIN_S)
            return {**await engine.chat(body), "model": engine.model_id}


async def _passed_on(house: House, body: dict[str, Any], reader: str) -> AsyncGenerator[bytes, None]:
    """The engine's stream as it comes, in its turn. What fails before the first bytes is raised, later told."""
    said = False
    try:
        with house.precedence.foreground(), house.turns.place(reader) as place:
            async for position in place.positions():
                said = True
                yield comment(position)
            engine = await house.models.engine_back(BACK_WITHIN_S)
            async with aclosing(engine.batches(body)) as batches:
                async for batch in batches:
                    said = True
                    yield _events(batch)
    except AlmanacError as error:
        if not said:
            raise
        status = 503 if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR else status_of(error)
        yield server_sent(None, openai_error(status, told(error, house.models), error.code, None))
        return
    yield _DONE


def _events(batch: list[bytes]) -> bytes:
    """Chunks that arrived together leave together: one write, one wake-up of the client."""
    return b"".join(b"data: " + payload + b"\n\n" for payload in batch)


# --- the library as a model ----------------------------------------------------------------------


class _Completion:
    """Puts an answer's events together into OpenAI's shapes."""

    def __init__(self, model: str, base_url: str) -> None:
        self.id, self.created, self.model = f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), model
        self._base_url = base_url
        self.text = ""
        self.passages: Sequence[Passage] = ()
        self.annotations: list[dict[str, Any]] = []

    def cite(self, n: int) -> str:
        """Note that `n` is cited at the end of the text so far; returns the mark to show there."""
        mark = f" [{n}]"
        excerpt = self.passages[n - 1].excerpt
        href = passage_href(excerpt.document.id, excerpt.id)
        self.annotations.append(
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": len(self.text) + 1,
                    "end_index": len(self.text) + len(mark),
                    "title": " › ".join(excerpt.heading_path),
                    "url": self._base_url + href,
                },
                "n": n,
                "document_id": excerpt.document.id,
                "passage_id": excerpt.id,
                "path": excerpt.document.path,
                "title": excerpt.document.title,
                "quote": excerpt.text,
                "href": href,
            }
        )
        return mark

    def extension(self, done: Done) -> dict[str, Any]:
        sources = [source_shape(n, passage) for n, passage in enumerate(self.passages, start=1)]
        return {
            "kind": done.kind.value,
            "written_by": done.model,
            "sources": sources,
            "notices": done.notices,
        }

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return server_sent(None, self._head("chat.completion.chunk") | {"choices": [choice]} | more)

    def usage_chunk(self, done: Done) -> bytes:
        usage = usage_shape(done)
        return server_sent(None, self._head("chat.completion.chunk") | {"choices": [], "usage": usage})

    def whole(self, done: Done) -> dict[str, Any]:
        message = {
            "role": "assistant",
            "content": self.text,
            "refusal": None,
            "annotations": self.annotations,
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done.finish_reason}
        return self._head("chat.completion") | {
            "choices": [choice],
            "usage": usage_shape(done),
            "almanac": self.extension(done),
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


async def _streamed_answer(
    answering: AsyncGenerator[AnswerEvent, None], answer: _Completion, *, include_usage: bool
) -> AsyncIterator[bytes]:
    async with aclosing(answering) as events:
        yield answer.chunk({"role": "assistant", "content": ""})
        async for event in events:
            match event:
                case PassagesFound():
                    answer.passages = event.passages
                case Waiting():
                    yield comment(event.position)
                case Token():
                    answer.text += event.text
                    yield answer.chunk({"content": event.text})
                case Citation():
                    mark = answer.cite(event.n)
                    answer.text += mark
                    yield answer.chunk({"content": mark})
                case Done():
                    last = {"annotations": answer.annotations} if answer.annotations else {}
                    yield answer.chunk(last, event.finish_reason, almanac=answer.extension(event))
                    if include_usage:
                        yield answer.usage_chunk(event)
                    yield _DONE
                case Failed():
                    # OpenAI's clients raise on an error object in the stream.
                    status = failed_status(event)
                    yield server_sent(None, openai_error(status, event.message, event.code, None))


async def _whole_answer(
    request: Request[Any, Any, State], house: House, question: Question, answer: _Completion
) -> Response[Any]:
    async with aclosing(house.answerer.answer(question)) as events:
        async for event in events:
            match event:
                case PassagesFound():
                    answer.passages = event.passages
                case Token():
                    answer.text += event.text
                case Citation():
                    answer.text += answer.cite(event.n)
                case Done():
                    return Response(answer.whole(event))
                case Failed():
                    return failed_problem(request, event)
    raise ModelUnavailable("The answer ended without a word. Ask again.")


# --- requests ------------------------------------------------------------------------------------


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages", "must be a list of at least one message.")
    for at, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or role not in _ROLES:
            raise InvalidRequest(f"messages[{at}].role", f"must be one of {', '.join(sorted(_ROLES))}.")
    return messages


def _question(
    body: dict[str, Any], messages: list[dict[str, Any]], shelf: str | None, reader: str
) -> Question:
    """The last user message is the question; what came before is the conversation."""
    at = next((at for at in range(len(messages) - 1, -1, -1) if messages[at]["role"] == "user"), None)
    text = "" if at is None else _text_of(messages[at], at)
    if at is None or not text.strip():
        raise InvalidRequest("messages", "must hold a user message with text: the question to the library.")
    history = [
        {"role": message["role"], "content": _text_of(message, n)}
        for n, message in enumerate(messages[:at])
        if message["role"] in ("user", "assistant")
    ]
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise InvalidRequest("max_tokens", "must be a whole number of at least 1.")
    sampling = {name: body[name] for name in _SAMPLING if body.get(name) is not None}
    return Question(
        text=text,
        shelf=shelf,
        history=tuple(history),
        max_tokens=limit,
        sampling=sampling,
        reader=reader,
    )


def _text_of(message: dict[str, Any], at: int) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(parts) == len(content) and all(isinstance(part.get("text"), str) for part in parts):
            return "\n".join(part["text"] for part in parts)
    raise InvalidRequest(f"messages[{at}].content", "must be text, or a list of text parts.")


def _model_ids(house: House) -> tuple[str, ...]:
    shelves = tuple(f"{_SHELF_PREFIX}{shelf.name}" for shelf in house.catalogue.shelves())
    bare = (house.models.model_id,) if house.models.model_id else ()
    return (LIBRARIAN, *shelves, *bare)


def _model_shape(house: House, id_: str) -> dict[str, Any]:
    return {"id": id_, "object": "model", "created": int(house.started_at.timestamp()), "owned_by": "almanac"}
