"""A trial: one vector index opened and read through, in a process that may die of it.

After an end that was no end (a power cut, `kill -9`) there is no list of the
files to compare them with, and an engine that maps a file which was cut short
takes its whole process with it (SIGBUS). So it is tried here first:

    python -m search.trial FOLDER PARENT      exit code 0: it can be read
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from library.errors import IndexUnavailable
from library.processes import die_with_parent

_LONGEST_S = 600


def survives(folder: Path) -> bool:
    """Whether an index can be opened and read through."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "search.trial", str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


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
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
