"""A group: settled files that are received together, in one transaction.

Digests are computed before the transaction begins, so that nobody who writes
to the record waits for a disk. Knows the folder and the record; remembers
nothing beyond the group.
"""

import unicodedata
from collections.abc import Callable

from ingest.folder import LibraryFolder, Look
from ingest.settling import Noticed
from library.arrivals import Arrivals
from library.errors import UnreadableFile
from library.values import FileSeen


class Group:
    def __init__(self, folder: LibraryFolder) -> None:
        self._folder = folder
        self._readable: list[tuple[Noticed, FileSeen]] = []
        self._refused: list[tuple[Noticed, FileSeen, str]] = []

    def __len__(self) -> int:
        return len(self._readable) + len(self._refused)

    def add(self, noticed: Noticed, look: Look, *, wanted: Callable[[], bool]) -> bool:
        """Take a settled file in; False when it changed while it was read, or is not `wanted` any more."""
        try:
            file = self._folder.inspect(noticed.path, look, wanted=wanted)
        except UnreadableFile as error:
            self._refused.append((noticed, self._folder.seen(noticed.path, look), str(error)))
            return True
        if file is not None:
            self._readable.append((noticed, file))
        return file is not None

    def receive(self, arrivals: Arrivals) -> list[Noticed]:
        """Note them all in the record; returns what needs nothing more. Raises RecordError."""
        if self._readable:
            arrivals.receive_all([file for _, file in self._readable], is_gone=self._is_gone)
        if self._refused:
            arrivals.refuse_all([(file, reason) for _, file, reason in self._refused])
        return [noticed for noticed, _ in self._readable] + [noticed for noticed, _, _ in self._refused]

    def _is_gone(self, old: str) -> bool:
        if self._folder.is_gone(old):
            return True
        # On a disk where `A.md` and `a.md` are one name, the old one still opens the file that was renamed.
        renamed = any(_spelled_alike(old, file.path) for _, file in self._readable)
        return renamed and not self._folder.is_listed(old)


def _spelled_alike(old: str, new: str) -> bool:
    """Whether two names differ only by case, or by how an accent is written."""
    return old != new and _plain(old) == _plain(new)


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
