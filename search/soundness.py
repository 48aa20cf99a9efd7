"""Soundness: whether the files of an index are those that its engine wrote.

Knows files and checksums; knows no document. Needed because an engine notices
little of a damaged file: of 26 Edge shards with a file cut, changed or deleted,
20 opened and answered as if nothing were wrong.

Words: tantivy ends every file of a segment with a checksum of its own, which
it does not look at when it opens one; we do. Vectors: Edge has none and writes
into its files, also while it loads them, so a list of names, sizes and
checksums (`sealed.json`) is put beside them whenever nobody writes, and taken
away before somebody does. Its
hard rule: a list that is there is true, so what differs from it is damage.
"""

import errno
import json
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TANTIVY_MAGIC = 1337
_SEGMENT_FILES = ("idx", "term", "pos", "fieldnorm", "fast", "store")
_AT_ONCE_BYTES = 4 * 1024 * 1024
_BLOCK_BYTES = 256 * 1024
_ZEROS = bytes(_BLOCK_BYTES)
_LIST = "sealed.json"
_SIZES = "largest.json"
_MAPPED_BYTES = 1024 * 1024
_NOT_THE_ENGINES = frozenset({_LIST, f"{_LIST}.part", _SIZES, f"{_SIZES}.part", "seal.txt", "schema.txt"})


def is_panic(error: BaseException) -> bool:
    """Whether an engine written in Rust gave up in the middle: pyo3's exception for that is no `Exception`."""
    return type(error).__name__ == "PanicException"


class WordFiles:
    """The files of one tantivy index."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sound: dict[str, tuple[int, int]] = {}  # name -> size and date, of those that were summed

    def trouble(self) -> str | None:
        """A sentence when a file is missing or is not as it was written; files once summed are only dated."""
        for _ in range(3):
            before = self._list()
            found = self._look(before)
            # Merges replace segments at any time; a file that is gone has to be missed by the list that is.
            if found is None or self._list() == before:
                return found
        return None

    def _list(self) -> bytes:
        try:
            return (self._folder / "meta.json").read_bytes()
        except OSError:
            return b""

    def _look(self, listed: bytes) -> str | None:
        try:
            segments = json.loads(listed)["segments"]
            names = [
                f"{segment['segment_id'].replace('-', '')}.{ending}"
                for segment in segments
                for ending in (*_SEGMENT_FILES, *_deleted(segment))
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            return "its list of files cannot be read"
        sound = {}
        for name in names:
            path = self._folder / name
            try:
                there = path.stat()
                sound[name] = (there.st_size, there.st_mtime_ns)
                if self._sound.get(name) != sound[name] and not _matches_its_sum(path):
                    return f"{name} is not as it was written"
            except OSError as error:
                return f"{name} cannot be read ({error.strerror})"
        self._sound = sound
        return None


def _deleted(segment: dict[str, dict[str, int] | None]) -> list[str]:
    deletes = segment.get("deletes")
    return [f"{deletes['opstamp']}.del"] if deletes else []


def _matches_its_sum(path: Path) -> bool:
    """Whether the checksum in a tantivy file's footer is that of what stands before it.

    The footer is JSON, its length and a magic number, both as 32 bits.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < 8:
            return False
        file.seek(size - 8)
        length, magic = struct.unpack("<II", file.read(8))
        if magic != _TANTIVY_MAGIC or length + 8 > size:
            return False
        file.seek(size - 8 - length)
        try:
            said = json.loads(file.read(length))["crc"]
        except (ValueError, KeyError, TypeError):
            return False
        file.seek(0)
        left, summed = size - 8 - length, 0
        while left and (read := file.read(min(left, _AT_ONCE_BYTES))):
            summed, left = zlib.crc32(read, summed), left - len(read)
    return bool(summed == said and not left)


