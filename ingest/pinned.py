"""Pinned: the very file that was looked at, whatever is put in its place meanwhile.

Between looking at a path and opening it, a link to somebody else's file can be
put there. So a file is opened first and what was opened is checked; a reader
that wants a path gets one that leads to the open file and to nothing else.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def open_inside(root: Path, relative: str) -> BinaryIO:
    """Open a regular file of the library to read it.

    Raises OSError; FileNotFoundError also for what is no file of the library.
    """
    # O_NONBLOCK: a pipe put in the file's place would be waited for without end.
    number = os.open(root / relative, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    content = open(number, "rb", buffering=0)  # noqa: SIM115, PTH123 - handed on open
    try:
        really = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
        if stat.S_ISREG(os.fstat(number).st_mode) and is_inside(root, really):
            return content
    except BaseException:
        content.close()
        raise
    content.close()
    raise FileNotFoundError(2, "it is no file of the library", relative)


def is_inside(root: Path, real: str) -> bool:
    """Whether a path without links lies in the library."""
    return real.startswith(os.path.realpath(root).rstrip("/") + "/")


@contextmanager
def pinned(root: Path, relative: str, scratch: Path) -> Iterator[Path]:
    """A path in `scratch`, with the file's own name, to the open file. Raises as `open_inside` does."""
    with open_inside(root, relative) as content:
        path = scratch / Path(relative).name
        path.unlink(missing_ok=True)
        path.symlink_to(f"/proc/self/fd/{content.fileno()}")
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
