"""The folder: which files of it are the reader's, what they look like, what is beside them.

Pure looking; it receives nothing and remembers nothing. Its hard rule: no path
is followed out of the library folder.

Links: a link to a file inside the library is that file once more, on the shelf
where the link stands. A link to a folder inside the library is followed only
into what a walk does not come by anyway (a hidden folder, as git-annex has it):
following it elsewhere would bring every document twice, or run in a circle.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import BinaryIO

import msgspec

from ingest.formats import FORMATS
from ingest.litter import is_companion, is_litter
from ingest.mounts import Ground, ground
from ingest.pinned import is_inside, open_inside
from ingest.refusals import empty, too_large, unreadable_kind
from library.errors import UnreadableFile
from library.values import FileSeen

_LATEST_NS = 2**63 - 1  # what a database can hold; some clocks write later years
_AT_ONCE = 256 * 1024
_LONGEST_NAME = 100  # in a sentence
_NO_FILE = frozenset({errno.ELOOP, errno.ENAMETOOLONG})


class Look(msgspec.Struct, frozen=True):
    """What a glance at a file shows. Two equal looks some time apart mean that nobody is writing it."""

    size_bytes: int
    mtime_ns: int


def _always() -> bool:
    return True


class LibraryFolder:
    def __init__(self, root: Path, *, max_file_mib: int) -> None:
        self.root = root
        self._max_file_mib = max_file_mib

    def is_there(self) -> bool:
        """Whether the folder can be listed; an unplugged disk cannot."""
        try:
            with os.scandir(self.root):
                return True
        except OSError:
            return False

    def ground(self) -> Ground | None:
        """What the folder stands on; None when it cannot be seen."""
        return ground(self.root)

    def relative(self, path: str) -> str | None:
        """The path within the library, or None when it lies outside, is litter or is no text."""
        try:
            parts = Path(path).relative_to(self.root).parts
        except ValueError:
            return None
        relative = "/".join(parts)
        if not parts or any(is_litter(part) for part in parts) or not _is_text(relative):
            return None
        return relative

    def look(self, relative: str) -> Look | None:
        """A glance at a file; None when it is gone, not a regular file, or reached by a link that leads out.

        The whole path is looked at, since any folder on the way may be a link.
        """
        try:
            seen = self._stat(relative)
        except (OSError, RuntimeError, ValueError):  # gone, a loop of links, a name no file can have
            return None
        return look_of(seen) if seen else None

    def is_gone(self, relative: str) -> bool:
        """Whether there is certainly no document at a path any more. A disk that fails to answer proves nothing."""
        if passes_over(relative):
            return True
        try:
            return self._stat(relative) is None
        except (FileNotFoundError, NotADirectoryError, RuntimeError, ValueError):
            return True
        except OSError as error:
            return error.errno in _NO_FILE

    def is_listed(self, relative: str) -> bool:
        """Whether exactly this name stands in its folder: some disks find `a.md` by the name `A.md`, too."""
        place = self.root
        for part in relative.split("/"):
            try:
                if part not in os.listdir(place):  # noqa: PTH208 - names, as they are stored
                    return False
            except OSError:
                return False
            place /= part
        return True

    def is_folder(self, relative: str) -> bool:
        here = self.root / relative
        return here.is_dir() and not here.is_symlink()

    def walk(self, below: str = "", *, wanted: Callable[[], bool] = _always) -> "Walk":
        """Every file that is the reader's, with a look at it, for as long as it is `wanted`."""
        return Walk(self, below, wanted)

    def seen(self, relative: str, look: Look, digest: str = "") -> FileSeen:
        suffix = Path(relative).suffix.lower()
        return FileSeen(
            path=relative,
            size_bytes=look.size_bytes,
            mtime_ns=look.mtime_ns,
            digest=digest,
            format=FORMATS.get(suffix, suffix.lstrip(".") or "unknown"),
        )

    def inspect(self, relative: str, look: Look, *, wanted: Callable[[], bool] = _always) -> FileSeen | None:
        """A settled file with its digest; None when it changes meanwhile, or is not `wanted` any more.

        Raises UnreadableFile when it cannot become a document.
        """
        suffix = Path(relative).suffix.lower()
        if suffix not in FORMATS:
            raise unreadable_kind(suffix)
        if look.size_bytes == 0:
            raise empty()
        if look.size_bytes > self._max_file_mib * 1024 * 1024:
            raise too_large(self._max_file_mib)
        try:
            with open_inside(self.root, relative) as content:
                digest = _digest(content, wanted)
                same = look_of(os.fstat(content.fileno())) == look
        except PermissionError as error:
            raise UnreadableFile(
                "Almanac may not read the file. Give the user it runs as permission to."
            ) from error
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnreadableFile(
                f"The file cannot be read from the disk ({error.strerror}). Copy it again, or check the disk."
            ) from error
        return self.seen(relative, look, digest) if digest and same else None

    def _stat(self, relative: str) -> os.stat_result | None:
        """What lies at a path, followed to its end; None for what is no file of the library. Raises OSError."""
        real = os.path.realpath(self.root / relative, strict=True)
        seen = os.stat(real)  # noqa: PTH116 - of what realpath has just found
        return seen if stat.S_ISREG(seen.st_mode) and is_inside(self.root, real) else None


