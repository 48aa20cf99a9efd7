"""A child's life: what every worker does, whatever it is asked.

It lowers its own limits, answers requests in order until the parent closes its
end, and leaves nothing behind, no word of a file in the log either. Knows no
request.
"""

import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from types import TracebackType

from ingest.wire import Reply, Request, Wire, WorkerOrders
from library.processes import die_with_parent


def serve(orders: WorkerOrders, answer: Callable[[Request], Reply]) -> None:
    """Answer requests until the parent closes its end."""
    die_with_parent(orders.parent)
    sys.excepthook = _without_words
    # Ctrl-C in a terminal reaches the whole group; the parent decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(orders.nice)
    if orders.memory_mib:
        limit = orders.memory_mib * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # A crash leaves its reason with the parent, not gigabytes on the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=orders.socket_fd) as end:
        wire = Wire(end)
        while True:
            try:
                request = wire.receive_request()
            except EOFError:
                return
            wire.send(answer(request))


def _without_words(kind: type[BaseException], _: BaseException, trace: TracebackType | None) -> None:
    """What a crash leaves on standard error: its places and its kind. Its message may quote the file."""
    traceback.print_tb(trace)
    print(kind.__qualname__, file=sys.stderr)
