"""Digests: the SHA-256 of files that may have forty gigabytes, taken once.

Remembered with the file's size and time, in memory and in one small JSON file;
whatever is wrong with that file, nothing is remembered and the digest is taken
again. Two processes may write it: the last one wins, and the other's are taken
again some day.
"""

import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from library.errors import Busy, ModelFileInvalid

log = logging.getLogger(__name__)

_PIECE_BYTES = 2**20
_MOST_ASKING = 4

# (size, time in ns) of each file
Stamp = tuple[tuple[int, int], ...]


class _Remembered(msgspec.Struct, frozen=True):
    stamp: Stamp
    digest: str


class Digests:
    """All methods may be called from any thread."""

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        # One is read at a time, and few wait for it: who waits has a thread of all that there are.
        self._taking, self._asking = threading.Lock(), threading.BoundedSemaphore(_MOST_ASKING)
        self._known = _read(memory) if memory else {}

    def known(self, files: Sequence[Path]) -> str | None:
        """The digest of these files one after the other, if it was taken since they changed."""
        with self._lock:
            remembered = self._known.get(_key(files))
        try:
            return remembered.digest if remembered and remembered.stamp == _stamp(files) else None
        except OSError:
            return None

    def take(self, files: Sequence[Path]) -> str:
        """The same, read if need be: seconds for each gigabyte. Raises ModelFileInvalid, and Busy where many ask."""
        if known := self.known(files):
            return known
        if not self._asking.acquire(blocking=False):
            raise Busy("Several model files are being read already. Ask again in a minute.")
        try:
            with self._taking:
                return self.known(files) or self._taken(files)
        finally:
            self._asking.release()

    def _taken(self, files: Sequence[Path]) -> str:
        try:
            before = _stamp(files)
            digest = _digest(files)
            if _stamp(files) != before:
                raise ModelFileInvalid(f"{files[0].name} changed while it was read. Wait until it is copied.")
        except OSError as error:
            raise ModelFileInvalid(f"{files[0].name} cannot be read ({error.strerror}).") from error
        with self._lock:
            self._known[_key(files)] = _Remembered(before, digest)
            if self._memory:
                _write(self._memory, self._known)
        return digest


def _key(files: Sequence[Path]) -> str:
    return os.fsencode(files[0].absolute()).decode(errors="backslashreplace")


def _stamp(files: Sequence[Path]) -> Stamp:
    return tuple((status.st_size, status.st_mtime_ns) for status in (file.stat() for file in files))


def _digest(files: Sequence[Path]) -> str:
    digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE_BYTES))
    for file in files:
        with file.open("rb", buffering=0) as opened:
            while count := opened.readinto(piece):
                digest.update(piece[:count])
            if hasattr(os, "posix_fadvise"):
                # Forty gigabytes read once would push everything else out of the page cache.
                # What the engine has mapped stays.
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()


def _read(memory: Path) -> dict[str, _Remembered]:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, _Remembered])
    except (OSError, msgspec.MsgspecError):
        return {}


def _write(memory: Path, known: dict[str, _Remembered]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=memory.parent, prefix=".digests-", delete=False) as file:
            file.write(msgspec.json.encode(known))
        try:
            Path(file.name).replace(memory)
        except OSError:
            with suppress(OSError):
                Path(file.name).unlink()
            raise
    except OSError as error:
        log.warning("Digests of model files cannot be remembered: %s.", error.strerror)
