"""The JSON API: documents, shelves, passages, and asking as a stream of events."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.params import Body, FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from library.errors import InvalidRequest, PassageNotFound
from library.values import DocumentState, Shelf
from llm.answering.answer import Question
from llm.events import AnswerEvent, Citation, Done, Failed, PassagesFound, Token, Waiting
from web.asked import Asked
from web.house import House
from web.problems import failed_problem
from web.shapes import (
    DocumentShape,
    DocumentsShape,
    document_shape,
    source_shape,
)
from web.waiting import begun, reader_of

_LONGEST_QUERY = 10_000
MOST_CHOSEN = 20  # passages that a question can be put to
STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class Shelves(msgspec.Struct, frozen=True):
    items: tuple[Shelf, ...]


class AskBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    question: Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_QUERY)]
    shelf: str | None = None
    passages: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_CHOSEN)] = ()


@get("/api/documents", sync_to_thread=True)
def documents(
    state: State,
    shelf: FromQuery[str | None] = None,
    document_state: Annotated[DocumentState | None, QueryParameter(name="state")] = None,
    q: FromQuery[str] = "",
    limit: FromQuery[int] = 50,
    cursor: FromQuery[str | None] = None,
) -> DocumentsShape:
    """What the library holds, by path, a page at a time; with `q`, what is named so."""
    house: House = state.house
    page = house.catalogue.documents(
        shelf=shelf or None, state=document_state, named=q, limit=limit, cursor=cursor or None
    )
    return DocumentsShape(tuple(map(document_shape, page.items)), page.total, page.next)


@get("/api/documents/{document_id:str}", sync_to_thread=True)
def document(state: State, document_id: FromPath[str]) -> DocumentShape:
    """One document and its state."""
    house: House = state.house
    return document_shape(house.catalogue.document(document_id))


@get("/api/shelves", sync_to_thread=True)
def shelves(state: State) -> Shelves:
    """The shelves and how many documents stand on each."""
    house: House = state.house
    return Shelves(tuple(house.catalogue.shelves()))


@get("/api/passages/{passage_id:str}", sync_to_thread=True)
def passage(state: State, passage_id: FromPath[str]) -> dict[str, Any]:
    """One passage with its document."""
    house: House = state.house
    excerpt = house.excerpts.one(passage_id)
    return {
        "id": excerpt.id,
        "document": document_shape(excerpt.document),
        "heading_path": excerpt.heading_path,
        "text": excerpt.text,
    }


@post("/api/scan", status_code=202, sync_to_thread=True)
def scan(state: State) -> dict[str, Any]:
    """Look through the library folder now."""
    house: House = state.house
    house.inbox.scan()
    return {"last_scan": house.jobs.latest("scan")}


@post("/api/ask", status_code=200)
async def ask(
    request: Request[Any, Any, State], state: State, data: Annotated[AskBody, Body()]
) -> Response[Any]:
    """Answer a question as server-sent events: passages, waiting, token, citation, done or failed."""
    require_json(request)
    house: House = state.house
    since = time.perf_counter()
    asked = Asked(data.question, shelf=(data.shelf,) if data.shelf else ()).query()
    question = Question(
        text=asked.text or data.question, query=asked, passages=data.passages, reader=reader_of(request)
    )
    await asyncio.to_thread(_require_passages, house, data.passages)
    first, events = await begun(request, house.answerer.answer(question))
    if isinstance(first, Failed) and first.retry_after_s:
        return failed_problem(request, first)
    return Stream(_told_all(events, since), media_type="text/event-stream", headers=STREAM_HEADERS)


def _require_passages(house: House, passage_ids: tuple[str, ...]) -> None:
    """Raises PassageNotFound, while the answer can still have a status."""
    there = house.excerpts.by_id(passage_ids) if passage_ids else {}
    for passage_id in passage_ids:
        if passage_id not in there:
            raise PassageNotFound(passage_id)


def require_json(request: Request[Any, Any, Any]) -> None:
    """A form on a foreign page can post text that looks like JSON; it cannot name this type unasked."""
    if request.content_type[0] != "application/json":
        raise InvalidRequest("Content-Type", "must be application/json.")


async def _told_all(answer: AsyncGenerator[AnswerEvent, None], since: float) -> AsyncIterator[bytes]:
    async with aclosing(answer) as events:
        async for event in events:
            yield server_sent(*_told(event, since))


def _told(event: AnswerEvent, since: float) -> tuple[str, dict[str, Any]]:
    match event:
        case PassagesFound():
            sources = [source_shape(n, found) for n, found in enumerate(event.passages, start=1)]
            return "passages", {"passages": sources, "degraded": event.degraded}
        case Waiting():
            return "waiting", {"position": event.position, "loading": event.loading}
        case Token():
            return "token", {"text": event.text}
        case Citation():
            return "citation", {"n": event.n}
        case Done():
            return "done", {
                "kind": event.kind.value,
                "model": event.model,
                "finish_reason": event.finish_reason,
                "usage": usage_shape(event),
                "notices": event.notices,
                "took_ms": round((time.perf_counter() - since) * 1000, 1),
            }
        case Failed():
            return "failed", {"code": event.code, "message": event.message}


def usage_shape(done: Done) -> dict[str, int]:
    """OpenAI's usage object."""
    usage = done.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def server_sent(event: str | None, payload: object) -> bytes:
    """One server-sent event; JSON has no raw newline, so one data line is enough."""
    body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    named = f"event: {event}\n".encode() if event else b""
    return named + b"data: " + body + b"\n\n"
