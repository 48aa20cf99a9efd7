"""Shards: the folders that an index in this process has on the disk, and which of them counts.

    index.json      {"shard": "shard-3", "labels": 2}: the one that counts, and its payload's version
    shard-3/        a Qdrant Edge shard
    shard-4/        one that is being built; whoever finds it after a restart deletes it

Knows files and nothing of vectors. Its hard rule: `index.json` is replaced in
one step, and only after everything it names is on the disk, so that a power
cut leaves the shard before or the shard after, each of them whole.

Before there was an `index.json`, the shard lay in the folder itself; such a
one is served from there until another takes its place.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from library.errors import IndexUnavailable

_NOTE = "index.json"
_EDGE = "edge_config.json"  # by it Edge itself knows a shard


class _Note(msgspec.Struct):
    shard: str  # "." for a shard from before there were notes
    labels: int


class Shards:
    """The folder of one index. One per process and path."""

    def __init__(self, folder: Path) -> None:
        """Raises IndexUnavailable when the note cannot be read."""
        self._folder = folder
        self._note = self._read()

    @property
    def current(self) -> Path | None:
        """The shard that counts, or None where none was ever whole."""
        return None if self._note is None else self._folder / self._note.shard

    @property
    def labels(self) -> int:
        """The version of the current shard's payload."""
        return 0 if self._note is None else self._note.labels

    def begin(self) -> Path:
        """A name for a new shard; nothing is there yet."""
        numbers = [int(path.name[6:]) for path in self._folder.glob("shard-*") if path.name[6:].isdigit()]
        return self._folder / f"shard-{max(numbers, default=0) + 1}"

    def count_on(self, shard: Path, *, labels: int) -> None:
        """From now on that shard counts. Raises OSError."""
        self._write(_Note(shard.name if shard != self._folder else ".", labels))

    def note_labels(self, version: int) -> None:
        """The current shard's payload is of that version. Raises OSError."""
        if self._note is not None:
            self._write(_Note(self._note.shard, version))

    def copy(self, to: Path) -> None:
        """Copy the current shard, which nobody may change meanwhile. Raises OSError."""
        source = self.current
        if source is None:
            raise FileNotFoundError(self._folder)
        to.mkdir()
        shutil.copyfile(source / _EDGE, to / _EDGE)
        shutil.copytree(source / "segments", to / "segments")

    def tidy(self) -> None:
        """Delete every shard but the current one. What cannot be deleted is tried again another time."""
        for path in self._folder.glob("shard-*"):
            if path != self.current:
                shutil.rmtree(path, ignore_errors=True)
        if self.current not in (None, self._folder / "."):
            (self._folder / _EDGE).unlink(missing_ok=True)
            shutil.rmtree(self._folder / "segments", ignore_errors=True)

    def erase(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self) -> _Note | None:
        try:
            return msgspec.json.decode((self._folder / _NOTE).read_bytes(), type=_Note)
        except FileNotFoundError:
            return _Note(".", 1) if (self._folder / _EDGE).exists() else None
        except (OSError, msgspec.MsgspecError) as error:
            raise IndexUnavailable(
                f"The vector index {self._folder} cannot be opened; delete that folder and it is rebuilt. ({error})"
            ) from error

    def _write(self, note: _Note) -> None:
        beside = self._folder / f"{_NOTE}.new"
        with beside.open("wb") as file:
            file.write(msgspec.json.encode(note))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._folder / _NOTE)
        self._note = note
        with suppress(OSError):  # it counts already; a caller that failed now would delete what it names
            sync(self._folder)


def sync(path: Path) -> None:
    """Have a file or a folder on the disk, not only in the kernel's memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
