"""A worker's process: started with its three pipes, told its orders, ended with all it started.

Knows processes and sockets, and neither when a worker is replaced
(`llm.engines.supervisor`) nor what it is asked. Its hard rule: of an engine's
log only what tells why it died is kept for others to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

from llm.engines.orders import Outcome, Refused, WorkerOrders

# sun_path of a Unix socket holds 108 bytes with its closing zero.
_MAX_SOCKET_PATH_BYTES = 107
_FOLDER_PREFIX, _SOCKET = "model-", "engine.sock"
# Of the engine's log only lines that tell why it died are repeated: others may
# hold words of a request.
_TELLING = re.compile(
    r"(?:error loading model: |clip_init: failed to load model '.*?': (?:\S+: )?"
    r"|mtmd_init_from_file: error: (?=mismatch))(?P<why>.+)"
    r"|(?P<line>.*(?:GGML_ASSERT|GGML_ABORT|terminate called|what\(\)|CUDA error|failed to allocate"
    r"|out of memory|couldn't bind|ModuleNotFoundError|ImportError).*)"
)


class WorkerProcess:
    """One child process with its three pipes, from start to end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._log: deque[str] = deque(maxlen=100)
        self._problem: str | None = None
        self._reading = asyncio.create_task(self._read_log())
        self._gone = asyncio.create_task(process.wait())

    @classmethod
    async def started(cls, command: tuple[str, ...]) -> WorkerProcess:
        """Start a process in a session of its own, so that it can be killed with all it started."""
        return cls(
            await asyncio.create_subprocess_exec(
                *command,
                cwd=Path(__file__).parents[2],  # where `-m llm.engines.worker` finds the code that runs here
                env={name: value for name, value in os.environ.items() if not name.startswith("ALMANAC_")},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        )

    async def obey(self, orders: WorkerOrders, timeout_s: float) -> Outcome | None:
        """Give the orders and wait for what comes of them; None if it died, or took too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(orders) + b"\n")
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            self._problem = f"it took longer than {timeout_s:g} s"
            return None
        try:
            outcome: Outcome = msgspec.json.decode(line, type=Outcome)
        except msgspec.MsgspecError:
            # It is dying: its last words and its exit code are on their way.
            await self.gone_within(1)
            await asyncio.wait({self._reading}, timeout=0.1)
            return None
        if isinstance(outcome, Refused):
            await asyncio.wait({self._reading}, timeout=1)
        return outcome

    async def gone_within(self, seconds: float) -> bool:
        await asyncio.wait({self._gone}, timeout=seconds)
        return self._gone.done()

    @property
    def gone(self) -> bool:
        return self._gone.done()

    @property
    def pid(self) -> int:
        return self._process.pid

    def why(self) -> str:
        """The reason of a failure, in as few words as there are."""
        told = [
            found.group("why") or found.group("line") for found in map(_TELLING.search, self._log) if found
        ]
        if told:
            return told[-1].strip().rstrip(".")[:300]
        code = self._process.returncode
        if self._problem or code is None:
            return self._problem or "the engine gave no reason"
        return f"its process ended with {signal.Signals(-code).name if code < 0 else f'code {code}'}"

    async def end(self, grace_s: float) -> None:
        """SIGTERM, SIGKILL after `grace_s`; returns when the process is gone and its pipes are closed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._signal(signal.SIGTERM)
        if not await self.gone_within(grace_s):
            self._signal(signal.SIGKILL)
            await self.gone_within(grace_s)
        # Pipes that are not read to their end stay open.
        rest = asyncio.create_task(self._process.stdout.read())
        await asyncio.wait({self._reading, rest}, timeout=0.5)
        self._reading.cancel()
        rest.cancel()

    def _signal(self, number: signal.Signals) -> None:
        # Only while the child is unreaped: afterwards its group's number may be another's.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def _read_log(self) -> None:
        """Read to the end, always: a full pipe would stop the engine in the middle of a word."""
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # a line of more than 64 KiB
                continue
            if not line:
                return
            self._log.append(line.decode(errors="replace"))


@contextlib.contextmanager
def socket_path(runtime_folder: Path) -> Iterator[Path]:
    """A path for one worker's socket, in a folder that only this account can enter."""
    runtime_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(runtime_folder)
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=runtime_folder))
    if len(os.fsencode(folder / _SOCKET)) > _MAX_SOCKET_PATH_BYTES:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="almanac-"))
    try:
        yield folder / _SOCKET
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(runtime_folder: Path) -> None:
    """Remove what a supervisor that was killed has left: sockets that nobody listens on."""
    for folder in runtime_folder.glob(f"{_FOLDER_PREFIX}*"):
        # FileNotFoundError: another supervisor's worker that has not come as far yet.
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(BlockingIOError, FileNotFoundError):
            probe.setblocking(False)
            try:
                probe.connect(str(folder / _SOCKET))
            except ConnectionRefusedError:
                shutil.rmtree(folder, ignore_errors=True)
