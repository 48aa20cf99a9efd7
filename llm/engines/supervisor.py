"""The supervisor: one model's worker, kept alive.

Knows how a worker is started, watched and ended, and nothing of what it is
asked. A model file is inspected here before any native code sees it. A worker
that crashes or hangs is replaced after a pause that grows from 0.5 to 30
seconds; one that fails again and again is left alone, with the reason.

Its hard rule: a worker never outlives its supervisor, and while there is no
worker ready, `engine()` says so in a sentence instead of waiting. A projector that is
broken, or that keeps the model from being loaded, costs it its eyes and nothing else.

    STOPPED ── start ──> LOADING ── listening ──> READY
                          │  ^ └─ refused, or 5 quick ends ──> FAILED
                          │  └──────── crashed, hung ───────────┘ (from READY)
    ABSENT: there is no model to start. stop() leads to STOPPED from anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from library.errors import ModelFileInvalid, ModelUnavailable
from llm.engines.choice import worker_of
from llm.engines.devices import gpu_nodes
from llm.engines.model_state import ModelState
from llm.engines.orders import Listening, Outcome, Refused, WorkerOrders
from llm.engines.spoken import Spoken
from llm.engines.worker_process import WorkerProcess, socket_path
from llm.model_files.card import inspect, inspect_served
from llm.model_files.eyes import NONE, Eyes
from llm.model_files.footprint import batch_tokens

if TYPE_CHECKING:
    from llm.engines.engine import Engine

log = logging.getLogger(__name__)

WHAT_TO_DO = "Put a .gguf file into the folder for chat models; search works without."


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is loaded, and when its worker is given up."""

    context_tokens: int = 4096  # for each slot; never more than the model was trained for
    parallel: int = 2  # slots: answers written at the same time
    threads: int | None = None  # None: as many as there are cores
    gpu_layers: int | None = None  # None: as many as fit into what the GPU has free
    load_timeout_s: float = 120
    silence_s: float = 600  # the longest the engine may take for its first word
    health_interval_s: float = 5
    health_timeout_s: float = 3
    unhealthy_after: int = 3  # unanswered health checks in a row
    steady_after_s: float = 60  # a worker that was ready this long is not a quick failure
    quick_failures: int = 5
    first_pause_s: float = 0.5
    longest_pause_s: float = 30
    grace_s: float = 2  # between SIGTERM and SIGKILL


class _Ended(msgspec.Struct, frozen=True):
    """How one worker's life ended."""

    reason: str
    ready_s: float  # how long it was ready; 0 if it never was
    final: bool = False  # starting it again cannot help
    blinded: bool = False  # it is started again in another way, which may well do


