"""Reading: from a waiting document to one that is found by its words.

    waiting ─► extract, chunk (in a worker) ─► record ─► lexical commit ─► proof ─► findable_words

Several workers read at once, so that one slow book does not hold up the next.
What they bring is stored in groups: a commit costs a sync to the disk, and a
thousand tiny files would cost a thousand. Knows no file format.
"""

import logging
import queue as queues
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import NamedTuple

from ingest.folder import LibraryFolder, Look
from ingest.indexes import Indexes
from ingest.link import WorkerLink, WorkerLost
from ingest.proof import Uncovered, probes
from ingest.wire import Broken, Extract, Read, Reply, Unreadable
from library.arrivals import Arrivals
from library.errors import IndexUnavailable, UnreadableFile
from library.queue import Queue, Taken
from library.texts import Text
from library.values import DocumentState, IndexedChunk

log = logging.getLogger(__name__)

# What was read within so long is stored and committed together.
_COMMIT_AFTER_S = 0.5
_COMMIT_AFTER_DOCUMENTS = 200
_COMMIT_AFTER_CHARACTERS = 16_000_000
_TAKEN_AHEAD = 8  # documents a worker, so that it never waits for the record
_RESHELVED_AT_ONCE = 50
_KILLS_OF_ONE_FILE = 3  # from outside, which is rarely the file's fault, before it is given up


class _Done(NamedTuple):
    taken: Taken
    read: Read | None  # None: its file is gone
    reason: str | None  # a sentence, when it cannot be read


