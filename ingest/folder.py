"""The folder: which files of it are the reader's, what they look like, what is beside them.

Pure looking; it receives nothing and remembers nothing. Its hard rule: no path
is followed out of the library folder.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ingest.formats import FORMATS
from library.errors import UnreadableFile
from library.values import FileSeen

# What operating systems, sync tools and browsers leave lying about.
_LITTER_NAMES = frozenset({"@eadir", "#recycle", "lost+found", "thumbs.db", "desktop.ini"})
_LITTER_ENDINGS = (".part", ".crdownload", ".partial", ".tmp", ".swp", "~")
_LITTER_STARTS = (".", "~$")


_LATEST_NS = 2**63 - 1  # what a database can hold; some clocks write later years


class Look(msgspec.Struct, frozen=True):
    """What a glance at a file shows. Two equal looks some time apart mean that nobody is writing it."""

    size_bytes: int
    mtime_ns: int


def is_litter(name: str) -> bool:
    """Whether a file or folder name is never the reader's own."""
    lower = name.lower()
    return lower.startswith(_LITTER_STARTS) or lower.endswith(_LITTER_ENDINGS) or lower in _LITTER_NAMES


class LibraryFolder:
    def __init__(self, root: Path, *, max_file_mib: int) -> None:
        self.root = root
        self._max_file_mib = max_file_mib
        self.unlisted: set[str] = set()
        self.unnameable: set[str] = set()  # names that are no text, from old archives and foreign disks

    def is_there(self) -> bool:
        """Whether the folder can be listed; an unplugged disk cannot."""
        try:
            with os.scandir(self.root):
                return True
        except OSError:
            return False

    def relative(self, path: str) -> str | None:
        """The path within the library, or None when it lies outside or is litter."""
        try:
            parts = Path(path).relative_to(self.root).parts
        except ValueError:
            return None
        if not parts or any(is_litter(part) for part in parts):
            return None
        relative = "/".join(parts)
        try:
            relative.encode()
        except UnicodeEncodeError:
            self.unnameable.add(os.fsencode(relative).decode(errors="replace"))
            return None
        return relative

    def look(self, relative: str) -> Look | None:
        """A glance at a file; None when it is gone, not a regular file, or reached by a link that leads out.

        The whole path is looked at, since any folder on the way may be a link.
        """
        try:
            real = os.path.realpath(self.root / relative, strict=True)
            seen = os.stat(real)  # noqa: PTH116 - of what realpath has just found
        except (OSError, RuntimeError, ValueError):  # gone, a loop of links, a name no file can have
            return None
        if not stat.S_ISREG(seen.st_mode) or not Path(real).is_relative_to(os.path.realpath(self.root)):
            return None
        return Look(seen.st_size, max(0, min(seen.st_mtime_ns, _LATEST_NS)))

    def walk(self, below: str = "") -> Iterator[tuple[str, Look]]:
        """Every file that is the reader's, with a look at it; linked folders are not entered.

        Folders that cannot be listed are noted in `unlisted`.
        """
        self.unlisted = set()
        if os.path.realpath(self.root / below) != str(Path(os.path.realpath(self.root), below)):
            return  # a link stands on the way
        for folder, folders, files in os.walk(self.root / below, onerror=self._cannot_list):
            folders[:] = sorted(name for name in folders if not is_litter(name))
            for name in sorted(files):
                relative = self.relative(os.path.join(folder, name))  # noqa: PTH118 - 50,000 times
                look = self.look(relative) if relative else None
                if relative and look:
                    yield relative, look

    def _cannot_list(self, error: OSError) -> None:
        relative = self.relative(str(error.filename or ""))
        if relative is not None:
            self.unlisted.add(relative)

    def seen(self, relative: str, look: Look, digest: str = "") -> FileSeen:
        suffix = Path(relative).suffix.lower()
        return FileSeen(
            path=relative,
            size_bytes=look.size_bytes,
            mtime_ns=look.mtime_ns,
            digest=digest,
            format=FORMATS.get(suffix, suffix.lstrip(".") or "unknown"),
        )

    def inspect(self, relative: str, look: Look) -> FileSeen:
        """A settled file with its digest. Raises UnreadableFile when it cannot become a document."""
        suffix = Path(relative).suffix.lower()
        if suffix not in FORMATS:
            readable = ", ".join(sorted(FORMATS))
            raise UnreadableFile(
                f"Files of this kind ({suffix or 'without an ending'}) cannot be read. Readable are: {readable}."
            )
        if look.size_bytes == 0:
            raise UnreadableFile("The file is empty. Copy it again from where it came from.")
        if look.size_bytes > self._max_file_mib * 1024 * 1024:
            raise UnreadableFile(
                f"The file is larger than {self._max_file_mib} MiB. "
                "Split it, or raise `ingest.max_file_mib` in the configuration."
            )
        try:
            with (self.root / relative).open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
        except PermissionError as error:
            raise UnreadableFile(
                "Almanac may not read the file. Give the user it runs as permission to."
            ) from error
        except OSError as error:
            raise UnreadableFile(
                f"The file cannot be read from the disk ({error.strerror}). Copy it again, or check the disk."
            ) from error
        return self.seen(relative, look, digest)
