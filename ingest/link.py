"""The link to a worker: starts it, talks to it, ends it when it misbehaves.

Knows processes and the wire, not what is read or embedded. Its hard rule: a
call returns a reply or raises WorkerLost within its time limit, and after
WorkerLost the next call starts a fresh worker.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import msgspec

from ingest.wire import Reply, Request, Wire, WorkerOrders

_LOOK_EVERY_S = 0.5


class WorkerLost(Exception):
    """The worker died, hung or answered nonsense. `str()` ends a sentence: "… it crashed"."""

    def __init__(self, how: str, *, killed: bool = False, closed: bool = False) -> None:
        super().__init__(how)
        self.killed = killed  # from outside: by a person, or by the kernel when memory ran out
        self.closed = closed  # by us, for good: it says nothing about what it was at


class WorkerLink:
    """One worker, started when it is first needed. Used by one thread at a time."""

    def __init__(self, orders: WorkerOrders, *, timeout_s: float, module: str = "ingest.worker") -> None:
        """`timeout_s` bounds each reply. `orders.socket_fd` and `.parent` are filled in at each start."""
        self._module = module
        self._orders, self._timeout_s = orders, timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None
        self._under_way = 0  # requests that this very worker was sent and has not answered
        self._changing = threading.Lock()
        self._closed = False
        self._halted_at: float | None = None
        self._halted_s = 0.0  # of the reply that is waited for

    @property
    def pid(self) -> int | None:
        """The running worker's process id, or None."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def send(self, request: Request) -> None:
        """Hand over a request; several may be under way, and are answered in order. Raises WorkerLost.

        Also when the worker has died over earlier ones: a fresh worker knows
        nothing of those, and its reply would be taken for theirs.
        """
        alive = self.pid is not None
        if not alive and self._under_way:
            raise self._lost(EOFError("it died over an earlier request"))
        wire = self._wire if alive and self._wire is not None else self._start()
        try:
            wire.send(request)
        except OSError as error:
            raise self._lost(error) from error
        self._under_way += 1

    def receive(self) -> Reply:
        """The reply to the oldest request under way. Raises WorkerLost."""
        wire = self._wire
        if wire is None:
            raise WorkerLost("the worker was not running")
        try:
            self._wait_for_reply(wire)
            reply = wire.receive_reply()
        except (OSError, EOFError, ValueError, msgspec.MsgspecError) as error:
            raise self._lost(error) from error
        self._under_way -= 1
        return reply

    def halt(self) -> None:
        """Hold the worker where it stands, until `go_on`. The time does not count against its limit.

        One that is started meanwhile runs until the next halt: it loads its libraries, and then is held.
        """
        with self._changing:
            if self._halted_at is None:
                self._halted_at = time.monotonic()
                self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        with self._changing:
            if self._halted_at is not None:
                self._halted_s += time.monotonic() - self._halted_at
                self._halted_at = None
                self._signal(signal.SIGCONT)

    def call(self, request: Request) -> Reply:
        self.send(request)
        return self.receive()

    def restart(self) -> None:
        """End the worker; the next call starts a fresh one."""
        with self._changing:
            self._end()

    def close(self) -> None:
        """End the worker for good. Safe from any thread; a call under way or to come raises WorkerLost."""
        with self._changing:
            self._closed = True
            self._end()

    def _wait_for_reply(self, wire: Wire) -> None:
        """Return when something has come. Raises TimeoutError past the limit, halts not counted."""
        self._halted_s, began = 0.0, time.monotonic()
        while not wire.wait(_LOOK_EVERY_S):
            halted_at = self._halted_at
            halted_s = self._halted_s + (time.monotonic() - halted_at if halted_at is not None else 0)
            if time.monotonic() - began - halted_s > self._timeout_s:
                raise TimeoutError

    def _signal(self, number: int) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(number)

    def _end(self) -> None:
        process, wire = self._process, self._wire
        self._process = self._wire = None
        self._under_way = 0
        if process is not None:
            process.kill()
            process.wait()
        if wire is not None:
            wire.close()

    def _start(self) -> Wire:
        with self._changing:
            if self._closed:
                raise WorkerLost("the worker was closed", closed=True)
            self._end()
            return self._spawn()

    def _spawn(self) -> Wire:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1024 * 1024)
        ours.settimeout(self._timeout_s)
        orders = msgspec.structs.replace(self._orders, socket_fd=theirs.fileno(), parent=os.getpid())
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, msgspec.json.encode(orders).decode()],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_quiet_environment(),
                start_new_session=True,
            )
        self._wire = Wire(ours)
        return self._wire

    def _lost(self, error: Exception) -> WorkerLost:
        process = self._process
        if isinstance(error, TimeoutError):
            self.restart()
            return WorkerLost(f"it took longer than {self._timeout_s:.0f} s")
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)  # the kernel closes the socket a moment before it reaps
        code = process.poll() if process is not None else None
        self.restart()
        if self._closed:
            return WorkerLost("the worker was closed", closed=True)
        if code is not None and code < 0:
            killed = -code in (signal.SIGKILL, signal.SIGTERM)
            return WorkerLost(f"it crashed the reader ({signal.Signals(-code).name})", killed=killed)
        return WorkerLost("it crashed the reader" if code else "the reader was stopped")


def _quiet_environment() -> dict[str, str]:
    """The child's environment: ours, and no library in it reaches out or starts threads of its own."""
    return os.environ | {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }
