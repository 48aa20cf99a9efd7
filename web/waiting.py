"""Waiting: who it is that waits for the model, and what they are told meanwhile."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

from litestar import Request

from llm.serving.queue import Reader
from web.leaving import unless_gone

Item = TypeVar("Item")


def reader_of(request: Request[Any, Any, Any]) -> Reader:
    """Who asks, as far as the queue needs to know: the API key, and the address.

    No header that names another address is looked at: anybody can write one.
    A key is kept as a digest, since a place in the line may end up in a log.
    """
    device = request.client.host if request.client else ""
    scheme, _, key = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return Reader(hashlib.blake2b(key.strip().encode(), digest_size=12).hexdigest(), device)
    return Reader("", device)


async def begun(
    request: Request[Any, Any, Any], stream: AsyncGenerator[Item, None]
) -> tuple[Item | None, AsyncGenerator[Item, None]]:
    """What a stream says first, and the whole of it; None when it says nothing.

    Awaited before there is a head, so that what fails until then has a status.
    """
    first = await unless_gone(request, _first(stream))
    return first, _whole(first, stream)


def comment(position: int) -> bytes:
    """A line that no client of server-sent events shows, and that keeps the connection from looking dead."""
    return f": waiting, position {position}\n\n".encode() if position else b": the turn has come\n\n"


async def _first(stream: AsyncGenerator[Item, None]) -> Item | None:
    return await anext(stream, None)


async def _whole(first: Item | None, rest: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    async with aclosing(rest):
        if first is not None:
            yield first
        async for item in rest:
            yield item
