"""The original: a document's own file, open to be handed out as it is.

Knows neither who asks nor over what wire. Its hard rule: whoever reads it gets
the bytes of one file as it was when it was opened, or an error; never half of
one edition and half of the next.
"""

import errno
import os
from typing import BinaryIO

from ingest.folder import LibraryFolder, look_of
from ingest.pinned import open_inside
from library.errors import FileGone, UnreadableFile
from library.values import FileSeen

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})


class FileChanged(Exception):
    """The file was written, or its disk went, while it was being read. No answer can say so any more."""


class Original:
    """An open file. Close it when done."""

    def __init__(self, content: BinaryIO, remembered: FileSeen) -> None:
        self._content = content
        self._number = content.fileno()
        self.look = look_of(os.fstat(self._number))
        same = (self.look.size_bytes, self.look.mtime_ns) == (remembered.size_bytes, remembered.mtime_ns)
        # The digest names the content only while the file is the one that was read; a new edition
        # that has not been received yet goes by its looks.
        self.version = (
            remembered.digest
            if same and remembered.digest
            else f"{self.look.mtime_ns:x}-{self.look.size_bytes:x}"
        )

    def read(self, offset: int, count: int) -> bytes:
        """So many bytes from there, at least one. Raises FileChanged, also at an end that comes too early."""
        try:
            content = os.pread(self._number, count, offset)
            same = look_of(os.fstat(self._number)) == self.look
        except OSError as error:  # a disk that fails in the middle, or was taken out
            raise FileChanged(str(error)) from error
        if not content or not same:
            raise FileChanged("changed while it was read")
        return content

    def close(self) -> None:
        self._content.close()


def open_original(folder: LibraryFolder, remembered: FileSeen) -> Original:
    """Open a document's file. Raises FileGone, and UnreadableFile when it is there and cannot be opened."""
    try:
        content = open_inside(folder.root, remembered.path)
    except OSError as error:
        if error.errno in _GONE:
            raise FileGone(remembered.path) from error
        raise UnreadableFile(
            f"The file cannot be read from the disk ({error.strerror}). Give the user that Almanac runs "
            "as permission to read it, or check the disk."
        ) from error
    except ValueError as error:  # a name that no file can have
        raise FileGone(remembered.path) from error
    try:
        return Original(content, remembered)
    except BaseException:
        content.close()
        raise
