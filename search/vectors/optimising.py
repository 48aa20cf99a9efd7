"""Optimising: a shard's graph, built by a child process on a copy of the shard.

Edge's `optimize()` holds the interpreter for as long as it runs, minutes for a
million vectors, so its hard rule: it is only ever called in a process of its
own, at the lowest priority, that dies with the house. Started by `Optimiser`
as `python -m search.vectors.optimising`; knows a folder and nothing else.
"""

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

from library.errors import IndexUnavailable
from library.processes import die_with_parent
from search.vectors.shards import sync


class Optimiser:
    """One child at a time."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._changing = threading.Lock()
        self._halted = self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the child that is at work, or None."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def run(self, shard: Path) -> None:
        """Build that shard's graph; it is open nowhere. Raises IndexUnavailable when the child does not end well.

        Called from a thread that lives until it returns: the kernel ends the
        child with the thread that started it.
        """
        with self._changing:
            if self._closed:
                raise IndexUnavailable("The vector index is closed.")
            child = self._child = subprocess.Popen(
                [sys.executable, "-m", "search.vectors.optimising", str(shard), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            if self._halted:
                child.send_signal(signal.SIGSTOP)
        _, said = child.communicate()
        if child.returncode:
            last = said.decode(errors="replace").strip().rpartition("\n")[2][:300]
            raise IndexUnavailable(
                f"the process that builds its graph ended early ({last or child.returncode})."
            )

    def halt(self) -> None:
        """Hold the child where it stands, until `go_on`: somebody waits for an answer."""
        self._signal(signal.SIGSTOP, halted=True)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT, halted=False)

    def close(self) -> None:
        """End the child; `run` raises."""
        with self._changing:
            self._closed = True
            if self._child is not None and self._child.poll() is None:
                self._child.kill()

    def _signal(self, number: int, *, halted: bool) -> None:
        with self._changing:
            self._halted = halted
            if self._child is not None and self._child.poll() is None:
                self._child.send_signal(number)


def main(shard: Path, parent: int) -> None:
    """The child: build the graph, and have all of it on the disk before saying so."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Here, so that the house itself never loads it through this module.
    from search.vectors.edge_shard import optimise  # noqa: PLC0415

    optimise(shard)
    for path in (*shard.rglob("*"), shard, shard.parent):
        sync(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
