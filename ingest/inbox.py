"""The inbox: notices what happens in the folder and receives files once they have settled.

A file is settled when its size and modification time have been the same for
`settle_s`: a book that is still being copied is not a book yet. Events tell
quickly, a scan at the start and now and then tells for certain; both end in
the same queue. Knows no file format. Its hard rule: when the folder itself is
gone (an unplugged disk), nothing is marked missing.
"""

import logging
import threading
import time
from collections.abc import Callable

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from ingest.folder import LibraryFolder, Look
from library.arrivals import Arrivals
from library.errors import RecordError, UnreadableFile
from library.jobs import Jobs
from library.values import DocumentState

log = logging.getLogger(__name__)

_TICK_S = 0.25
_TELLING = frozenset({"created", "modified", "moved", "deleted", "closed"})


class Inbox:
    def __init__(
        self,
        folder: LibraryFolder,
        arrivals: Arrivals,
        jobs: Jobs,
        *,
        settle_s: float,
        on_received: Callable[[], None],
    ) -> None:
        self._folder, self._arrivals, self._jobs = folder, arrivals, jobs
        self._settle_s, self._on_received = settle_s, on_received
        # path -> (last look, when that look was first had on the monotonic clock)
        self._unsettled: dict[str, tuple[Look | None, float]] = {}
        self._changing = threading.Lock()
        self._scanning = threading.Lock()
        self._stopping, self._wanted = threading.Event(), threading.Event()
        self._observer: BaseObserver | None = None
        self._thread = threading.Thread(target=self._settle_loop, name="inbox")
        self.scanned = threading.Event()  # set once the first scan is through
        self.trouble: str | None = None  # a sentence, while the folder cannot be watched or seen

    def start(self) -> None:
        """Begin to watch, then scan. Returns at once."""
        self._watch()
        self._thread.start()
        threading.Thread(target=self.scan, name="first-scan", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        self._wanted.set()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether files are still being taken in."""
        return self._thread.is_alive() or not self.scanned.is_set()

    @property
    def unsettled(self) -> int:
        """How many files have been noticed and are not received yet."""
        return len(self._unsettled)

    def scan(self) -> None:
        """Compare the folder with the record, and note every difference. Never raises: it runs by the clock."""
        try:
            with self._scanning:
                self._scan()
        except Exception as error:  # the outermost loop of a thread, see the module's hard rules
            log.exception("the folder could not be looked through")
            self.trouble = f"The library folder could not be looked through: {error}. It is tried again."
        finally:
            self.scanned.set()

    def _scan(self) -> None:
        with self._jobs.run("scan") as job:
            if not self._folder.is_there():
                job.detail = self.trouble = (
                    f"The library folder {self._folder.root} cannot be seen. Plug the disk in or create the "
                    "folder; nothing has been removed."
                )
                return
            known = self._arrivals.known_files()
            noticed = 0
            for path, look in self._folder.walk():
                if self._stopping.is_set():
                    return
                before = known.pop(path, None)
                unchanged = before is not None and (before.size_bytes, before.mtime_ns) == (
                    look.size_bytes,
                    look.mtime_ns,
                )
                # A file that could not even be opened may have been given permission since.
                if (
                    unchanged
                    and before
                    and before.state is not DocumentState.MISSING
                    and (before.digest or before.state is not DocumentState.FAILED or not look.size_bytes)
                ):
                    continue
                self._notice(path)
                noticed += 1
            unlisted = tuple(f"{folder}/" for folder in self._folder.unlisted)
            gone = [
                path
                for path, file in known.items()
                if file.state is not DocumentState.MISSING and not path.startswith(unlisted)
            ]
            self._arrivals.mark_missing(gone)
            job.detail = f"{noticed} new or changed, {len(gone)} gone."
            self.trouble = self._told_of_the_folder()
            if known and not noticed and not any(self._folder.walk()):
                self.trouble = (
                    f"The library folder {self._folder.root} is empty although {len(known)} documents are known. "
                    "If its disk is not mounted, mount it; they are kept, and come back without being read again."
                )

    def _told_of_the_folder(self) -> str | None:
        """What a scan could not see, as a sentence."""
        if self._folder.unlisted:
            names = ", ".join(sorted(self._folder.unlisted)[:3])
            return f"Almanac may not look into {names}; give the user it runs as permission to."
        if self._folder.unnameable:
            names = ", ".join(sorted(self._folder.unnameable)[:3])
            return f"Some file names are not valid text and are left out: {names}. Rename them."
        return None

    # --- events ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        handler = _Handler(self._on_event)
        observer = Observer()
        try:
            observer.schedule(handler, str(self._folder.root), recursive=True)
            observer.start()
        except OSError as error:
            self.trouble = (
                f"The library folder cannot be watched ({error.strerror}); new files are noticed at the next scan. "
                "On Linux, raise fs.inotify.max_user_watches."
            )
            log.warning("the folder cannot be watched: %s", error)
            return
        self._observer = observer

    def _on_event(self, path: str) -> None:
        relative = self._folder.relative(path)
        if relative is not None:
            self._notice(relative)

    def _notice(self, relative: str) -> None:
        with self._changing:
            self._unsettled[relative] = (None, time.monotonic())
        self._wanted.set()

    # --- settling --------------------------------------------------------------------------------

    def _settle_loop(self) -> None:
        while not self._stopping.is_set():
            if not self._unsettled:
                self._wanted.wait()
                self._wanted.clear()
            try:
                self._settle()
            except RecordError as error:
                log.warning("files cannot be received: %s", error)
                self.trouble = f"New files cannot be taken in: {error}"
                self._stopping.wait(5)
            self._stopping.wait(_TICK_S)

    def _settle(self) -> None:
        """Receive what has been quiet for long enough."""
        with self._changing:
            paths = list(self._unsettled)
        for path in paths:
            if self._stopping.is_set():
                return
            try:
                self._settle_one(path)
            except RecordError:
                raise
            except Exception as error:  # one odd file never stops another
                log.exception("a file could not be taken in")
                self.trouble = f"{path!r} could not be taken in: {error}. Rename it, or copy it again."
                with self._changing:
                    self._unsettled.pop(path, None)

    def _settle_one(self, path: str) -> None:
        with self._changing:
            before, since = self._unsettled.get(path, (None, 0.0))
        look = self._folder.look(path)
        if look is None:
            self._left(path)
        elif look != before:
            # An untouched old file has been quiet since long before we looked.
            if before is None and time.time() - look.mtime_ns / 1e9 > self._settle_s + 5:
                since = time.monotonic() - self._settle_s
            else:
                since = time.monotonic()
            with self._changing:
                self._unsettled[path] = (look, since)
        if look is None or time.monotonic() - since < self._settle_s:
            return
        self._receive(path, look)
        with self._changing:
            if self._unsettled.get(path, (look, 0.0))[0] == look:
                self._unsettled.pop(path, None)

    def _receive(self, path: str, look: Look) -> None:
        try:
            file = self._folder.inspect(path, look)
        except UnreadableFile as error:
            self._arrivals.refuse(self._folder.seen(path, look), str(error))
            return
        self._arrivals.receive(file, is_gone=lambda old: self._folder.look(old) is None)
        self._on_received()

    def _left(self, path: str) -> None:
        """A path shows no file any more: a file was removed, or it was a folder all along."""
        with self._changing:
            self._unsettled.pop(path, None)
        if not self._folder.is_there():
            return
        here = self._folder.root / path
        if here.is_dir() and not here.is_symlink():
            # A folder moved in as a whole comes as one event; its files come by scan.
            for inside, _ in self._folder.walk(path):
                self._notice(inside)
            return
        self._arrivals.mark_missing([path])


class _Handler(FileSystemEventHandler):
    """Hands on the paths of the events that mean a change."""

    def __init__(self, notice: Callable[[str], None]) -> None:
        self._notice = notice

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in _TELLING or (event.is_directory and event.event_type == "modified"):
            return
        for path in (event.src_path, event.dest_path):
            if path:
                self._notice(path if isinstance(path, str) else path.decode(errors="surrogateescape"))
