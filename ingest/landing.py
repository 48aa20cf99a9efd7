"""Landing: a file that comes over the network, put into the library folder whole or not at all.

It is written under a name that the watched folder takes for litter, on the same
file system; made durable; then linked to its own name, which never overwrites:

    .almanac-upload-….part ──fsync──► link "Shelf/owls.md" ──► unlink the other

A crash before the link leaves a `.part`, removed at the next start; after it,
the book and a `.part` of no meaning. Knows no HTTP and no record; the folder's
watch finds what landed like any other file. Its hard rule: everything is opened
below the library's root without following a link, so that no name and no
shelf leads out of it.
"""

import contextlib
import enum
import errno
import hashlib
import logging
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

from ingest.filenames import file_name, numbered
from ingest.formats import FORMATS
from ingest.refusals import empty, too_large, unreadable_kind
from library.errors import UnreadableFile

log = logging.getLogger(__name__)

_START, _END = ".almanac-upload-", ".part"
_MIB = 1024 * 1024
_LONGEST_COUNT = 1000  # "owls (1000).md"
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class Outcome(enum.StrEnum):
    STORED = "stored"
    ALREADY_THERE = "already_there"
    REFUSED = "refused"


class Landed(msgspec.Struct, frozen=True):
    """What became of a file that was sent whole."""

    path: str  # relative to the library folder
    outcome: Outcome


