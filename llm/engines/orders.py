"""Orders: what a model worker is told and what it tells, and how its life begins and ends.

The same for every engine: one line of orders on standard input, one line of
outcome on standard output, and everything else (the engine's own log) on
standard error. Knows no engine.

Its hard rule: a worker outlives nobody. SIGTERM, the end of standard input or
the death of its parent end it at once, without the engine's destructors: there
is nothing to save, and the kernel gives back more memory than they do.
"""

import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import msgspec

from library.processes import die_with_parent
from llm.model_files.card import Kind

# Libraries that know a hub, or count who uses them, ask nobody.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


class WorkerOrders(msgspec.Struct, frozen=True):
    """What the parent says on standard input, as one line of JSON.

    Not on the command line and not in the environment: other accounts of the
    machine can read the first, crash reports the second, and the key is secret.
    """

    model_file: str
    kind: Kind  # what it is asked for: text, vectors or scores
    projector: str  # what it sees with; "": nothing
    model_id: str  # what answers call the model; without it the engine tells its file's path
    socket: str  # in a folder that only this account can enter; must end in .sock
    key: str
    context_tokens: int  # for each slot
    batch_tokens: int  # read at once; a text that cannot be cut is never longer
    parallel: int  # slots: answers written at the same time
    threads: int  # 0: as many as there are cores
    gpu_layers: int  # -1: as many as fit into what a GPU has free; without a GPU it means nothing
    parent: int  # the pid of who gives these orders


class Listening(msgspec.Struct, frozen=True, tag="listening"):
    """The model is loaded and the socket answers."""

    engine: str
    device: str = "CPU"  # what it computes on, in words


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The engine will not load this file, now or later."""

    reason: str
    gpu: bool = False  # it was to compute on one, and may manage without


Outcome = Listening | Refused


def received(environment: Mapping[str, str]) -> tuple[WorkerOrders, Callable[[Outcome], None]]:
    """The orders, and how to tell what came of them, once.

    `environment` is what the engine's libraries read there, unless it is set
    already. Nothing is said when the parent dies before it has given its orders:
    that ends the worker, too.
    """
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerOrders)
    die_with_parent(orders.parent)
    # Ctrl-C in a terminal reaches the whole group; the parent decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A core dump would hold every conversation of the day.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    # Native code prints where it likes: from here on, standard output is the log as well.
    parent = os.dup(1)
    os.dup2(2, 1)
    for name, value in (_OFFLINE | dict(environment)).items():
        os.environ.setdefault(name, value)

    def tell(outcome: Outcome) -> None:
        os.write(parent, msgspec.json.encode(outcome) + b"\n")
        os.close(parent)

    return orders, tell


def until_told_to_stop() -> NoReturn:
    """Wait in the main thread, while others serve; then exit code 0.

    Until here SIGTERM keeps its default action: an engine may hold the interpreter
    while it loads, and a handler in Python would have had to wait for it.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    sys.stdin.buffer.read()
    os._exit(0)


def cores() -> int:
    """Cores this process may use: its affinity, without the second thread of a core.

    Hyper-threads share the units that multiply matrices; using both is slower.
    """
    if sys.platform != "linux":
        return os.cpu_count() or 1
    usable = os.sched_getaffinity(0)
    siblings = set()
    for cpu in usable:
        listed = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(listed.read_text())
        except OSError:
            return len(usable)
    return len(siblings)
