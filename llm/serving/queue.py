"""The queue: whose turn it is, when more ask than the model has slots.

    line up ─► waiting: by priority, then one of each device in turn, ─► running: as many as there are slots
        │               and of each device one of its readers in turn
        └── past a bound: Overloaded      └── past its deadline: WaitedTooLong

While it is held nobody is called, and whoever waits goes on waiting: the model
is being loaded, or is about to be unloaded.

A line that is full still has room for a device with fewer places in it than
another: the latest of the one with most is turned away. So nobody keeps the
others out, under however many names they ask.

Knows neither the model nor HTTP; readers and devices are any texts that tell
one asker from another. Belongs to one event loop.

Its hard rule: who waits and who runs changes between two awaits and never
across one. A place is lined up, called and given up by plain functions, so
there is no await at which a cancellation could lose a slot or a wake-up.
"""

import asyncio
import enum
import math
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import zip_longest
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from library.errors import AlmanacError, ModelUnavailable, Overloaded, WaitedTooLong

_CLOSED = "Almanac is being stopped. Ask again when it is back."
# How often one who waits looks at their position. Waking everybody at every turn
# would cost the square of those who wait, on the cores that write the answers.
LOOK_S = 1.0
KEEP_ALIVE_S = 10.0  # the longest silence towards one who waits
_FIRST_GUESS_S = 5.0  # what a turn takes, before any has been had
_WEIGHT = 0.2  # of the latest turn in what turns take
# OpenAI's clients keep to `Retry-After` up to a minute, and guess beyond.
_LONGEST_RETRY_S = 60


class QueueSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may wait for the model, and for how long. Every one is explained in docs/configuration.md."""

    per_reader: Annotated[int, Meta(ge=1)] = 32  # waiting at once; those running do not count
    in_all: Annotated[int, Meta(ge=1)] = 256
    wait_s: Annotated[float, Meta(gt=0)] = 300
    drain_s: Annotated[float, Meta(ge=0, le=600)] = 5


class Reader(NamedTuple):
    """Who asks: a name that anybody may make up, and what they ask from, which is harder to change."""

    name: str
    device: str = ""


class Priority(enum.IntEnum):
    """The lower goes first, always."""

    CHAT = 0
    BACKGROUND = 1


class Load(msgspec.Struct, frozen=True):
    """How the queue is, for those who watch the house."""

    slots: int  # 0 while nobody is called
    running: int
    waiting: int
    readers: int  # whose requests wait
    turn_s: float  # what a turn lately takes, the latest weighing most
    served: int  # turns that have come, since the start; `waited_s` is their waiting in all
    waited_s: float
    refused: int
    expired: int


class _State(enum.Enum):
    WAITING = enum.auto()
    RUNNING = enum.auto()
    TURNED_AWAY = enum.auto()


class Place:
    """One request's place, first in the line and then at the model."""

    def __init__(self, turns: "Turns", reader: Reader, priority: Priority, lined_up_at: float) -> None:
        self.reader, self.priority = reader, priority
        self.lined_up_at, self.called_at = lined_up_at, 0.0
        self.state = _State.WAITING
        self.why: AlmanacError | None = None  # once turned away
        self.news = asyncio.Event()  # set when it no longer waits
        self._turns = turns

    @property
    def position(self) -> int:
        """1 for the next to be called; 0 once called."""
        return self._turns.position_of(self)

    async def positions(self) -> AsyncGenerator[int, None]:
        """Wait for the turn, telling the position: at once, as it changes, and at least every `KEEP_ALIVE_S`.

        Ends with 0 when the turn has come; yields nothing if it has come already.
        Raises WaitedTooLong, and whatever those who wait are turned away with.
        """
        clock, wait_s = self._turns.clock, self._turns.settings.wait_s
        told, told_at = 0, -math.inf
        while self.state is _State.WAITING:
            now, position = clock(), self.position
            left_s = self.lined_up_at + wait_s - now
            if left_s <= 0:
                raise self._turns.expired(self)
            if position != told or now - told_at >= KEEP_ALIVE_S:
                told, told_at = position, now
                yield position
            with suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_S, left_s)):
                    await self.news.wait()
        if self.why is not None:
            raise self.why
        if told:
            yield 0


_Line = dict[str, deque[Place]]  # of one device: its readers in the order in which they come next


