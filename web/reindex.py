"""Reindex: an index built anew because somebody asks for it, and how far that has come."""

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.datastructures import State
from litestar.params import Body

from ingest.moving import KIND
from ingest.reindexing import Reindexer, Reindexing, What
from library.errors import InvalidRequest, OnlyFromHere
from library.values import Job
from web.api import require_json
from web.guards import LOOPBACK
from web.house import House


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    what: What | None = None  # all of them; with `to`, the vectors
    to: str | msgspec.UnsetType | None = msgspec.UNSET  # a Qdrant server's address; null: into this process


class ReindexShape(msgspec.Struct, frozen=True):
    job_id: str
    what: What
    cause: str  # a sentence
    lexical: float | None  # 0..1; null when the words are not its matter, or are done
    vectors: float | None
    share: float  # 0..1, of all of it
    cancellable: bool
    summary: str  # a sentence


class ReindexingShape(msgspec.Struct, frozen=True):
    reindex: ReindexShape | None
    last: Job | None  # running, or as it ended


def reindex_shape(current: Reindexing | None) -> ReindexShape | None:
    if current is None:
        return None
    lexical = None if current.lexical is None else round(current.lexical, 4)
    vectors = None if current.vectors is None else round(current.vectors, 4)
    parts = [
        f"the index of {name} is {share:.0%} built"
        for name, share in (("words", lexical), ("vectors", vectors))
        if share is not None
    ]
    told = (
        f"{' and '.join(parts) or 'A new index is being put to use'}; what served before goes on until then."
    )
    return ReindexShape(
        current.job_id,
        current.what,
        current.cause,
        lexical,
        vectors,
        current.share,
        current.cancellable,
        told[:1].upper() + told[1:],
    )


def _shape(house: House) -> ReindexingShape:
    # In this order: what ended between the two looks is said to have ended.
    current = reindex_shape(house.upkeep.reindexer.current)
    return ReindexingShape(current, house.jobs.latest(KIND))


def _begin(reindexer: Reindexer, asked: Asked, caller: str) -> None:
    # Whoever names a server has all that is known of the library sent there.
    if isinstance(asked.to, str) and caller not in LOOPBACK:
        raise OnlyFromHere(
            "A server for the vectors is named at the machine that Almanac runs on: type "
            "`almanac reindex --to URL` there, or set `search.vector_url`."
        )
    if isinstance(asked.to, msgspec.UnsetType):
        reindexer.request(asked.what or What.ALL)
    elif asked.what in (None, What.VECTORS):
        reindexer.move(asked.to)
    else:
        raise InvalidRequest("to", "moves the vectors alone: leave `what` out, or say vectors.")


# Not `sync_to_thread`: Litestar wraps such a function anew for every further
# method of its path, and then answers with a coroutine.
@get("/api/reindex")
async def reindexing(state: State) -> ReindexingShape:
    """How far it has come, and how the last one ended."""
    return await asyncio.to_thread(_shape, state.house)


@post("/api/reindex", status_code=202)
async def reindex(
    request: Request[Any, Any, State], state: State, data: Annotated[Asked, Body()]
) -> ReindexingShape:
    """Build indexes anew beside those that serve, or move the vectors; 409 while that is being done."""
    require_json(request)
    house: House = state.house
    caller = request.client.host if request.client else ""
    await asyncio.to_thread(_begin, house.upkeep.reindexer, data, caller)
    return await asyncio.to_thread(_shape, house)


@delete("/api/reindex", status_code=200)
async def cancel_reindex(state: State) -> ReindexingShape:
    """Give it up; 409 when nothing is being rebuilt."""
    house: House = state.house
    await asyncio.to_thread(house.upkeep.reindexer.cancel)
    return await asyncio.to_thread(_shape, house)
