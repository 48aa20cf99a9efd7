"""A served model: who keeps it, and the line of those who ask it.

Knows a host (`llm.engines.supervisor` for a file, `llm.engines.remote` for an engine by URL)
and a queue; decides nothing about memory, which is `llm.serving.models`'. Its hard
rule: whoever lines up is either called, with an engine to ask, or told why not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from library.errors import ModelUnavailable
from llm.engines.model_state import ModelState
from llm.model_files.card import Kind
from llm.model_files.eyes import Eyes
from llm.serving.queue import Place, Priority, Reader, Turns

if TYPE_CHECKING:
    from llm.engines.engine import Engine

BACK_WITHIN_S = 30  # a model that ended while somebody waited for it


class Host(Protocol):
    """Whoever keeps one model ready to be asked."""

    settled: asyncio.Event  # set whenever the state is not LOADING

    @property
    def model_id(self) -> str | None: ...
    @property
    def model_file(self) -> Path | None: ...
    @property
    def state(self) -> ModelState: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def device(self) -> str | None:
        """What it computes on, as it said itself; None where nothing is known."""
        ...

    @property
    def eyes(self) -> Eyes | None:
        """What it was last loaded with to see pictures; None where only its server knows."""
        ...

    @property
    def pid(self) -> int | None:
        """The process that holds its memory here, if there is one."""
        ...

    def engine(self) -> Engine: ...
    async def engine_back(self, within_s: float) -> Engine: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class ServedModel:
    """One model that can be asked. All methods belong to one event loop; properties may be read from any thread."""

    def __init__(
        self, host: Host, turns: Turns, want: Callable[[ServedModel], None], *, kind: Kind = Kind.CHAT
    ) -> None:
        self.host, self.turns, self._want = host, turns, want
        self.kind = kind  # what it is asked for
        self.was_ready = False  # ever, since the start
        self.draining = False
        self.ready_at = 0.0  # by the queue's clock
        self.tenure_s = 0.0  # so long it is not unloaded for others while somebody asks it
        self.problem: str | None = None  # why the last wish to load it came to nothing

    @property
    def id(self) -> str | None:
        return self.host.model_id

    @property
    def file(self) -> Path | None:
        return self.host.model_file

    @property
    def state(self) -> ModelState:
        state = self.host.state
        if state is ModelState.STOPPED:
            return ModelState.UNLOADED if self.was_ready else ModelState.REGISTERED
        return ModelState.DRAINING if self.draining and state is ModelState.READY else state

    @property
    def reason(self) -> str | None:
        """Why it cannot be asked at once, as a sentence; None when it can."""
        match self.state:
            case ModelState.DRAINING:
                return f"The model {self.id} is being unloaded once its answers have ended."
            case ModelState.UNLOADED | ModelState.REGISTERED:
                return self.problem or f"The model {self.id} is not loaded."
        return self.host.reason

    @property
    def used_at(self) -> float:
        """When it was last asked, or loaded, by the queue's clock."""
        return max(self.turns.used_at, self.ready_at)

    @property
    def busy(self) -> bool:
        return bool(self.turns.running or self.turns.waiting)

    @property
    def loaded(self) -> bool:
        """Whether it takes memory, or is about to."""
        return self.host.state in {ModelState.LOADING, ModelState.READY}

    @property
    def being_loaded(self) -> bool:
        """Whether those in its line wait for the model itself, and not for those before them."""
        return self.turns.held and self.host.state is not ModelState.READY

    @property
    def to_be_awaited(self) -> bool:
        """Whether it has answered before, is not in memory now, and comes back for whoever lines up."""
        return self.was_ready and self.turns.held and self.host.state is not ModelState.FAILED

    @contextmanager
    def place(self, reader: Reader, *, priority: Priority = Priority.CHAT) -> Iterator[Place]:
        """A place in its line; it is loaded meanwhile if need be.

        Raises ModelUnavailable at once where waiting would be in vain, and as
        `Turns.place` does.
        """
        self._want(self)
        with self.turns.place(reader, priority=priority) as place:
            yield place

    @asynccontextmanager
    async def turn(
        self, reader: Reader, *, priority: Priority = Priority.CHAT
    ) -> AsyncGenerator[Engine, None]:
        """The engine, when the turn has come. Raises as `place`, `Place.positions` and `engine_back`."""
        with self.place(reader, priority=priority) as place:
            async for _ in place.positions():
                pass
            yield await self.engine_back()

    def engine(self) -> Engine:
        """The engine, if it is ready now. Raises ModelUnavailable, with the reason, if it is not."""
        return self.host.engine()

    async def engine_back(self, within_s: float = BACK_WITHIN_S) -> Engine:
        """The engine, awaited for as long as one that ended is replaced. Raises as `engine` does."""
        try:
            return await self.host.engine_back(within_s)
        except ModelUnavailable as error:
            raise ModelUnavailable(self.problem or str(error)) from error
