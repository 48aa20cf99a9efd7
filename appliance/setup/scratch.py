"""One set-up at a time, in a folder of scratch that never outlives it.

The lock is the kernel's: it goes when its last holder dies, however it dies.
The scratch is on the disk of what is being made, so that the last step is a
rename, and what a killed set-up left there is thrown away by the next.
"""

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from appliance.setup.progress import Progress

_PREFIX = ".setup-"


@contextlib.contextmanager
def alone(folder: Path, progress: Progress) -> Iterator[tuple[Path, int]]:
    """Hold `folder` against another set-up; gives a scratch folder in it, and the lock to hand to children."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("Another set-up is at work in this folder; waiting for it to end.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left_behind in folder.glob(f"{_PREFIX}*/"):
            shutil.rmtree(left_behind, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder) as scratch:
            yield Path(scratch), lock.fileno()
