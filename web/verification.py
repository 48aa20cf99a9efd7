"""Verification over HTTP: every document is proven again while the asker listens.

The work ends with the connection. One at a time: two would only be slower.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice

from litestar import post
from litestar.datastructures import State
from litestar.response import Stream

from ingest.verification import Checked
from library.errors import AlmanacError, Busy
from web.api import STREAM_HEADERS, server_sent
from web.house import House

_AT_ONCE = 10  # documents between two looks at the connection


@post("/api/ingest/verify", status_code=200, sync_to_thread=False)
def verify(state: State) -> Stream:
    """Prove every findable document again, as server-sent events: progress, lost, done or failed."""
    house: House = state.house
    if house.verifying.locked():
        raise Busy("The library is being verified already. Wait until that is done.")
    return Stream(_events(house), media_type="text/event-stream", headers=STREAM_HEADERS)


async def _events(house: House) -> AsyncGenerator[bytes, None]:
    async with aclosing(_verified(house)) as told:
        async for event in told:
            yield event


async def _verified(house: House) -> AsyncGenerator[bytes, None]:
    checked = lost = 0
    if not house.verifying.acquire(blocking=False):
        return
    try:
        # What came, changed or went since the last look belongs to the truth, too.
        await asyncio.to_thread(house.inbox.scan)
        documents = house.verification.run()
        while some := await asyncio.to_thread(_some, documents):
            for one in some:
                checked += 1
                if one.lost is not None:
                    lost += 1
                    yield server_sent("lost", {"path": one.path, "reason": one.lost})
            yield server_sent("progress", {"done": some[-1].done, "total": some[-1].total})
            if house.closing.begun:
                return
        if lost:
            house.pipeline.wake()
        counts = house.catalogue.counts()
        yield server_sent("done", {"checked": checked, "lost": lost, "documents": counts})
    except AlmanacError as error:
        yield server_sent("failed", {"code": error.code, "message": str(error)})
    finally:
        house.verifying.release()


def _some(documents: Iterator[Checked]) -> list[Checked]:
    return list(islice(documents, _AT_ONCE))
