"""Jobs: what ingest is at, and what a reader may decide about it."""

from typing import Any

import msgspec
from litestar import get, post
from litestar.datastructures import State
from litestar.params import FromPath

from library.errors import StateConflict
from library.values import DocumentState, Job
from web.house import House
from web.reindex import ReindexShape, reindex_shape
from web.shapes import DocumentShape, document_shape
from web.words import done, share_done, summary

_RECENT = 50
_UNFINISHED = frozenset({DocumentState.WAITING, DocumentState.READING, DocumentState.FINDABLE_WORDS})


class IngestShape(msgspec.Struct, frozen=True):
    paused: bool
    trouble: str | None
    noticed: int  # files seen and not received yet
    documents: dict[DocumentState, int]
    total: int  # the sum of `documents`
    to_read: int
    to_embed: int
    reading: tuple[str, ...]
    embedding: tuple[str, ...]
    chunks: int
    embedded: int
    embedded_since_start: int  # vectors that this process has added
    chunks_per_s: float | None
    remaining_s: float | None
    rebuilding: float | None  # 0..1, while an index of vectors is built beside the one that serves
    reindexing: ReindexShape | None  # while indexes are built anew
    share: float  # 0..1
    summary: str  # what is being done
    done: str  # what has been done


class JobsShape(msgspec.Struct, frozen=True):
    ingest: IngestShape
    items: tuple[Job, ...]


class Decided(msgspec.Struct, frozen=True):
    documents: int  # how many it concerned
    ingest: IngestShape


def ingest_shape(house: House) -> IngestShape:
    """How far ingest has come. The numbers of all states come from one look, so that they add up."""
    progress, noticed = house.pipeline.progress(), house.inbox.unsettled
    return IngestShape(
        paused=progress.paused,
        trouble=house.inbox.trouble or progress.trouble,
        noticed=noticed,
        documents=progress.documents,
        total=sum(progress.documents.values()),
        to_read=progress.to_read,
        to_embed=progress.to_embed,
        reading=progress.reading,
        embedding=progress.embedding,
        chunks=progress.chunks,
        embedded=progress.embedded,
        embedded_since_start=progress.embedded_since_start,
        chunks_per_s=progress.chunks_per_s,
        remaining_s=None if progress.remaining_s is None else round(progress.remaining_s),
        rebuilding=progress.rebuilding,
        reindexing=reindex_shape(house.upkeep.reindexer.current),
        share=share_done(progress),
        summary=summary(progress, noticed),
        done=done(progress.documents),
    )


@get("/api/jobs", sync_to_thread=True)
def jobs(state: State) -> JobsShape:
    """How far ingest has come, and what the appliance did lately on its own."""
    house: House = state.house
    return JobsShape(ingest_shape(house), tuple(house.jobs.recent(_RECENT)))


@post("/api/ingest/pause", status_code=200, sync_to_thread=True)
def pause(state: State) -> IngestShape:
    """Take no further work until resumed, also after a restart."""
    house: House = state.house
    house.pipeline.pause()
    return ingest_shape(house)


@post("/api/ingest/resume", status_code=200, sync_to_thread=True)
def resume(state: State) -> IngestShape:
    """Go on after a pause."""
    house: House = state.house
    house.pipeline.resume()
    return ingest_shape(house)


@post("/api/ingest/cancel", status_code=200, sync_to_thread=True)
def cancel_all(state: State) -> Decided:
    """Give up every document that is not finished."""
    house: House = state.house
    return Decided(house.pipeline.cancel(), ingest_shape(house))


@post("/api/documents/retry", status_code=200, sync_to_thread=True)
def retry_all(state: State) -> Decided:
    """Read every failed document again."""
    house: House = state.house
    return Decided(house.pipeline.retry(), ingest_shape(house))


@post("/api/documents/{document_id:str}/retry", status_code=200, sync_to_thread=True)
def retry(state: State, document_id: FromPath[str]) -> DocumentShape:
    """Read one failed document again."""
    return decide(state.house, document_id, "retry")


@post("/api/documents/{document_id:str}/cancel", status_code=200, sync_to_thread=True)
def cancel(state: State, document_id: FromPath[str]) -> DocumentShape:
    """Give up one unfinished document."""
    return decide(state.house, document_id, "cancel")


def decide(house: House, document_id: str, what: str) -> DocumentShape:
    """Retry or cancel one document. Raises DocumentNotFound and StateConflict."""
    document = house.catalogue.document(document_id)
    if what == "retry":
        allowed, may = "failed", document.state is DocumentState.FAILED
        done = may and house.pipeline.retry([document_id])
    else:
        allowed, may = "waiting, being read or without all of its vectors", document.state in _UNFINISHED
        done = may and house.pipeline.cancel([document_id])
    if not done:  # another state from the start, or a worker was quicker
        raise StateConflict(document.path, house.catalogue.document(document_id).state, allowed)
    return document_shape(house.catalogue.document(document_id))


def status_of_ingest(house: House) -> dict[str, Any]:
    """For /status: the same, with how the folder is followed and what was found beside documents."""
    folder: dict[str, Any] = {
        "watched_by": house.inbox.watched_by,
        "passed_over": house.inbox.passed_over,
        "last_scan": house.jobs.latest("scan"),
    }
    return {**msgspec.structs.asdict(ingest_shape(house)), **folder}
