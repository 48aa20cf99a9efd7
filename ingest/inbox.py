"""The inbox: notices what happens in the folder and receives files once they have settled.

Events tell quickly; a scan at the start, now and then, and whenever events may
have been lost tells for certain; both end in the same queue (`settling`).
Knows no file format. Its hard rules: when the folder itself is gone (an
unplugged disk), nothing is marked missing; and neither of its threads ever
ends before `stop`.

    watching   minds the watch: sets it, sets it anew when the folder was gone or another disk was mounted,
               scans, and polls where no events come
    inbox      looks at what was noticed, and receives what has settled, a group in one transaction
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ingest.folder import LibraryFolder, Look, Walk, passes_over
from ingest.formats import FORMATS
from ingest.group import Group
from ingest.mounts import Ground
from ingest.settling import Noticed, Settling
from ingest.watch import FolderWatch
from library.arrivals import Arrivals
from library.errors import RecordError
from library.jobs import Jobs
from library.values import DocumentState, FileKnown

log = logging.getLogger(__name__)

# Between two looks at what was noticed: events come in bunches.
_TICK_S = 0.1
# Between two looks at whether the watch still watches what the folder stands on.
_CHECK_S = 1.0
# Received in one transaction: a transaction a file is slow, and others want to write, too.
_GROUP = 400
_GROUP_S = 0.5
# How long what is gone may wait for what has come: a moved file is not missing in between.
_GONE_WAITS_S = 10.0
# A poll may take this part of the time, however large the folder is.
_POLL_SHARE = 20
# After which the watch is tried again where a limit of the kernel's was met.
_LIMIT_AGAIN_S = 600.0
_PAUSE_AFTER_FAILURE_S = 5.0

WatchMode = Literal["auto", "events", "polling"]


class Inbox:
    def __init__(
        self,
        folder: LibraryFolder,
        arrivals: Arrivals,
        jobs: Jobs,
        *,
        settle_s: float,
        on_received: Callable[[], None],
        watch: WatchMode = "auto",
        poll_s: float = 15.0,
    ) -> None:
        self._folder, self._arrivals, self._jobs = folder, arrivals, jobs
        self._settle_s, self._on_received = settle_s, on_received
        self._mode, self._poll_s = watch, poll_s
        self._settling = Settling(settle_s, time.monotonic)
        self._gone: dict[str, tuple[Noticed, float]] = {}  # settled as gone, since when
        self._scanning = threading.Lock()
        self._stopping, self._wanted, self._scan_wanted = (threading.Event() for _ in range(3))
        self._watch: FolderWatch | None = None
        self._ground: Ground | None = None
        self._limit: str | None = None  # of the kernel's, met when watching: what to raise
        self._armed_at = 0.0
        self._next_poll = 0.0
        self._failed_scan = False
        self._troubles: dict[str, str] = {}  # what about -> a sentence
        self._threads = [
            threading.Thread(target=self._loop, args=(self._settle,), name="inbox", daemon=True),
            threading.Thread(target=self._loop, args=(self._mind,), name="watching", daemon=True),
        ]
        self.scanned = threading.Event()  # set once the first scan is through
        self.passed_over = (
            0  # files beside the documents at the last scan: covers, style sheets, refused links
        )

    def start(self) -> None:
        """Begin to watch, then scan. Returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wanted.set()
        self._scan_wanted.set()
        for thread in self._threads:
            if thread.is_alive():
                # A network share that hangs must not hang the whole house.
                thread.join(timeout=30)
        if self._watch is not None:
            self._watch.stop()

    @property
    def alive(self) -> bool:
        """Whether files are still being taken in."""
        return all(thread.is_alive() for thread in self._threads) or not self.scanned.is_set()

    @property
    def unsettled(self) -> int:
        """How many files have been noticed and are not received yet."""
        return len(self._settling)

    @property
    def trouble(self) -> str | None:
        """Sentences, while the folder cannot be watched or seen as it should be."""
        return " ".join(dict.fromkeys(list(self._troubles.values()))) or None

    def tell(self, about: str, sentence: str | None) -> None:
        """Say what is the trouble with something, or that there is none any more."""
        if sentence is None:
            self._troubles.pop(about, None)
        else:
            self._troubles[about] = sentence

    @property
    def watched_by(self) -> str:
        """How changes are noticed at present: "events", "polling", or "events and polling"."""
        ways = (["events"] if self._watch is not None else []) + (["polling"] if self._polls() else [])
        return " and ".join(ways) or "scans"

    def notice(self, relative: str) -> None:
        """Somebody knows that a file has come or gone at this path of the library."""
        self._settling.notice([relative])
        self._wanted.set()

    # --- scans -----------------------------------------------------------------------------------

    def scan(self) -> None:
        """Compare the folder with the record, and note every difference. Never raises: it runs by the clock."""
        self._look_through(poll=False)

    def _look_through(self, *, poll: bool) -> None:
        try:
            with self._scanning:
                if poll:
                    self._compare()
                else:
                    with self._jobs.run("scan") as job:
                        job.detail = self._compare()
            self.tell("scan", None)
            self._failed_scan = False
        except Exception as error:  # the outermost loop of a thread, see the module's hard rules
            log.exception("the folder could not be looked through")
            self._failed_scan = True
            self.tell("scan", f"The library folder could not be looked through: {error}. It is tried again.")
        finally:
            self.scanned.set()

    def _compare(self) -> str:
        """One way through the folder; what it came to, as a sentence."""
        known = self._arrivals.known_files()
        walk = self._folder.walk(wanted=self._running)
        noticed = 0
        for path, look in walk if self._folder.is_there() else ():
            before = known.pop(path, None)
            if before is None or _differs(path, before, look):
                self._settling.see(path, look, is_quiet=self._is_old(look))
                noticed += 1
                if noticed % _GROUP == 1:
                    self._wanted.set()
        if not self._running():
            return "Almanac was stopped."
        if "" in walk.unlisted or not self._folder.is_there():
            sentence = (
                f"The library folder {self._folder.root} cannot be seen. Plug the disk in or create the "
                "folder; nothing has been removed."
            )
            self.tell("folder", sentence)
            return sentence
        unlisted = tuple(f"{folder}/" for folder in walk.unlisted)
        gone = [
            path
            for path, file in known.items()
            if file.state is not DocumentState.MISSING and not path.startswith(unlisted)
        ]
        self._settling.miss(gone)
        self._wanted.set()
        self.passed_over = walk.passed_over
        self.tell("folder", self._told_of(walk, len(known)))
        beside = f" {walk.passed_over} files that are no documents were passed over." * bool(walk.passed_over)
        return f"{noticed} new or changed, {len(gone)} gone.{beside}"

    def _told_of(self, walk: Walk, absent: int) -> str | None:
        """What a scan could not see, as sentences."""
        if absent and not walk.files:
            return (
                f"The library folder {self._folder.root} is empty although {absent} documents are known. "
                "If its disk is not mounted, mount it; they are kept, and come back without being read again."
            )
        return " ".join(walk.troubles()) or None

    # --- the watch -------------------------------------------------------------------------------

    def _mind(self) -> None:
        """Once a second: is the folder still what is watched? Scan and poll when there is cause."""
        standing, now = self._folder.ground(), time.monotonic()
        watch = self._watch
        is_dead = watch is not None and not watch.alive
        again = self._limit is not None and now - self._armed_at > _LIMIT_AGAIN_S
        if not self.scanned.is_set() or standing != self._ground or is_dead or again:
            if is_dead:
                log.warning("the folder is no longer watched; it is watched anew")
            self._arm(standing)
            self._look_through(poll=False)
        elif watch is not None and watch.missed.is_set():
            watch.missed.clear()
            self._tell_of_limit(watch.limit)
            self._look_through(poll=False)
        elif self._failed_scan:
            self._stopping.wait(_PAUSE_AFTER_FAILURE_S)
            self._look_through(poll=False)
        elif self._polls() and now >= self._next_poll:
            self._look_through(poll=True)
        else:
            self._scan_wanted.wait(_CHECK_S)
            self._scan_wanted.clear()
            return
        took = time.monotonic() - now
        self._next_poll = time.monotonic() + max(self._poll_s, took * _POLL_SHARE)

    def _arm(self, standing: Ground | None) -> None:
        """Watch what the folder stands on now, or nothing."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        self._ground, self._armed_at = standing, time.monotonic()
        is_untold = standing is not None and standing.mount is not None and not standing.mount.tells
        if standing is None or self._mode == "polling" or (self._mode == "auto" and is_untold):
            self._tell_of_limit(None)
            return
        watch = FolderWatch(self._folder.root, self._told)
        if watch.start():
            self._watch = watch
        else:
            watch.stop()
        self._tell_of_limit(watch.limit)

    def _polls(self) -> bool:
        """Whether changes are looked for every `poll_s`, beside any events."""
        if self._ground is None:
            return False
        if self._mode == "polling" or self._watch is None or self._limit is not None:
            return True
        return self._mode == "auto" and bool(self._ground.untold)

    def _tell_of_limit(self, limit: str | None) -> None:
        self._limit = limit
        self.tell(
            "watch",
            limit
            and (
                "Not every folder of the library can be watched, because a limit of this machine is reached; "
                f"they are looked through every {self._poll_s:g} s instead. Raise {limit}, for example with "
                "`sysctl`, and restart Almanac."
            ),
        )

    def _told(self, path: str) -> None:
        if self._folder.relative(str(self._folder.root / path)) is not None:
            self.notice(path)

    # --- settling --------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Look at what is due; receive what has settled, and believe what has stayed gone."""
        taken = self._settling.take(_GROUP)
        if not taken and not self._gone:
            waits_s = self._settling.waits_s
            self._wanted.wait(waits_s)
            self._wanted.clear()
            self._stopping.wait(_TICK_S)
            return
        try:
            settled = [(noticed, look) for noticed in taken if (look := self._looked_at(noticed))]
            self._receive(settled)
        finally:
            self._settling.put_back(
                noticed for noticed in taken if self._gone.get(noticed.path, (None,))[0] is not noticed
            )
        waits_s = self._settling.waits_s
        oldest = next((since for _, since in self._gone.values()), None)  # in order of time
        if oldest is not None and (waits_s != 0 or time.monotonic() - oldest > _GONE_WAITS_S):
            self._believe_gone()
        if waits_s != 0:
            self._stopping.wait(_TICK_S)

    def _looked_at(self, noticed: Noticed) -> Look | None:
        """What the path shows, if it is a file and has settled."""
        path = noticed.path
        try:
            look = None if not self._running() else self._folder.look(path)
            if look is None and not noticed.looked and self._folder.is_folder(path):
                # A folder that came as a whole comes as one event; its files come by a walk.
                for inside, its_look in self._folder.walk(path, wanted=self._running):
                    self._settling.see(inside, its_look, is_quiet=self._is_old(its_look))
                self._gone[path] = (noticed, time.monotonic())  # a file that the folder took the place of
                return None
            if look is not None and passes_over(path):
                look = None
            is_quiet = look is not None and not noticed.looked and self._is_old(look)
            has_settled = self._settling.settled(noticed, look, is_quiet=is_quiet)
        except Exception as error:  # noqa: BLE001 - one odd file never stops another; it is logged and told
            self._give_up(noticed, error)
            return None
        if has_settled and look is None:
            self._gone[path] = (noticed, time.monotonic())
        return look if has_settled else None

    def _receive(self, settled: list[tuple[Noticed, Look]]) -> None:
        """Receive these files, or the first of them if they take long; the rest comes next."""
        began = time.monotonic()
        group = Group(self._folder)
        for noticed, look in settled:
            if not self._running() or (len(group) and time.monotonic() - began > _GROUP_S):
                break
            try:
                if not group.add(noticed, look, wanted=self._running) and self._running():
                    self._settling.notice([noticed.path])  # written while it was read
            except Exception as error:  # noqa: BLE001 - one odd file never stops another; it is logged and told
                self._give_up(noticed, error)
        if len(group):
            for noticed in group.receive(self._arrivals):
                self._settling.done(noticed)
            self._on_received()

    def _believe_gone(self) -> None:
        """What has stayed away is missing, as long as the folder itself is the one that is watched."""
        gone, self._gone = self._gone, {}
        try:
            if self._folder.is_there() and self._folder.ground() == self._ground:
                absent = [path for path in gone if self._folder.is_gone(path)]
                # A folder may be back; of those, only a document that was a file of that name is gone.
                folders = {path for path in absent if self._folder.is_folder(path)}
                self._arrivals.mark_missing([path for path in absent if path not in folders])
                if folders:
                    self._arrivals.mark_missing(folders, below=False)
        except BaseException:
            self._gone = gone | self._gone
            raise
        for noticed, _ in gone.values():
            self._settling.done(noticed)

    def _give_up(self, noticed: Noticed, error: Exception) -> None:
        """One odd file never stops another."""
        log.error("a file could not be taken in", exc_info=error)
        self.tell("file", f"{noticed.path!r} could not be taken in: {error}. Rename it, or copy it again.")
        self._settling.done(noticed)

    # --- both threads ----------------------------------------------------------------------------

    def _running(self) -> bool:
        return not self._stopping.is_set()

    def _is_old(self, look: Look) -> bool:
        """An untouched old file has been quiet since long before we looked."""
        return time.time() - look.mtime_ns / 1e9 > self._settle_s + 5

    def _loop(self, work: Callable[[], None]) -> None:
        while self._running():
            try:
                work()
                self.tell(work.__name__, None)
            except RecordError as error:
                log.warning("files cannot be received: %s", error)
                self.tell(work.__name__, f"New files cannot be taken in: {error}")
                self._stopping.wait(_PAUSE_AFTER_FAILURE_S)
            except Exception as error:  # the outermost loop of a thread: it must not end unseen
                log.exception("the library folder cannot be followed")
                self.tell(work.__name__, f"New files cannot be taken in: {error}. Please report this.")
                self._stopping.wait(_PAUSE_AFTER_FAILURE_S)


def _differs(path: str, before: FileKnown, look: Look) -> bool:
    """Whether a file is other than the record knows it, or may be read now."""
    if (before.size_bytes, before.mtime_ns) != (look.size_bytes, look.mtime_ns):
        return True
    if before.state is DocumentState.MISSING:
        return True
    # A file that could not even be opened may have been given permission since; one of
    # a kind that cannot be read will not have been, and is not counted as still to come.
    unopened = before.state is DocumentState.FAILED and not before.digest and look.size_bytes > 0
    return unopened and Path(path).suffix.lower() in FORMATS
