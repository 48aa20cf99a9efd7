"""The watch: what the kernel tells of the folder, as paths.

watchdog's `InotifyFD` reads the events; which folders are watched is decided
here, because its own recursive watch passes over a folder that could not be
watched, and drops what an overflow of the kernel's queue has lost, without a
word to us. Knows nothing of files or of settling. Its hard rule: whenever an
event may have been lost, `missed` says so.

A path told of is a file that was made, closed after writing, moved or removed,
or a folder that came or went with all it holds. Litter and linked folders are
not watched. A file that is held open and written on is told of when closed.
"""

import errno
import itertools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from ingest.litter import is_litter

log = logging.getLogger(__name__)

# Without IN_OPEN and IN_CLOSE_NOWRITE, which would tell of our own reading.
_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
    | InotifyConstants.IN_EXCL_UNLINK
)
_LIMITS = {
    errno.ENOSPC: "fs.inotify.max_user_watches",
    errno.EMFILE: "fs.inotify.max_user_instances",
    errno.ENOMEM: "the memory",
}


class FolderWatch:
    """Watches a folder and all below it, from `start` until `stop`. Not to be started twice.

    `tell` is called with paths relative to the root, in a thread of watchdog's.
    """

    def __init__(self, root: Path, tell: Callable[[str], None]) -> None:
        # A watch on a link would be a watch on the link itself.
        self._root = os.fsencode(os.path.realpath(root))
        self._tell = tell
        self._changing = threading.RLock()
        self._watched: dict[bytes, int] = {}  # folder, relative to the root -> watch descriptor
        self._folders: dict[int, tuple[bytes, CallbackId]] = {}
        self._numbers = itertools.count(1)
        self._inotify: InotifyFD | None = None
        self.missed = threading.Event()  # events were lost: look the folder through
        self.limit: str | None = None  # what to raise, when not every folder could be watched

    def start(self) -> bool:
        """Begin to watch; False, with `limit` set where one was met, when nothing can be watched."""
        try:
            self._inotify = InotifyFD()
            self._inotify.start()
            with self._changing:
                self._add(b"")
        except OSError as error:
            self._note(error)
        return bool(self._watched)

    def stop(self) -> None:
        if self._inotify is not None:
            self._inotify.stop()
            if self._inotify.is_alive():
                self._inotify.join()

    @property
    def alive(self) -> bool:
        """Whether events still come: the reading thread lives, and the root is watched."""
        return self._inotify is not None and self._inotify.is_alive() and b"" in self._watched

    @property
    def folders(self) -> int:
        """How many folders are watched."""
        return len(self._watched)

    # --- called by InotifyFD, in its thread --------------------------------------------------------

    def on_event(self, event: InotifyEvent) -> None:
        try:
            with self._changing:
                folder, _ = self._folders.get(event.wd, (None, 0))
                if folder is None or not event.name or is_litter(os.fsdecode(event.name)):
                    return
                path = folder + b"/" + event.name if folder else event.name
                if event.mask & InotifyConstants.IN_ISDIR:
                    # Moved within the library, a folder leaves one name and comes by another.
                    if event.is_moved_from:
                        self._remove(path)
                    elif event.is_delete:  # nothing is below it any more
                        self._forget(self._watched.get(path))
                    else:
                        self._add(path)
            self._tell(os.fsdecode(path))
        except Exception:  # the outermost loop of a thread: it must not end, and nothing be lost unseen
            log.exception("an event of the folder could not be followed")
            self.missed.set()

    def on_watch_deleted(self, wd: int) -> None:
        with self._changing:
            folder, _ = self._folders.pop(wd, (b"", 0))
            if self._watched.get(folder) == wd:
                del self._watched[folder]

    def on_queue_overflow(self) -> None:
        """More happened at once than the kernel keeps; folders made meanwhile are not watched yet."""
        log.warning("events of the library folder were lost; it is looked through")
        try:
            with self._changing:
                added = self._add(b"")
                for folder in self._watched.keys() - added:
                    self._forget(self._watched[folder])
        except Exception:  # as above
            log.exception("the folders could not be watched anew")
        self.missed.set()

    # --- watches -----------------------------------------------------------------------------------

    def _add(self, folder: bytes) -> set[bytes]:
        """Watch a folder and all below it; each is watched before it is listed, so that nothing slips between."""
        ahead, added = [folder], set[bytes]()
        while ahead:
            here = ahead.pop()
            if not self._add_one(here):
                continue
            added.add(here)
            try:
                with os.scandir(os.path.join(self._root, here)) as entries:  # noqa: PTH118 - bytes
                    ahead += [
                        here + b"/" + entry.name if here else entry.name
                        for entry in entries
                        if entry.is_dir(follow_symlinks=False) and not is_litter(os.fsdecode(entry.name))
                    ]
            except OSError:  # gone again, or not to be listed, which a scan tells
                continue
        return added

    def _add_one(self, folder: bytes) -> bool:
        if self._inotify is None:
            return False
        path = os.path.join(self._root, folder) if folder else self._root  # noqa: PTH118 - bytes
        # An id of its own each time: adding one twice is told on stderr, at length.
        id_ = CallbackId(next(self._numbers))
        try:
            wd = self._inotify.add_callback(path, _MASK, self, id_)
        except OSError as error:
            self._note(error)
            return False
        if wd < 0:  # not ours to see
            self._inotify.remove_callbacks([(wd, id_)])
            return False
        # The kernel hands out the same descriptor for the same folder, whatever its name is now.
        for stale in {self._watched.get(folder), wd if wd in self._folders else None} - {None}:
            self._forget(stale)
        self._watched[folder], self._folders[wd] = wd, (folder, id_)
        return True

    def _remove(self, folder: bytes) -> None:
        """Stop watching a folder that was moved away, and all below it."""
        below = folder + b"/"
        for path in [path for path in self._watched if path == folder or path.startswith(below)]:
            self._forget(self._watched[path])

    def _forget(self, wd: int | None) -> None:
        if wd is None or wd not in self._folders or self._inotify is None:
            return
        folder, id_ = self._folders.pop(wd)
        if self._watched.get(folder) == wd:
            del self._watched[folder]
        self._inotify.remove_callbacks([(WatchDescriptor(wd), id_)])

    def _note(self, error: OSError) -> None:
        """A folder that is gone, or may not be seen, is no news; a limit is."""
        if error.errno in _LIMITS and self.limit is None:
            self.limit = _LIMITS[error.errno]
            self.missed.set()
            log.warning("not every folder can be watched: %s", error)
