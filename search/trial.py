"""A trial: one vector index opened and read through, in a process that may die of it.

After an end that was no end (a power cut, `kill -9`) there is no list of the
files to compare them with, and an engine that maps a file which was cut short
takes its whole process with it (SIGBUS). So it is tried here first:

    python -m search.trial FOLDER PARENT      exit code 0: it can be read; 3: it cannot

Its hard rule: only what is surely damage is called so (a slow disk is none, nor
is a child that ran out of memory), since everything is embedded again for it.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from library.errors import IndexUnavailable
from library.processes import die_with_parent

_LONGEST_S = 600
_CANNOT = 3
_DEATHS = (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)


def survives(folder: Path) -> bool:
    """Whether an index can be opened and read through, as far as can be told."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "search.trial", str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return done.returncode not in (_CANNOT, *(-of_it for of_it in _DEATHS))


def main(folder: str, parent: str) -> int:
    die_with_parent(int(parent))
    from search.vectors.edge_shard import read_through  # noqa: PLC0415 - only in the child
    from search.vectors.shards import Shards  # noqa: PLC0415

    try:
        shard = Shards(Path(folder)).current
        if shard is not None:
            read_through(shard)
    except IndexUnavailable:
        return _CANNOT
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
