"""Leaving: work that ends when the one who asked for it is gone, or when the house closes."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request
from litestar.exceptions import ClientException

Result = TypeVar("Result")


class Closing:
    """Tells endless streams that the house closes; a server waits for every open response to end."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        return self._begun.is_set()

    def begin(self) -> None:
        """On the event loop's own thread."""
        self._begun.set()

    async def within(self, seconds: float) -> bool:
        """Wait so long, or until the house closes; returns whether it does."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._begun.wait(), seconds)
        return self.begun


async def unless_gone(request: Request[Any, Any, Any], work: Coroutine[Any, Any, Result]) -> Result:
    """Await the work; cancel it as soon as the client has closed its connection.

    A streamed answer notices by itself. An answer given whole would keep the
    model busy for nobody, and a few impatient retries would fill every slot.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientException("The client has left.")  # said to nobody
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