class Landing:
    def __init__(self, root: Path, *, max_file_mib: int, min_free_mib: int) -> None:
        self.root, self.max_file_mib, self.min_free_mib = root, max_file_mib, min_free_mib

    @property
    def endings(self) -> tuple[str, ...]:
        """Of the files that can be read, with their dot."""
        return tuple(sorted(FORMATS))

    def begin(self, name: str, shelf: str | None) -> "Incoming":
        """Make room for a file. `shelf` comes from `filenames.shelf_name`.

        Raises UnreadableFile for a name, a kind or a shelf that cannot be, and when the disk is full.
        """
        stored_as = file_name(name)
        ending = PurePosixPath(stored_as).suffix.lower()
        if ending not in FORMATS:
            raise unreadable_kind(ending)
        self.check_room()
        # In the shelf itself where it exists: it may be a disk of its own, and no link leads from disk to disk.
        with _told(), self.folder(shelf) as found:
            return Incoming(self, stored_as, shelf, beside=shelf if found is not None else None)

    def check_room(self) -> None:
        """Raises UnreadableFile when the disk is too full to take anything in."""
        try:
            free = shutil.disk_usage(self.root).free
        except OSError as error:
            raise UnreadableFile(
                f"The library folder {self.root} cannot be seen. Plug its disk in, or create the folder."
            ) from error
        if free < self.min_free_mib * _MIB:
            raise UnreadableFile(
                f"The library's disk has only {free // _MIB} MiB left; nothing is taken in below "
                f"{self.min_free_mib} MiB. Free some space, or lower `ingest.min_free_mib`."
            )

    def remove_leftovers(self) -> int:
        """After a start: remove what a crash left of unfinished uploads. Returns how many there were."""
        removed = 0
        for shelf in [None, *self._shelves()]:
            with contextlib.suppress(OSError, UnreadableFile), self.folder(shelf) as found:
                for name in os.listdir(found) if found is not None else ():  # noqa: PTH208 - an open folder has no path
                    if name.startswith(_START) and name.endswith(_END):
                        os.unlink(name, dir_fd=found)
                        removed += 1
        if removed:
            log.info("removed %d unfinished uploads", removed)
        return removed

    def _shelves(self) -> list[str]:
        try:
            with os.scandir(self.root) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    @contextlib.contextmanager
    def folder(self, shelf: str | None, *, create: bool = False) -> Iterator[int | None]:
        """A shelf, or the root for None, opened without following a link; None where it does not exist."""
        root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        opened: int | None = None
        try:
            if shelf is None:
                yield root
                return
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(shelf, dir_fd=root)
            try:
                opened = os.open(shelf, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
            except FileNotFoundError:
                pass
            except NotADirectoryError as error:  # also what a link is, with both flags
                raise UnreadableFile(
                    f"{shelf!r} is no folder of the library but a file or a link. Choose another shelf."
                ) from error
            yield opened
        finally:
            for descriptor in (opened, root):
                if descriptor is not None:
                    os.close(descriptor)


class Incoming:
    """A file that is being sent. `write` until all of it came, then `complete` and `place`; or `abandon`."""

    def __init__(self, landing: Landing, name: str, shelf: str | None, *, beside: str | None) -> None:
        self._landing, self._name, self._shelf, self._beside = landing, name, shelf, beside
        self._part: str | None = f"{_START}{uuid.uuid4().hex}{_END}"
        self._digest, self._size_bytes = hashlib.sha256(), 0
        with landing.folder(beside) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._file: int | None = os.open(self._part, flags, 0o666, dir_fd=folder)

    def write(self, content: bytes) -> None:
        """Raises UnreadableFile, having left nothing behind, when it is too large or the disk too full."""
        if self._file is None:
            raise ValueError("written to after its end")
        with self._whole_or_nothing():
            self._size_bytes += len(content)
            if self._size_bytes > self._landing.max_file_mib * _MIB:
                raise too_large(self._landing.max_file_mib)
            self._landing.check_room()
            self._digest.update(content)
            rest = memoryview(content)
            with _told():
                while rest:
                    rest = rest[os.write(self._file, rest) :]

    def complete(self) -> None:
        """All of it came: make it durable. Raises UnreadableFile when it is empty or the disk fails."""
        if self._file is None:
            raise ValueError("completed after its end")
        with self._whole_or_nothing():
            if not self._size_bytes:
                raise empty()
            with _told():
                os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def place(self) -> Landed:
        """Give it its own name, or find that it is there already. Raises UnreadableFile."""
        try:
            with (
                _told(),
                self._landing.folder(self._beside) as here,
                self._landing.folder(self._shelf, create=True) as there,
            ):
                if here is None or there is None or self._part is None:
                    raise UnreadableFile("Its shelf was removed meanwhile. Send it again.")
                for n in range(1, _LONGEST_COUNT):
                    name = numbered(self._name, n)
                    path = f"{self._shelf}/{name}" if self._shelf else name
                    try:
                        _take_name(self._part, here, name, there)
                    except FileExistsError:
                        if self._is_same(name, there):
                            return Landed(path, Outcome.ALREADY_THERE)
                        continue
                    os.fsync(there)
                    return Landed(path, Outcome.STORED)
            raise UnreadableFile("There are too many files of this name. Rename it, and send it again.")
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave nothing behind. Harmless after `place`, and when repeated."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        part, self._part = self._part, None
        if part is not None:
            with contextlib.suppress(OSError), self._landing.folder(self._beside) as folder:
                if folder is not None:
                    os.unlink(part, dir_fd=folder)

    @contextlib.contextmanager
    def _whole_or_nothing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abandon()
            raise

    def _is_same(self, name: str, folder: int) -> bool:
        """Whether the file of that name has these very bytes."""
        try:
            found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except OSError:  # a link, or one we may not read
            return False
        try:
            seen = os.fstat(found)
            if not stat.S_ISREG(seen.st_mode) or seen.st_size != self._size_bytes:
                return False
            with os.fdopen(found, "rb", closefd=False) as content:
                return hashlib.file_digest(content, "sha256").digest() == self._digest.digest()
        finally:
            os.close(found)


def _take_name(part: str, here: int, name: str, there: int) -> None:
    """Make `name` this file, if no file has that name. Raises FileExistsError."""
    try:
        os.link(part, name, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # FAT and some network shares have no links. An empty file of the name is
        # nobody else's then, and a rename over it is atomic again.
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=there))
        try:
            os.rename(part, name, src_dir_fd=here, dst_dir_fd=there)
        except BaseException:
            os.unlink(name, dir_fd=there)
            raise


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The disk's errors as a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            sentence = "The library's disk is full. Free some space, and send it again."
        else:
            sentence = (
                f"The library folder cannot be written ({error.strerror}). Check its disk and permissions."
            )
        raise UnreadableFile(sentence) from error
