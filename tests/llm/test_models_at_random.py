"""The house of models under whatever comes: who waits is answered or told why, and no line stays held."""

import asyncio
import os
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from library.errors import AlmanacError
from llm.engines.model_state import ModelState
from llm.model_files.registry import Registry
from llm.serving import room as under_test
from llm.serving.models import Models
from llm.serving.queue import QueueSettings, Reader
from llm.serving.room import Residence
from llm.serving.served import ServedModel
from tests.llm.gguf_files import WHOLE
from tests.llm.test_models import FakeHost, FakeMemory

NAMES = "abcd"
STEPS = 150


class FickleHost(FakeHost):
    """Takes its time, breaks while it loads or when it is ready, and comes back or does not."""

    dice: random.Random

    async def start(self) -> None:
        if self.state in {ModelState.READY, ModelState.LOADING, ModelState.ABSENT}:
            return
        self.settled.clear()
        self.state, self.reason = ModelState.LOADING, "loading"
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(self.dice.random() * 0.004, self._loaded)

    def _loaded(self) -> None:
        if self.state is ModelState.LOADING:
            broken = self.dice.random() < 0.1
            self.state = ModelState.FAILED if broken else ModelState.READY
            self.reason = "broken" if broken else None
            self.settled.set()

    def crash(self) -> None:
        if self.state is ModelState.READY:
            self.state, self.reason = ModelState.LOADING, "crashed"
            self.settled.clear()
            asyncio.get_running_loop().call_later(self.dice.random() * 0.004, self._loaded)

    async def engine_back(self, within_s: float) -> Any:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.settled.wait()
        return self.engine()

    async def stop(self) -> None:
        if self.state is not ModelState.ABSENT:
            self.state, self.reason = ModelState.STOPPED, "stopped"
            self.settled.set()
        await asyncio.sleep(self.dice.random() * 0.002)


class Play:
    def __init__(self, seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dice = random.Random(seed)
        for name in NAMES:
            file = folder / f"{name}.gguf"
            file.write_bytes(WHOLE)
            os.utime(file, (time.time() - 60,) * 2)
        self.registry = Registry(folder)
        self.registry.look()
        self.hosts: list[FickleHost] = []
        self.inside: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.faults: list[str] = []
        self._footprint = under_test.footprint
        monkeypatch.setattr(under_test, "footprint", self._needed)

    def _needed(self, card: Any, slots: Any) -> Any:
        if self.dice.random() < 0.03:
            raise OSError("the disk is gone")
        return self._footprint(card, slots)

    def _open(self, file: Path | None) -> FickleHost:
        host = FickleHost(file, [], set())
        host.dice = self.dice
        self.hosts.append(host)
        return host

    async def client(self, house: Models, name: str) -> None:
        with suppress(AlmanacError):
            model = house.named(name)
            async with model.turn(Reader(self.dice.choice("xyz"))) as engine:
                self.inside[name] += 1
                try:
                    if engine != name or self.inside[name] > model.turns.slots:
                        self.faults.append(f"{engine} for {name}, {self.inside[name]} at once")
                    await asyncio.sleep(self.dice.random() * 0.003)
                finally:
                    self.inside[name] -= 1

    def step(self, house: Models, tasks: list[asyncio.Task[None]]) -> None:
        name, what = self.dice.choice(NAMES), self.dice.random()
        if what < 0.6:
            tasks.append(asyncio.create_task(self.client(house, name)))
        elif what < 0.75 and tasks:
            self.dice.choice(tasks).cancel()
        elif what < 0.8:
            house.bring(name, insisted=self.dice.random() < 0.5)
        elif what < 0.86:
            house.let_go(name, now=self.dice.random() < 0.5)
        elif what < 0.92:
            house.use(name)
        else:
            self.dice.choice(self.hosts).crash()

    async def whole(self, *, stopping: bool) -> None:
        house = Models(
            self.registry,
            FakeMemory(),
            self._open,
            lambda: self.registry.chat_models()[0].file,
            queue=QueueSettings(),
            residence=Residence(at_once=2, memory_bytes=2**40),
        )
        await house.start()
        tasks: list[asyncio.Task[None]] = []
        for _ in range(STEPS):
            self.step(house, tasks)
            await asyncio.sleep(self.dice.choice((0, 0, 0.001, 0.003)))
            loaded = [model for model in house.served() if model.loaded]
            if len(loaded) > 2 and not house._insisted:
                self.faults.append(f"{len(loaded)} are loaded")
        if stopping:
            house.close()
            await house.stop()
        _, waiting = await asyncio.wait(tasks, timeout=5)
        if not stopping:
            async with asyncio.timeout(5):
                while len(house._tasks) > 1:  # noqa: ASYNC110 - but for the watch
                    await asyncio.sleep(0.005)
            self.faults += [f"{model.id} is held" for model in house.served() if _lost(model)]
            await house.stop()
        self.faults += [f"{len(waiting)} wait for ever"] if waiting else []
        for model in house.served():
            assert (model.turns.running, model.turns.waiting) == (0, 0)
            assert stopping is False or not model.loaded


def _lost(model: ServedModel) -> bool:
    return model.host.state is ModelState.READY and model.turns.held


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("stopping", [False, True])
def test_nobody_is_forgotten_and_no_line_stays_held(
    seed: int, stopping: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(seed, tmp_path, monkeypatch)
    asyncio.run(asyncio.wait_for(play.whole(stopping=stopping), 60))
    assert not play.faults