class Supervisor:
    """Owns the worker of one model file. All methods belong to one event loop."""

    def __init__(
        self,
        model_file: Path | None,
        runtime_folder: Path,
        settings: ModelSettings | None = None,
        *,
        absence: str = f"No chat model is installed. {WHAT_TO_DO}",
        worker: tuple[str, ...] | None = None,  # None: whichever the file's engine has
        eyes: Callable[[], Eyes] = lambda: NONE,
        on_spoken: Callable[[Spoken], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.model_id = model_file.stem if model_file else None
        self.absence = absence  # why there is no file to load, as a sentence
        self.settled = asyncio.Event()  # set whenever the state is not LOADING
        self._model_file = model_file.absolute() if model_file else None
        self._runtime_folder = runtime_folder
        self._settings = settings or ModelSettings()
        self._command, self._on_spoken = worker, on_spoken
        self._look_for_eyes, self._eyes = eyes, NONE
        self._clock, self._sleep, self._jitter = clock, sleep, jitter
        self._engine: Engine | None = None
        self._worker: WorkerProcess | None = None
        self._device: str | None = None
        self._gpu_layers = self._settings.gpu_layers
        self._task: asyncio.Task[None] | None = None
        self._cancelled: asyncio.Task[None] | None = None
        self._become(ModelState.STOPPED, "The model has not been started yet.")
        if self._model_file is None:
            self._become_absent()

    @property
    def model_file(self) -> Path | None:
        return self._model_file

    @property
    def state(self) -> ModelState:
        return self._state

    @property
    def device(self) -> str | None:
        """What the engine computes on, as it said when it had loaded the model."""
        return self._device

    @property
    def eyes(self) -> Eyes:
        """What it was last loaded with, or why without."""
        return self._eyes

    @property
    def pid(self) -> int | None:
        """The worker's, while there is one."""
        return None if self._worker is None else self._worker.pid

    @property
    def reason(self) -> str | None:
        """Why the model is not ready, as a sentence; None when it is."""
        return self._reason

    def engine(self) -> Engine:
        """The engine, if it is ready now. Raises ModelUnavailable, with the reason, if it is not."""
        if self._engine is None:
            raise ModelUnavailable(self._reason or "The model is not ready.")
        return self._engine

    async def engine_back(self, within_s: float) -> Engine:
        """The engine, awaited for as long as a worker that ended is replaced. Raises as `engine` does."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.settled.wait()
        return self.engine()

    async def start(self) -> None:
        """Begin to load the model, and return at once. Does nothing while it is loading or ready."""
        if self._task is not None and not self._task.done():
            return
        if self._model_file is None or not self._model_file.exists():
            self._become_absent()
            return
        self._become(ModelState.LOADING, f"The model {self.model_id} is being loaded.")
        self._gpu_layers = self._settings.gpu_layers
        self._eyes = self._look_for_eyes()
        self._task = asyncio.create_task(self._keep(self._model_file), name=f"model {self.model_id}")

    async def stop(self) -> None:
        """End the worker, answers under way included; at most 5 s. May be called twice, or at once by two."""
        if self._state is not ModelState.ABSENT:
            self._become(ModelState.STOPPED, "The model has been stopped.")
        task = self._task
        if task is None:
            return
        # A second cancel would interrupt the first one's tidying up. `task.cancelling()` does not
        # tell: it is true as well for a moment when a timeout within the task has run out.
        if self._cancelled is not task:
            self._cancelled = task
            task.cancel()
        await asyncio.wait({task})

    async def _keep(self, model_file: Path) -> None:
        """One worker after the other, until one is refused, too many failed, or stop()."""
        failures = 0
        while True:
            try:
                ended = await self._live(model_file, first=failures == 0)
            except Exception:
                log.exception("The supervisor of %s failed.", self.model_id)
                ended = _Ended("Something unforeseen happened; Almanac's log says what.", 0, final=True)
            self._engine = None
            if ended.blinded:
                log.warning("%s", ended.reason)
                continue
            failures = 1 if ended.ready_s >= self._settings.steady_after_s else failures + 1
            if ended.final or failures >= self._settings.quick_failures:
                again = "" if ended.final else f" It was started {failures} times."
                log.error("The model %s is given up: %s", self.model_id, ended.reason)
                self._become(ModelState.FAILED, ended.reason + again)
                return
            log.warning("The model %s is started again: %s", self.model_id, ended.reason)
            self._become(ModelState.LOADING, f"{ended.reason} It is being started again.")
            await self._sleep(self._pause_s(failures))

    def _pause_s(self, failures: int) -> float:
        """Doubles with each failure; the jitter takes up to half of it off."""
        longest = min(self._settings.longest_pause_s, self._settings.first_pause_s * 2.0 ** (failures - 1))
        return longest * (1 - self._jitter() / 2)

    async def _live(self, model_file: Path, *, first: bool) -> _Ended:
        """One worker from its start to its end."""
        try:
            card = await asyncio.to_thread(inspect_served, model_file)
            await asyncio.to_thread(self._inspect_projector)
            command = self._command
            if command is None:
                command = await asyncio.to_thread(worker_of, card, model_file)
        except (ModelFileInvalid, ModelUnavailable) as error:
            return _Ended(str(error), 0, final=True)
        context_tokens = min(self._settings.context_tokens, card.context_tokens or 2**31)
        try:
            with socket_path(self._runtime_folder) as path:
                orders = WorkerOrders(
                    model_file=str(model_file),
                    projector=str(self._eyes.projector.file)
                    if self._eyes.projector and self._eyes.see
                    else "",
                    model_id=model_file.stem,
                    socket=str(path),
                    key=secrets.token_hex(32),
                    kind=card.kind,
                    context_tokens=context_tokens,
                    batch_tokens=batch_tokens(card, context_tokens),
                    parallel=self._settings.parallel,
                    threads=self._settings.threads or 0,
                    gpu_layers=-1 if self._gpu_layers is None else self._gpu_layers,
                    parent=os.getpid(),
                )
                self._worker = worker = await WorkerProcess.started(command)
                try:
                    return await self._serve(worker, orders, first=first)
                finally:
                    self._engine = self._worker = self._device = None
                    await worker.end(self._settings.grace_s)
        except OSError as error:
            return _Ended(f"The model's process could not be started: {error.strerror or error}.", 0)

    async def _serve(self, worker: WorkerProcess, orders: WorkerOrders, *, first: bool) -> _Ended:
        """Have the worker load the model; then hand out its engine for as long as it is well."""
        # While the worker loads: its client library is a tenth of a second that
        # the first page need not wait for.
        from llm.engines.engine import Engine  # noqa: PLC0415

        outcome = await worker.obey(orders, self._settings.load_timeout_s)
        if not isinstance(outcome, Listening):
            reason = f"The model {orders.model_id} could not be loaded: {worker.why()}."
            if orders.projector:
                return _Ended(self._blinded(worker.why()), 0, blinded=True)
            if self._may_do_without_gpu(outcome):
                log.warning("%s It is tried again without the GPU, and will be slower.", reason)
                self._gpu_layers, self._eyes = 0, self._look_for_eyes()  # which may have been innocent
                return _Ended(reason, 0)
            return _Ended(reason, 0, final=first and isinstance(outcome, Refused))
        engine = Engine.on_socket(
            orders.model_id,
            orders.context_tokens,
            socket=Path(orders.socket),
            key=orders.key,
            silence_s=self._settings.silence_s,
            on_spoken=self._on_spoken,
        )
        try:
            self._engine = engine
            self._become(ModelState.READY, None)
            self._device = outcome.device
            log.info("The model %s is ready: %s, on %s.", orders.model_id, outcome.engine, outcome.device)
            ready_at = self._clock()
            reason = await self._until_ill(worker, engine)
            # Before the worker is ended, which may take seconds: who asks meanwhile waits for the next.
            self._become(ModelState.LOADING, f"{reason} It is being started again.")
            return _Ended(reason, self._clock() - ready_at)
        finally:
            self._engine = None
            await engine.aclose()

    def _inspect_projector(self) -> None:
        projector = self._eyes.projector if self._eyes.see else None
        if projector is not None:
            try:
                inspect(projector.file)
            except ModelFileInvalid as error:  # it has changed since it was chosen
                self._eyes = Eyes(projector, f"It sees no pictures: its projector cannot be used. {error}")

    def _blinded(self, why: str) -> str:
        """Go on without the projector: it may be what the engine refuses, or dies of."""
        assert self._eyes.projector is not None
        path = self._eyes.projector.path
        says = f"It sees no pictures: with {path}, its projector, it could not be loaded ({why})."
        self._eyes = Eyes(self._eyes.projector, says)
        return f"The chat model {self.model_id} is loaded without its projector {path}: {why}."

    def _may_do_without_gpu(self, outcome: Outcome | None) -> bool:
        """Whether the GPU may be what kept a model from being loaded: its memory too small, its driver broken."""
        died = outcome is None and bool(gpu_nodes())  # a worker that dies does not say of what
        return self._gpu_layers != 0 and (died or (isinstance(outcome, Refused) and outcome.gpu))

    async def _until_ill(self, worker: WorkerProcess, engine: Engine) -> str:
        missed = 0
        while not await worker.gone_within(self._settings.health_interval_s):
            well = await engine.healthy(within_s=self._settings.health_timeout_s)
            missed = 0 if well else missed + 1
            if missed >= self._settings.unhealthy_after and not worker.gone:
                return "The model hung: it no longer answered."
        return f"The model stopped by itself: {worker.why()}."

    def _become(self, state: ModelState, reason: str | None) -> None:
        self._state, self._reason = state, reason
        if state is ModelState.LOADING:
            self.settled.clear()
        else:
            self.settled.set()

    def _become_absent(self) -> None:
        if self._model_file is not None:
            # Not its path: others in the house read it.
            self.absence = f"The file {self._model_file.name} is not there. {WHAT_TO_DO}"
        self._become(ModelState.ABSENT, self.absence)
