"""Repeated: a request whose answer would be the same as before is given that, without a turn at the model.

Knows which requests are repeatable, how an answer is put away and how it is
given again; `llm.serving.response_cache` knows for how long. Its hard rules: only whoever
asked for the same words every time gets them (temperature 0, or a seed); only an answer
that was written to its end is put away; and none is given to another reader.

An answer given again is a response of its own, with its own id and time. Its
words, its usage and the engine's measurements are those of the first time.
"""

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import blake2b
from typing import Any, TypeVar, cast

import msgspec
from litestar import Request

from library.errors import ModelUnavailable
from llm.events import AnswerKind, Citation, Done, PassagesFound, Token, Waiting
from llm.serving.response_cache import ResponseCache, Sources
from llm.serving.served import ServedModel
from llm.tools.offer import Called, Thought
from web.api import server_sent
from web.house import House
from web.waiting import reader_of

Event = TypeVar("Event")

CACHE_HEADER = "almanac-cache"
DONE = b"data: [DONE]\n\n"

_RANDOM_SEED = 2**32 - 1  # to the engine, and what -1 becomes: another answer every time
_Kept = PassagesFound | Token | Citation | Done | Thought | Called
_EVENTS = msgspec.msgpack.Decoder(tuple[_Kept, ...])
_PIECES = msgspec.msgpack.Decoder(tuple[bytes, ...])


class Repeat:
    """What one request has to do with the cache; nothing, without one."""

    def __init__(
        self,
        cache: ResponseCache | None = None,
        key: bytes = b"",
        sources: Sources | None = None,
        *,
        look: bool = True,
    ) -> None:
        """With `look` off the answer is made anew, and takes the place of what was put away."""
        self._cache, self._key, self._sources = cache, key, sources or {}
        self.found: bytes | None = None
        self.headers: dict[str, str] = {}
        if cache is not None:
            if look:
                self.found = cache.find(key, self._sources)
            else:
                cache.notice(self._sources)
            self.headers = {CACHE_HEADER: "miss" if self.found is None else "hit"}

    def keep(self, answer: bytes) -> None:
        if self._cache is not None:
            self._cache.keep(self._key, self._sources, answer)


async def repeat_of(
    request: Request[Any, Any, Any],
    house: House,
    model: ServedModel,
    *,
    of_library: bool = False,
    seeded: bool = True,
) -> Repeat:
    """By the request's body, byte for byte: there is no parameter that could be forgotten.

    `seeded`: whether a seed is honoured at this endpoint.
    """
    asked = {part.strip().lower() for part in request.headers.get("cache-control", "").split(",")}
    cache = house.response_cache
    if not cache.enabled or "no-store" in asked or not _repeatable(await request.json(), seeded=seeded):
        return Repeat()
    try:
        engine = model.engine()
    except ModelUnavailable:
        return Repeat()
    sources = {f"model {engine.model_id}": engine.generation}
    if of_library:
        sources["library"] = house.revision
    # One key may be many readers': where none is needed, all write the same. And what names this
    # house in an answer's addresses is what it was called in the request.
    whose = (*reader_of(request), str(request.base_url))
    parts = (*whose, request.url.path, await request.body())
    key = blake2b(msgspec.msgpack.encode(parts), digest_size=32).digest()
    return Repeat(cache, key, sources, look="no-cache" not in asked)


def _repeatable(body: dict[str, Any], *, seeded: bool) -> bool:
    """Whether it asks for the same words every time, and gets them. Of a body that was checked."""
    if body.get("temperature") == 0:
        return True
    seed, n = body.get("seed"), body.get("n") or 1
    return seeded and seed is not None and _RANDOM_SEED - seed % 2**32 >= n  # each choice has the next seed


# --- the bare model's objects and chunks, as they leave ------------------------------------------


def whole_again(found: bytes) -> dict[str, Any]:
    completion: dict[str, Any] = msgspec.json.decode(found)
    return completion | _head_of_its_own(completion["id"])


async def chunks(repeat: Repeat, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A stream's server-sent events: those put away, else those of `stream`, put away once they have all come."""
    if repeat.found is not None:
        head: dict[str, Any] = {}
        for piece in _PIECES.decode(repeat.found):
            if piece == DONE:
                yield piece
                continue
            told = [
                msgspec.json.decode(event.removeprefix(b"data: ")) for event in piece.split(b"\n\n") if event
            ]
            head = head or _head_of_its_own(told[0]["id"])
            yield b"".join(server_sent(None, chunk | head) for chunk in told)
        return
    written: list[bytes] = []
    async with aclosing(stream) as pieces:
        async for piece in pieces:
            if not piece.startswith(b":"):  # said to one who waits
                written.append(piece)
            if piece == DONE:  # nothing but a whole answer ends so
                repeat.keep(msgspec.msgpack.encode(written))
            yield piece


def _head_of_its_own(id_: str) -> dict[str, Any]:
    return {"id": f"{id_.partition('-')[0]}-{uuid.uuid4().hex}", "created": int(time.time())}


# --- answers that are made of events -------------------------------------------------------------


async def events(repeat: Repeat, answer: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """An answer's events: those put away, else those of `answer`, put away once Done has come."""
    if repeat.found is not None:
        for kept in _EVENTS.decode(repeat.found):
            yield cast("Event", kept)
        return
    written: list[_Kept] | None = []
    async with aclosing(answer) as told:
        async for event in told:
            if not isinstance(event, _Kept):
                # It failed, or did what is not done again by telling of it.
                written = written if isinstance(event, Waiting) else None
            elif isinstance(event, PassagesFound) and event.degraded:
                written = None  # a side was not there, and may be the next time
            elif written is not None:
                written.append(event)
                if isinstance(event, Done) and event.kind is AnswerKind.WRITTEN:
                    repeat.keep(msgspec.msgpack.encode(written))
            yield event