class Walk:
    """One way through the folder. What it found beside documents is complete once it has been walked."""

    def __init__(self, folder: LibraryFolder, below: str, wanted: Callable[[], bool]) -> None:
        self._folder, self._below, self._wanted = folder, below, wanted
        self._root = os.path.realpath(folder.root)
        self._entered: set[tuple[int, int]] = set()  # device and inode of each folder
        self.files = 0
        self.passed_over = 0  # companions, and links that are not followed
        self.unlisted: set[str] = (
            set()
        )  # folders that are there and cannot be listed; "" is the library itself
        self.too_deep: set[str] = set()  # of those, the ones whose path is longer than the system allows
        self.unnameable: set[str] = set()  # names that are no text, from old archives and foreign disks

    def __iter__(self) -> Iterator[tuple[str, Look]]:
        below = self._below
        if os.path.realpath(self._folder.root / below) != str(Path(self._root, below)):
            return  # a link stands on the way
        ahead = [(below, False)]
        while ahead and self._wanted():
            relative, through_link = ahead.pop()
            folders: list[tuple[str, bool]] = []
            for entry in self._listed(relative, through_link=through_link):
                path = f"{relative}/{entry.name}" if relative else entry.name
                if not _is_text(entry.name):
                    self.unnameable.add(os.fsencode(path).decode(errors="replace"))
                    continue
                look, is_folder = self._seen(entry, path)
                if is_folder:
                    folders.append((path, through_link or entry.is_symlink()))
                elif look is not None and passes_over(entry.name):
                    self.passed_over += 1
                elif look is not None:
                    self.files += 1
                    yield path, look
            ahead += reversed(folders)

    def troubles(self) -> Iterator[str]:
        """What could not be seen, as sentences."""
        if refused := self.unlisted - self.too_deep:
            yield f"Almanac may not look into {_some(refused)}; give the user it runs as permission to."
        if self.too_deep:
            yield (
                "Folders are nested deeper than a path may be long, and what is in them is left out: "
                f"{_some(self.too_deep)}. Move them further up."
            )
        if self.unnameable:
            yield f"Some file names are not valid text and are left out: {_some(self.unnameable)}. Rename them."

    def _listed(self, relative: str, *, through_link: bool) -> list[os.DirEntry[str]]:
        """What is in a folder and no litter, by name; nothing where a link has led round in a circle."""
        here = self._folder.root / relative
        try:
            seen = here.stat()
            identity = (seen.st_dev, seen.st_ino)
            if through_link and identity in self._entered:
                self.passed_over += 1
                return []
            self._entered.add(identity)
            with os.scandir(here) as entries:
                return sorted(
                    (entry for entry in entries if not is_litter(entry.name)), key=lambda entry: entry.name
                )
        except (FileNotFoundError, NotADirectoryError):
            if not relative:
                self.unlisted.add("")
        except OSError as error:
            self.unlisted.add(relative)
            if error.errno == errno.ENAMETOOLONG:
                self.too_deep.add(relative)
        return []

    def _seen(self, entry: os.DirEntry[str], path: str) -> tuple[Look | None, bool]:
        """A look at a file, or that it is a folder to enter."""
        try:
            if entry.is_symlink():
                look = self._folder.look(path)
                if look is None and self._leads_to_more(path):
                    return None, True
                self.passed_over += look is None
                return look, False
            if entry.is_dir(follow_symlinks=False):
                return None, True
            if entry.is_file(follow_symlinks=False):
                return look_of(entry.stat(follow_symlinks=False)), False
        except OSError:  # gone meanwhile, or the disk fails to answer
            pass
        return None, False

    def _leads_to_more(self, path: str) -> bool:
        """Whether a link leads to a folder inside the library that the walk does not come by itself."""
        try:
            real = os.path.realpath(self._folder.root / path, strict=True)
        except (OSError, RuntimeError):
            return False
        if not real.startswith(self._root + "/") or not os.path.isdir(real):  # noqa: PTH112
            return False
        return any(is_litter(part) for part in real.removeprefix(self._root + "/").split("/"))


def _some(paths: AbstractSet[str]) -> str:
    """The first few, each cut to what a sentence can hold."""
    names = [path if len(path) <= _LONGEST_NAME else f"{path[:_LONGEST_NAME]}…" for path in sorted(paths)[:3]]
    return ", ".join(names)


def passes_over(path: str) -> bool:
    """Whether a file is a companion of others and has no reader of its own."""
    name = path.rpartition("/")[2]
    return Path(name).suffix.lower() not in FORMATS and is_companion(name)


def look_of(seen: os.stat_result) -> Look:
    return Look(seen.st_size, max(0, min(seen.st_mtime_ns, _LATEST_NS)))


def _is_text(name: str) -> bool:
    if not name.isascii():
        with contextlib.suppress(UnicodeEncodeError):
            name.encode()
            return True
        return False
    return True


def _digest(content: BinaryIO, wanted: Callable[[], bool]) -> str:
    """sha256 in hex, or "" when it was given up: half a gigabyte from a slow disk takes long."""
    digest, some = hashlib.sha256(), bytearray(_AT_ONCE)
    view = memoryview(some)
    while count := content.readinto(view):  # type: ignore[attr-defined]
        digest.update(view[:count])
        if not wanted():
            return ""
    return digest.hexdigest()
