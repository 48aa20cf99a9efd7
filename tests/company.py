"""Company: tests in two processes side by side, and those that must be alone.

`make test` gives the tests two processes (pytest-xdist), since most wait for a
child more than they compute; a file's tests stay together and in order. One
that measures time, or takes all that the machine has, is marked `alone`: it
begins when the test beside it has ended, and until it has ended none begins.
Knows nothing of what tests do. In one process there is nobody to wait for.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

# The locks are on files that are there anyway: nothing is left behind, and a process that dies lets go.
_GATE, _ROOM = Path(__file__), Path(__file__).with_name("conftest.py")


@contextlib.contextmanager
def keeping(*, alone: bool) -> Iterator[None]:
    """Hold the room, with the others or without."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with _ROOM.open() as room:
        # Through a gate one by one, so that whoever wants to be alone is not kept waiting by who comes later.
        with _GATE.open() as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
