"""A trial: one vector index opened and read through, in a process that may die of it.

After an end that was no end (a power cut, `kill -9`) there is no list of the
files to compare them with, and an engine that maps a file which was cut short
takes its whole process with it (SIGBUS). So it is tried here first:

    python -m search.trial FOLDER PARENT      exit code 0: it can be read; 3: it cannot

Its hard rule: only what is surely damage is called so (a slow disk is none, nor
is a child that ran out of memory), since everything is embedded again for it.
"""

import json
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
    from search.vectors import VectorIndex  # noqa: PLC0415 - only in the child

    try:
        described = json.loads((Path(folder) / "edge_config.json").read_text())
        dimensions = int(described["vectors"][""]["size"])
        index = VectorIndex(Path(folder), dimensions=dimensions)
        # Without a graph over them, the nearest is found by looking at every vector.
        index.search([dimensions**-0.5] * dimensions, limit=10)
        index.close()
    except (IndexUnavailable, OSError, ValueError, KeyError, TypeError):
        return _CANNOT
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