class Reading:
    def __init__(
        self,
        folder: LibraryFolder,
        arrivals: Arrivals,
        queue: Queue,
        indexes: Indexes,
        links: Sequence[WorkerLink],
        *,
        may_work: Callable[[], bool],
    ) -> None:
        self._folder, self._arrivals, self._queue, self._indexes = folder, arrivals, queue, indexes
        self._links = links
        self._idle: queues.SimpleQueue[WorkerLink] = queues.SimpleQueue()
        for link in links:
            self._idle.put(link)
        self._may_work = may_work
        self._pool = ThreadPoolExecutor(max_workers=len(links), thread_name_prefix="reader")
        self.at_hand: dict[str, str] = {}  # document id -> path, of what the workers read just now

    def work(self, on_findable: Callable[[], None]) -> None:
        """Read all that waits. Raises IndexUnavailable, RecordError and OSError when it cannot go on."""
        self._queue.reset_reading()  # after a crash, or after a failure of this very loop
        self._clear()
        self._reshelve()
        under_way: set[Future[_Done | None]] = set()
        done: list[_Done] = []
        due = 0.0
        try:
            while True:
                if self._may_work() and len(under_way) < len(self._links) * _TAKEN_AHEAD // 2:
                    under_way |= {
                        self._pool.submit(self._read, taken)
                        for taken in self._queue.begin_reading(len(self._links) * _TAKEN_AHEAD)
                    }
                if not under_way and not done:
                    return
                finished, under_way = wait(
                    under_way,
                    timeout=max(0.0, due - time.monotonic()) if done else None,
                    return_when=FIRST_COMPLETED,
                )
                if finished and not done:
                    due = time.monotonic() + _COMMIT_AFTER_S
                done += [one for future in finished if (one := future.result()) is not None]
                if done and (not under_way or time.monotonic() >= due or _is_much(done)):
                    self._store(done)
                    done = []
                    on_findable()
        finally:
            for future in under_way:
                future.cancel()
            wait(under_way)

    def send_home(self) -> None:
        """End the workers; the next file starts them again."""
        for link in self._links:
            link.restart()

    def close(self) -> None:
        """End the workers; what they read is read again after the next start."""
        for link in self._links:
            link.close()
        self._pool.shutdown(cancel_futures=True)

    def _read(self, taken: Taken) -> _Done | None:
        """In a thread of the pool: one document through a worker. Raises IndexUnavailable without a model.

        None when nothing is to be stored. A file that is written on meanwhile
        stays in reading until it has settled and been received: half of it
        would pass every proof, and the same content again is no change.
        """
        document, received = taken.document, Look(taken.document.size_bytes, taken.mtime_ns)
        look = self._folder.look(document.path)
        if look is None:
            return _Done(taken, None, None)
        if not taken.digest:
            return self._received_at_last(taken, look)
        if look != received:
            return None
        done = self._through_a_worker(taken)
        return None if self._folder.look(document.path) not in (received, None) else done

    def _received_at_last(self, taken: Taken, look: Look) -> _Done | None:
        """A file that could not even be received, retried: it fails again, or waits like any other."""
        try:
            file = self._folder.inspect(taken.document.path, look)
        except UnreadableFile as error:
            return _Done(taken, None, str(error))
        if file is not None:
            self._arrivals.receive(file, is_gone=self._folder.is_gone)
        return None

    def _through_a_worker(self, taken: Taken) -> _Done | None:
        """What a worker says of it; None when all is to end."""
        document = taken.document
        with self._a_worker() as link:
            self.at_hand[document.id] = document.path
            try:
                reply = self._asked(link, Extract(document.path))
            except WorkerLost as error:
                if error.closed:
                    return None
                how = f"It could not be read: {error}. The file is damaged, or too large for this machine."
                if error.killed:
                    how = (
                        f"It could not be read: {error}, perhaps because memory ran out. "
                        "Try it again, or split the file."
                    )
                return _Done(taken, None, how)
            finally:
                self.at_hand.pop(document.id, None)
        if isinstance(reply, Broken):
            raise IndexUnavailable(reply.reason)
        if isinstance(reply, Read):
            return _Done(taken, reply, None)
        return _Done(
            taken, None, reply.reason if isinstance(reply, Unreadable) else "The reader answered out of turn."
        )

    @staticmethod
    def _asked(link: WorkerLink, request: Extract) -> Reply:
        """The reply; asked again when something outside ended the worker. Raises WorkerLost."""
        for _ in range(_KILLS_OF_ONE_FILE - 1):
            try:
                return link.call(request)
            except WorkerLost as error:
                if not error.killed:
                    raise
        return link.call(request)

    @contextmanager
    def _a_worker(self) -> Iterator[WorkerLink]:
        link = self._idle.get()
        try:
            yield link
        finally:
            self._idle.put(link)

    def _store(self, done: Sequence[_Done]) -> None:
        """Make what was read findable by words, and say of the rest why it is not."""
        read = [one for one in done if one.read is not None]
        failed = [one for one in done if one.reason is not None]
        gone = [one.taken.document.path for one in done if one.read is None and one.reason is None]
        if gone:
            self._arrivals.mark_missing(gone)
        with self._indexes.changing:
            self._indexes.forget([one.taken.document.id for one in (*read, *failed)])
            for one in failed:
                self._queue.fail(one.taken.document.id, one.taken.digest, str(one.reason))
                log.info("document failed", extra={"document": one.taken.document.id})
            stored = self._queue.store_texts(
                Text(one.taken.document.id, one.taken.digest, one.read.extracted, one.read.chunks)
                for one in read
                if one.read is not None
            )
            # Their file has gone meanwhile, and what was indexed of it before is gone, too.
            self._queue.forgotten(
                [one.taken.document.id for one in done if one.taken.document.id not in stored]
            )
            for chunks in stored.values():
                self._indexes.words.add(chunks)
            self._indexes.words.commit()
        findable = {}
        for one in read:
            added = stored.get(one.taken.document.id)
            if added is None or one.read is None:
                continue
            reason = self._unproven(one.read, added)
            if reason is None:
                findable[one.taken.document.id] = one.taken.digest
            else:
                self._give_up(one.taken, reason)
        # Last on purpose: dying before it, the document is read again.
        self._queue.advance(findable, DocumentState.FINDABLE_WORDS)

    def _unproven(self, read: Read, chunks: Sequence[IndexedChunk]) -> str | None:
        """Search for words from the beginning, middle and end; a sentence if they are not found."""
        try:
            drawn = probes(read.extracted.sections, read.chunks)
        except Uncovered as error:
            return f"Its {error.place} was lost on the way into the index. Please report this file."
        if not drawn:
            return "It holds no words that could be searched for, only signs or pictures."
        if self._indexes.words.shortfall is not None:
            raise IndexUnavailable(self._indexes.words.shortfall)
        found = self._indexes.lexical.contains((p.words, chunks[p.ordinal].id) for p in drawn)
        lost = [probe.place for probe, is_found in zip(drawn, found, strict=True) if not is_found]
        if lost:
            return f"It was read, but a search for words from its {lost[0]} did not find it. Please report this file."
        return None

    def _give_up(self, taken: Taken, reason: str) -> None:
        with self._indexes.changing:
            self._indexes.forget([taken.document.id])
            self._indexes.words.commit()
            if not self._queue.fail(taken.document.id, taken.digest, reason):
                self._queue.forgotten([taken.document.id])

    def _clear(self) -> None:
        """Take out of the indexes what they hold of documents that have failed since, unread: emptied, say."""
        while self._may_work() and (failed := self._queue.failed_with_text(_RESHELVED_AT_ONCE)):
            with self._indexes.changing:
                self._indexes.forget(failed)
                self._indexes.words.commit()
                self._queue.forgotten(failed)

    def _reshelve(self) -> None:
        """Index again under their new shelf what was moved; nothing is read or embedded for that."""
        while self._may_work() and (moved := self._queue.to_reshelve(_RESHELVED_AT_ONCE)):
            with self._indexes.changing:
                self._indexes.reshelve(moved)
                self._queue.reshelved(moved)


def _is_much(done: Sequence[_Done]) -> bool:
    characters = sum(len(chunk.text) for one in done if one.read for chunk in one.read.chunks)
    return len(done) >= _COMMIT_AFTER_DOCUMENTS or characters >= _COMMIT_AFTER_CHARACTERS
