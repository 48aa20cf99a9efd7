"""Events: what changes in the library, told to whoever has a page open, as it happens.

One poller looks at the record once a second while anybody listens, and never
otherwise; each listener has a mailbox in which news replaces older news, so
that neither many listeners nor a slow one cost anything. Its hard rule: the
first events after a connection give the whole truth, so nothing is replayed.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextvars import Context
from datetime import UTC, datetime, timedelta

import msgspec
from litestar import get
from litestar.datastructures import State
from litestar.response import Stream

from library.errors import AlmanacError
from library.values import Document, DocumentState
from web.api import STREAM_HEADERS, server_sent
from web.house import House
from web.jobs import IngestShape, ingest_shape
from web.shapes import document_shape

log = logging.getLogger(__name__)

_EVERY_S = 1.0
_HEARTBEAT_S = 15.0
_MOST = 100  # documents in one event; of more, a listener should fetch its list again
# A change is dated before it is committed: one look must reach back behind the last.
_OVERLAP = timedelta(seconds=5)
_BEFORE_THE_FIRST = timedelta(seconds=60)


class ChangeShape(msgspec.Struct, frozen=True):
    id: str
    path: str
    title: str
    state: DocumentState
    reason: str | None
    chunks: int
    progress: float | None
    updated_at: datetime


class ChangesShape(msgspec.Struct, frozen=True):
    items: tuple[ChangeShape, ...]
    reload: bool  # more has changed than is said here


class Mailbox:
    """What one listener has not been told yet."""

    def __init__(self) -> None:
        self.filled = asyncio.Event()
        self._progress: IngestShape | None = None
        self._changes: dict[str, ChangeShape] = {}
        self._reload = False

    def put(self, progress: IngestShape | None, changes: list[ChangeShape], *, reload: bool) -> None:
        if progress is not None:
            self._progress = progress
        for change in changes:
            self._changes[change.id] = change
        self._reload = self._reload or reload or len(self._changes) > _MOST
        while len(self._changes) > _MOST:
            del self._changes[next(iter(self._changes))]
        self.filled.set()

    def take(self) -> bytes:
        """All of it as server-sent events, and the mailbox is empty."""
        told = b""
        if self._progress is not None:
            told += server_sent("progress", self._progress)
        if self._changes or self._reload:
            told += server_sent("documents", ChangesShape(tuple(self._changes.values()), self._reload))
        self._progress, self._changes, self._reload = None, {}, False
        self.filled.clear()
        return told


class Watch:
    """Everybody who listens, and the one poller for all of them."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._listeners: set[Mailbox] = set()
        self._poller: asyncio.Task[None] | None = None
        # As of the poller's last look; None before its first.
        self._progress: IngestShape | None = None
        self._known: dict[str, ChangeShape] = {}
        self._since = datetime.min.replace(tzinfo=UTC)

    @property
    def is_looking(self) -> bool:
        return self._poller is not None and not self._poller.done()

    async def listen(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events until the house closes; closing the generator ends the listening."""
        mine = Mailbox()
        self._listeners.add(mine)
        try:
            if not self.is_looking:
                self._progress, self._known = None, {}
                self._since = datetime.now(UTC) - _BEFORE_THE_FIRST
                # In a context of its own: it outlives this request, and its log lines are not the request's.
                self._poller = asyncio.create_task(self._poll(), name="events", context=Context())
            elif self._progress is not None:
                mine.put(self._progress, list(self._known.values()), reload=True)
            yield b"retry: 2000\n\n"
            while not self._house.closing.begun:
                try:
                    await asyncio.wait_for(mine.filled.wait(), _HEARTBEAT_S)
                except TimeoutError:
                    yield b": still here\n\n"
                else:
                    yield mine.take()
        finally:
            self._listeners.discard(mine)
            if not self._listeners and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    async def _poll(self) -> None:
        while not self._house.closing.begun:
            try:
                await self._look()
            except AlmanacError as error:
                log.warning("what changed cannot be told: %s", error)
            except Exception:  # the outermost loop of a task: it must not end unseen
                log.exception("what changed cannot be told")
            await self._house.closing.within(_EVERY_S)
        for mailbox in self._listeners:
            mailbox.filled.set()

    async def _look(self) -> None:
        first = self._progress is None
        progress, documents = await asyncio.to_thread(self._read)
        changes = [
            shape
            for shape in map(_change_shape, reversed(documents))  # the oldest first, so that the latest stay
            if self._known.get(shape.id) != shape
        ]
        self._known = {shape.id: shape for shape in map(_change_shape, reversed(documents[:_MOST]))}
        latest = documents[0].updated_at if documents else self._since + _OVERLAP
        # Not beyond now: the clock may have been put back.
        self._since = min(latest, datetime.now(UTC)) - _OVERLAP
        news = progress if progress != self._progress else None
        self._progress = progress
        if news or changes or first:
            for mailbox in self._listeners:
                mailbox.put(news, changes, reload=first)

    def _read(self) -> tuple[IngestShape, list[Document]]:
        # Twice as many as are told: those of the overlap are known already.
        changed = self._house.catalogue.changed_since(self._since, 2 * _MOST)
        return ingest_shape(self._house), changed


def _change_shape(document: Document) -> ChangeShape:
    shape = document_shape(document)
    return ChangeShape(
        id=shape.id,
        path=shape.path,
        title=shape.title,
        state=shape.state,
        reason=shape.reason,
        chunks=shape.chunks,
        progress=shape.progress,
        updated_at=shape.updated_at,
    )


@get("/api/events", sync_to_thread=False)
def events(state: State) -> Stream:
    """What changes, as server-sent events: `progress` and `documents`."""
    watch: Watch = state.watch
    return Stream(_until_gone(watch), media_type="text/event-stream", headers=STREAM_HEADERS)


async def _until_gone(watch: Watch) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(watch.listen()) as told:
        async for event in told:
            yield event