class Turns:
    """The line before one model."""

    def __init__(
        self,
        slots: int,
        settings: QueueSettings,
        *,
        held: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots, self.settings, self.clock = slots, settings, clock
        self.held = held
        self.used_at = clock()  # when a turn last ended, or began
        # Of each priority: devices in the order in which they come next, with their readers in theirs.
        self._lines: dict[Priority, dict[str, _Line]] = {priority: {} for priority in Priority}
        self._positions: dict[Place, int] | None = None  # None: to be counted anew
        self._waiting = 0
        self._running: set[Place] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._turn_s = _FIRST_GUESS_S
        self._served, self._waited_s, self._refused, self._expired = 0, 0.0, 0, 0

    @contextmanager
    def place(self, reader: Reader, *, priority: Priority = Priority.CHAT) -> Iterator[Place]:
        """A place in the line for the length of a block; leaving the block gives it up, called or not.

        Nothing may be asked of the model before `Place.positions` has ended.
        Raises Overloaded past a bound, ModelUnavailable once the queue is closed.
        """
        place = self._lined_up(reader, priority)
        try:
            yield place
        finally:
            self._give_up(place)

    @asynccontextmanager
    async def turn(self, reader: Reader, *, priority: Priority = Priority.CHAT) -> AsyncGenerator[None, None]:
        """The same for who has nobody to tell: enters when the turn has come. Raises as `positions`, too."""
        with self.place(reader, priority=priority) as place:
            async for _ in place.positions():
                pass
            yield

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return self._waiting

    def hold(self) -> None:
        """Call nobody any more; who runs goes on."""
        self.held = True

    def resume(self) -> None:
        self.held = False
        self._call()

    def turn_away(self, why: AlmanacError) -> None:
        """Who waits is told why they do so no longer."""
        for place in list(self._in_order()):
            self._turn_away(place, why)

    def close(self) -> None:
        """Turn away who waits, and from now on who comes; who runs goes on."""
        self._closed = True
        self.turn_away(ModelUnavailable(_CLOSED))

    async def idle(self) -> None:
        """Return when nobody runs."""
        await self._idle.wait()

    async def drained(self) -> None:
        """Return when nobody runs any more, or after `drain_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_s):
                await self._idle.wait()

    def load(self) -> Load:
        return Load(
            slots=0 if self.held else self.slots,
            running=len(self._running),
            waiting=self._waiting,
            readers=len({place.reader for place in self._in_order()}),
            turn_s=round(self._turn_s, 2),
            served=self._served,
            waited_s=round(self._waited_s, 2),
            refused=self._refused,
            expired=self._expired,
        )

    def position_of(self, place: Place) -> int:
        if self._positions is None:
            self._positions = {waiting: n for n, waiting in enumerate(self._in_order(), start=1)}
        return self._positions.get(place, 0)

    def expired(self, place: Place) -> WaitedTooLong:
        """The error for a place whose deadline has passed."""
        self._expired += 1
        return WaitedTooLong(self.settings.wait_s, self._until_served(place.position))

    def _in_order(self) -> Iterator[Place]:
        """Who waits, in the order in which they are called if nobody comes or leaves."""
        for _, devices in sorted(self._lines.items()):
            yield from _in_turn(_in_turn(line.values()) for line in devices.values())

    def _lined_up(self, reader: Reader, priority: Priority) -> Place:
        if self._closed:
            raise ModelUnavailable(_CLOSED)
        if self.held or len(self._running) >= self.slots:
            self._require_room(reader)
        place = Place(self, reader, priority, self.clock())
        line = self._lines[priority].setdefault(reader.device, {})
        line.setdefault(reader.name, deque()).append(place)
        self._waiting += 1
        self._positions = None
        self._call()
        return place

    def _require_room(self, reader: Reader) -> None:
        own = [place for place in self._in_order() if place.reader == reader]
        if len(own) >= self.settings.per_reader:
            raise self._refusal(len(own), own[-1].position, own=True)
        if self._waiting >= self.settings.in_all and not self._made_room(reader.device):
            raise self._refusal(self._waiting, self._waiting, own=False)

    def _made_room(self, device: str) -> bool:
        """Whether another device had more places than this one will have: its latest is turned away."""
        waiting = list(self._in_order())
        places = Counter(place.reader.device for place in waiting)
        most, count = places.most_common(1)[0]
        if count <= places[device] + 1:
            return False
        latest = next(place for place in reversed(waiting) if place.reader.device == most)
        self._turn_away(latest, self._refusal(count, latest.position, own=True))
        return True

    def _refusal(self, waiting: int, until: int, *, own: bool) -> Overloaded:
        self._refused += 1
        return Overloaded(waiting, self._until_served(until), own=own)

    def _give_up(self, place: Place) -> None:
        match place.state:
            case _State.WAITING:
                self._remove(place)
            case _State.RUNNING:
                self._running.remove(place)
                self.used_at = self.clock()
                self._turn_s += _WEIGHT * (self.clock() - place.called_at - self._turn_s)
                self._call()
                if not self._running:
                    self._idle.set()
            case _State.TURNED_AWAY:
                pass

    def _call(self) -> None:
        """Let the next ones run, as long as there are slots."""
        while not self.held and self._waiting and len(self._running) < self.slots:
            place = next(self._in_order())
            self._remove(place)
            devices, reader = self._lines[place.priority], place.reader
            if line := devices.pop(reader.device, None):  # has more: behind all the others
                devices[reader.device] = line
                if own := line.pop(reader.name, None):
                    line[reader.name] = own
            self._running.add(place)
            self._idle.clear()
            place.state, place.called_at = _State.RUNNING, self.clock()
            self.used_at = place.called_at
            self._served += 1
            self._waited_s += place.called_at - place.lined_up_at
            place.news.set()

    def _turn_away(self, place: Place, why: AlmanacError) -> None:
        self._remove(place)
        place.state, place.why = _State.TURNED_AWAY, why
        place.news.set()

    def _remove(self, place: Place) -> None:
        devices, reader = self._lines[place.priority], place.reader
        line = devices[reader.device]
        line[reader.name].remove(place)
        if not line[reader.name]:
            del line[reader.name]
        if not line:
            del devices[reader.device]
        self._waiting -= 1
        self._positions = None

    def _until_served(self, places: int) -> int:
        """Whole seconds in which so many turns are over, by what turns lately took."""
        return max(1, min(_LONGEST_RETRY_S, math.ceil(places * self._turn_s / self.slots)))


def _in_turn(lines: Iterable[Iterable[Place]]) -> Iterator[Place]:
    for round_ in zip_longest(*lines):
        yield from (place for place in round_ if place is not None)
