"""The model worker: a disposable child that hosts the engine on a Unix socket.

Started by `llm.supervisor` as `python -m llm.worker`. It speaks the OpenAI
wire format on its socket, reads one line of orders on standard input, writes
one line of outcome on standard output, and everything else (the engine's own
log) on standard error. With `llm.devices` it is the only module that imports the engine.

Its hard rule: it outlives nobody. SIGTERM, the end of standard input or the
death of its parent end it at once, without the engine's destructors: there is
nothing to save, and the kernel gives back more memory than they do.
"""

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from library.processes import die_with_parent
from llm.devices import gpus, on_device

# Prompts kept in memory for their next turn, so that a conversation is not read
# anew with each question. The engine's own default is 8 GiB, which is a leak by
# another name on a home server.
PROMPT_CACHE_MIB = 256

_ENVIRONMENT = {
    # How often a thread looks whether the others are done before it sleeps, in the
    # engine's OpenMP. Its default of 300,000 ends in threads that spin on a core
    # which the others need, as soon as anything else runs on the machine. 2 cores,
    # 135M parameters, tok/s alone and beside one busy process at nice 19:
    # 300,000: 148, 12. 1,000: 155, 34. 300: 141, 62. 0: 47, 80.
    "GOMP_SPINCOUNT": "1000",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}


class WorkerOrders(msgspec.Struct, frozen=True):
    """What the parent says on standard input, as one line of JSON.

    Not on the command line and not in the environment: other accounts of the
    machine can read the first, crash reports the second, and the key is secret.
    """

    model_file: str
    model_id: str  # what answers call the model; without it the engine tells its file's path
    socket: str  # in a folder that only this account can enter; must end in .sock
    key: str
    context_tokens: int  # for each slot
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


def main() -> None:
    """Serve until told to stop: exit code 0. Exit code 1 when the engine refuses the model."""
    # Nothing is said when the parent dies before it has given its orders: that ends here too.
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
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        _engine, listening = _load(orders)  # the name keeps it alive
    except RuntimeError as error:
        _tell(parent, Refused(str(error), gpu=orders.gpu_layers != 0 and bool(gpus())))
        sys.exit(1)
    # Until here SIGTERM kept its default action: the engine holds the interpreter
    # while it loads, and a handler in Python would have had to wait for it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    _tell(parent, listening)
    sys.stdin.buffer.read()
    os._exit(0)


def _load(orders: WorkerOrders) -> tuple[Any, Listening]:
    """Load the model and answer on the socket, from threads of the engine's own."""
    import xllamacpp  # noqa: PLC0415  (libgomp reads the environment when it is loaded)

    asked = xllamacpp.CommonParams()
    asked.model.path = orders.model_file
    asked.model_alias = {orders.model_id}
    asked.hostnames = [orders.socket]
    asked.port = 0
    asked.api_keys = [orders.key]
    # The engine divides its context by its slots; each is promised the whole of ours.
    # A pool shared by all (`kv_unified`) would promise it to one at a time only.
    asked.n_ctx = orders.context_tokens * orders.parallel
    asked.n_parallel = orders.parallel
    asked.cache_ram_mib = PROMPT_CACHE_MIB
    # Between two batches, and only there, the engine looks whether somebody has left,
    # and writes the next word of its other answers. By default it reads four times as much at once.
    asked.n_batch = asked.n_ubatch
    asked.n_gpu_layers = orders.gpu_layers  # with -1 the engine itself measures what fits
    asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = orders.threads or _cores()
    asked.verbosity = 1  # errors; anything above writes down the prompts
    asked.offline = True
    asked.cors_origins = ""
    asked.ui = asked.endpoint_slots = asked.endpoint_props = asked.endpoint_metrics = False
    server = xllamacpp.Server(asked)
    return server, Listening(f"xllamacpp {xllamacpp.__version__}", on_device(orders.gpu_layers, gpus()))


def _cores() -> int:
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


def _tell(parent: int, outcome: Outcome) -> None:
    os.write(parent, msgspec.json.encode(outcome) + b"\n")
    os.close(parent)


if __name__ == "__main__":
    main()
