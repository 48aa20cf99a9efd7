"""The response cache: answers that were written to their end, kept for whoever asks exactly the same again.

Knows neither HTTP nor models: a key is a digest of all that was asked and by
whom, an answer is bytes. In memory alone, and belongs to one event loop. Its hard
rules: what is kept is bounded in size and in time; and an answer is given again
only while everything it was made from (a model, the library) is what it was.
"""

import time
from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

# What an answer was made from: a name, such as "library", and the generation that it was of.
Sources = Mapping[str, str]

_MIB = 1024 * 1024
_ENTRY_BYTES = 512  # what Python takes for an entry beside its answer
# No answer takes a larger share: one long one is not worth all the others.
_LARGEST_SHARE = 8


class CacheSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much is kept, and for how long; 0 of either keeps nothing. Explained in docs/configuration.md."""

    capacity_mib: Annotated[int, Meta(ge=0)] = 64
    ttl_s: Annotated[float, Meta(ge=0)] = 3600


class Figures(NamedTuple):
    hits: int  # since the start, as `misses`
    misses: int
    entries: int
    bytes: int


class _Entry(NamedTuple):
    answer: bytes
    sources: Sources
    ends: float


class ResponseCache:
    def __init__(self, settings: CacheSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity, self._ttl_s, self._clock = settings.capacity_mib * _MIB, settings.ttl_s, clock
        # The oldest first: it is the first to end, and the first to go where there is no room.
        self._entries: dict[bytes, _Entry] = {}
        self._current: dict[str, str] = {}
        self._hits = self._misses = self._bytes = 0

    @property
    def enabled(self) -> bool:
        return bool(self._capacity and self._ttl_s)

    def notice(self, sources: Sources) -> None:
        """These are what there is now: drops whatever was made from others, and whatever is too old."""
        changed = {name for name, now in sources.items() if self._current.get(name, now) != now}
        self._current.update(sources)
        if changed:
            for key in [key for key, entry in self._entries.items() if changed & entry.sources.keys()]:
                self._drop(key)
        now = self._clock()
        while self._entries and (oldest := next(iter(self._entries))) and self._entries[oldest].ends <= now:
            self._drop(oldest)

    def find(self, key: bytes, sources: Sources) -> bytes | None:
        """The answer to the same request made from the same; a miss is counted where there is none."""
        self.notice(sources)
        entry = self._entries.get(key)
        if entry is None or entry.sources != sources:
            self._misses += 1
            return None
        self._hits += 1
        return entry.answer

    def keep(self, key: bytes, sources: Sources, answer: bytes) -> None:
        """Keep an answer that was begun when `sources` were found; not one that is of yesterday by now."""
        if any(
            self._current.setdefault(name, generation) != generation for name, generation in sources.items()
        ):
            return
        size = len(answer) + _ENTRY_BYTES
        if size > self._capacity // _LARGEST_SHARE or not self.enabled:
            return
        self._drop(key)
        while self._bytes + size > self._capacity:
            self._drop(next(iter(self._entries)))
        self._entries[key] = _Entry(answer, sources, self._clock() + self._ttl_s)
        self._bytes += size

    def figures(self) -> Figures:
        """From any thread."""
        return Figures(self._hits, self._misses, len(self._entries), self._bytes)

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry.answer) + _ENTRY_BYTES