class VectorFiles:
    """The files of one Edge shard, and the list of them.

    The large files are mapped whole and only ever grow: one that is shorter
    than it has been (`largest.json`) was cut, and writing behind its end would
    end the process. That is known also while there is no list.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._list = folder, folder / _LIST
        self._lock = threading.Lock()
        self._writers = 0
        self._writes = 0
        self._largest = self._remembered()  # name -> size
        self._sealed: dict[str, tuple[int, int]] | None = (
            None  # name -> size and date, while the list is there
        )

    @property
    def is_there(self) -> bool:
        """Whether the engine has any file there."""
        try:
            return bool(self._dated())
        except OSError:
            return False

    @property
    def is_sealed(self) -> bool:
        return self._list.exists()

    @property
    def writes(self) -> int:
        """How often somebody wrote since it was opened."""
        return self._writes

    @contextmanager
    def writing(self) -> Iterator[None]:
        """For as long as the block lasts, the list is not there."""
        with self._lock:
            self._writers += 1
            self._writes += 1
            self._sealed = None
            self._list.unlink(missing_ok=True)
        try:
            yield
        finally:
            with self._lock:
                self._writers -= 1
                self._writes += 1  # also for who began to look in the middle of it
                self._note_sizes()

    def seal(self) -> None:
        """Write the list, unless somebody writes meanwhile. Raises OSError."""
        with self._lock:
            writes = self._writes
            if self._writers or self._sealed is not None:
                return
        dated = self._dated()
        if self._cut_short(dated) is not None:
            return  # the next look finds it, too
        text = json.dumps({name: [size, _sum(self._folder / name)] for name, (size, _) in dated.items()})
        part = self._list.with_name(f"{_LIST}.part")
        part.write_text(text)
        with self._lock:
            if self._writers or self._writes != writes:
                part.unlink()
                return
            part.replace(self._list)
            self._sealed = dated

    def trouble(self) -> str | None:
        """A sentence when the files are not those of the list, or without a list are gone.

        Every file is read at the first look, later only what has another date.
        """
        with self._lock:
            writes, sealed = self._writes, self._sealed
        try:
            listed = json.loads(self._list.read_text())
            there = self._dated()
        except FileNotFoundError:
            # Without one, all that can be told is whether there is anything: the
            # engine makes and removes some of its files after a write, when it likes.
            return self._cut_short(self._dated_now()) if self.is_there else "its files are gone"
        except (OSError, ValueError):
            return "the list of its files cannot be read"
        found = self._differs(listed, there, sealed or {}) or self._cut_short(there)
        with self._lock:
            if self._writes != writes:
                return None  # somebody wrote meanwhile, and the list was taken away for that
            if found is None:
                self._sealed = there
        return found

    def _remembered(self) -> dict[str, int]:
        try:
            told = json.loads((self._folder / _SIZES).read_text())
        except (OSError, ValueError):
            return {}
        return (
            {name: size for name, size in told.items() if isinstance(size, int)}
            if isinstance(told, dict)
            else {}
        )

    def _note_sizes(self) -> None:
        """Remember how large the mapped files are now, if one is new or has grown."""
        there = self._dated_now()
        largest = {
            name: max(size, self._largest.get(name, 0))
            for name, (size, _) in there.items()
            if size >= _MAPPED_BYTES or name in self._largest
        }
        if largest != self._largest:
            self._largest = largest
            part = self._folder / f"{_SIZES}.part"
            with suppress(OSError):  # then it is known to this process alone
                part.write_text(json.dumps(largest))
                part.replace(self._folder / _SIZES)

    def _cut_short(self, there: dict[str, tuple[int, int]]) -> str | None:
        with self._lock:
            largest = self._largest
        cut = (name for name, size in largest.items() if name in there and there[name][0] < size)
        return next((f"{name} was cut short" for name in cut), None)

    def _dated_now(self) -> dict[str, tuple[int, int]]:
        """As `_dated`; nothing of a folder that changes or goes meanwhile."""
        try:
            return self._dated()
        except OSError:
            return {}

    def _differs(
        self, listed: object, there: dict[str, tuple[int, int]], sealed: dict[str, tuple[int, int]]
    ) -> str | None:
        if not isinstance(listed, dict):
            return "the list of its files cannot be read"
        for name in listed.keys() - there.keys():
            return f"{name} is missing"
        for name, dated in there.items():
            if name not in listed:
                return f"{name} does not belong to it"
            try:
                if sealed.get(name) != dated and [dated[0], _sum(self._folder / name)] != listed[name]:
                    return f"{name} is not as it was written"
            except OSError as error:
                return f"{name} cannot be read ({error.strerror})"
        return None

    def _dated(self) -> dict[str, tuple[int, int]]:
        found = {}
        for folder, _, names in os.walk(self._folder, onerror=_raise):
            for name in names:
                if name not in _NOT_THE_ENGINES:
                    path = Path(folder) / name
                    there = path.stat()
                    found[str(path.relative_to(self._folder))] = (there.st_size, there.st_mtime_ns)
        return found


def _raise(error: OSError) -> None:
    raise error


def _sum(path: Path) -> int:
    """A checksum of where something other than zeros stands in a file, and what it is.

    Edge reserves 75 MB for its first vector, nearly all of it holes, which are
    passed over without being read.
    """
    summed = at = 0
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // _BLOCK_BYTES * _BLOCK_BYTES
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole is left
                    break
                raise
            os.lseek(file.fileno(), at, os.SEEK_SET)
            read = file.read(_BLOCK_BYTES)
            if not read:
                break  # it was cut short meanwhile
            if read != _ZEROS[: len(read)]:
                summed = zlib.crc32(read, zlib.crc32(at.to_bytes(8), summed))
            at += len(read)
    return summed


def size_bytes(folder: Path) -> int:
    """What the files below a folder take up on the disk; a hole in a file takes up nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(place) / name).stat().st_blocks * 512
    return total
