"""Settling: paths that were noticed, until their files have kept still for long enough.

A file is settled when two looks at least `settle_s` apart are equal: a book
that is still being copied is not a book yet. What is gone must stay gone for
as long, since many editors save by taking a file away and putting another in
its place. Knows looks, not files. Its hard rule: a path is forgotten only by
`done`, and only if nothing was noticed of it meanwhile.

Only paths whose time has come are looked at, the newest first: fifty thousand
files that arrive together cost two looks each, and the one that is dropped
after them does not wait for them all.
"""

import heapq
import threading
from collections.abc import Callable, Iterable

from ingest.folder import Look


class Noticed:
    """One path and what the last look at it showed. A later notice replaces it by another."""

    __slots__ = ("in_bulk", "look", "looked", "path")

    def __init__(
        self, path: str, look: Look | None = None, *, looked: bool = False, in_bulk: bool = False
    ) -> None:
        self.path, self.look, self.looked = path, look, looked
        self.in_bulk = in_bulk  # found by a walk, long quiet: it can wait until what is new has been received


class Settling:
    def __init__(self, settle_s: float, clock: Callable[[], float]) -> None:
        self._settle_s, self._clock = settle_s, clock
        self._changing = threading.Lock()
        self._noticed: dict[str, Noticed] = {}
        self._waiting: list[tuple[float, int, Noticed]] = []  # a heap: due, order of notice
        self._due: list[Noticed] = []  # a stack: the newest is taken first
        self._bulk: list[Noticed] = []  # the same, taken when nothing else is due
        self._count = 0

    def __len__(self) -> int:
        return len(self._noticed)

    def notice(self, paths: Iterable[str]) -> None:
        """Something happened at these paths; what they show is to be looked at anew."""
        with self._changing:
            for path in paths:
                self._put(Noticed(path), self._clock())

    def see(self, path: str, look: Look, *, is_quiet: bool) -> None:
        """A walk came by this file. No news for a path that has been noticed already."""
        with self._changing:
            if path not in self._noticed:
                due = self._clock() + (0 if is_quiet else self._settle_s)
                self._put(Noticed(path, look, looked=True, in_bulk=is_quiet), due)

    def miss(self, paths: Iterable[str]) -> None:
        """A walk did not come by these files. No news for a path that has been noticed already."""
        with self._changing:
            for path in paths:
                if path not in self._noticed:
                    self._put(Noticed(path, looked=True), self._clock() + self._settle_s)

    def take(self, most: int) -> list[Noticed]:
        """Paths whose time has come, newest first. Give each back by `settled`, `done` or `put_back`."""
        with self._changing:
            now = self._clock()
            while self._waiting and self._waiting[0][0] <= now:
                due = heapq.heappop(self._waiting)[2]
                (self._bulk if due.in_bulk else self._due).append(due)
            taken: list[Noticed] = []
            while (stack := self._due or self._bulk) and len(taken) < most:
                noticed = stack.pop()
                if self._noticed.get(noticed.path) is noticed:
                    taken.append(noticed)
            return taken

    def settled(self, noticed: Noticed, look: Look | None, *, is_quiet: bool = False) -> bool:
        """Whether the path has shown this for long enough; else it is looked at again in `settle_s`.

        `is_quiet` says that nobody has written the file for long, whenever it was noticed.
        """
        with self._changing:
            if self._noticed.get(noticed.path) is not noticed:
                return False  # noticed again meanwhile, and queued anew
            if (noticed.looked and noticed.look == look) or is_quiet:
                noticed.look, noticed.looked = look, True
                return True
            self._put(Noticed(noticed.path, look, looked=True), self._clock() + self._settle_s)
            return False

    def done(self, noticed: Noticed) -> None:
        """The path needs nothing more, unless something has happened to it since."""
        with self._changing:
            if self._noticed.get(noticed.path) is noticed:
                del self._noticed[noticed.path]

    def put_back(self, taken: Iterable[Noticed]) -> None:
        """What was taken and neither settled nor done is due again at once."""
        with self._changing:
            for noticed in taken:
                if self._noticed.get(noticed.path) is noticed:
                    self._put(noticed, self._clock())

    @property
    def waits_s(self) -> float | None:
        """Seconds until a path is due; 0 when one is, None when none will be."""
        with self._changing:
            if self._due or self._bulk:
                return 0.0
            return max(0.0, self._waiting[0][0] - self._clock()) if self._waiting else None

    def _put(self, noticed: Noticed, due: float) -> None:
        self._count += 1
        self._noticed[noticed.path] = noticed
        heapq.heappush(self._waiting, (due, self._count, noticed))
