"""The pipeline: waiting documents in, findable documents out.

Two loops, each with workers of its own, so that a book which is being embedded
never keeps the next one from being found by its words:

    reading    waiting ─► findable_words     `ingest.reading`
    embedding  findable_words ─► findable    `ingest.embedding`

The queue is the record itself; nothing is held in memory that a restart would
miss. Knows when to work and when not: a reader's pause, a full disk, somebody
who waits for an answer. Its hard rule: a loop that stands still says why, and
tries again.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ingest.embedding import Embedding
from ingest.indexes import Indexes
from ingest.labelling import Labelling
from ingest.link import WorkerLost
from ingest.moving import Move
from ingest.pacing import Pacer
from ingest.progress import IngestProgress, remaining_s
from ingest.reading import Reading
from ingest.rebuild import Rebuild
from library.catalogue import Catalogue
from library.errors import IndexUnavailable, RecordError
from library.facts import Facts
from library.queue import Queue
from library.values import DocumentState
from search.meaning import VectorSide

log = logging.getLogger(__name__)

_PAUSED = "ingest.paused"  # the fact that a reader wants no work to be done
# After a failure that is not the file's fault (a full disk, no model).
_PAUSE_AFTER_FAILURE_S = 5.0
# Without work for so long, the workers are ended and their memory is the machine's again.
IDLE_S = 60.0
CANCELLED = "Its indexing was cancelled. Retry it to have it read."


class Pipeline:
    """Owns the threads. `start` once, `stop` once."""

    def __init__(
        self,
        queue: Queue,
        catalogue: Catalogue,
        facts: Facts,
        indexes: Indexes,
        *,
        data: Path,
        min_free_mib: int,
    ) -> None:
        self._queue, self._catalogue, self._facts, self._indexes = queue, catalogue, facts, indexes
        self._data, self._min_free_mib = data, min_free_mib
        self._stopping = threading.Event()
        self._to_read, self._to_embed = threading.Event(), threading.Event()
        self._paused = facts.get(_PAUSED) is not None
        self._troubles: dict[str, str] = {}  # loop -> a sentence, while it stands still for a reason
        self._threads: list[threading.Thread] = []
        self._successor: Rebuild | Move | None = None

    def employ(
        self, reading: Reading, embedding: Embedding, labelling: Labelling, pacers: Sequence[Pacer]
    ) -> None:
        """Take on those who do the work; they were given `may_work` and `rest` of this pipeline."""
        self._reading, self._embedding, self._labelling, self._pacers = reading, embedding, labelling, pacers

    @property
    def successor(self) -> Rebuild | Move | None:
        """Whoever makes another vector index the serving one, while that is under way."""
        return self._successor

    def succeed_by(self, successor: Rebuild | Move | None) -> None:
        """Have another vector index built or filled beside the one that serves; with None, no longer."""
        self._successor = successor
        self.wake()

    def serve_vectors(self, side: VectorSide) -> None:
        """Compute vectors for that index from now on; called while the indexes may not change."""
        self._embedding.side = side

    def start(self) -> None:
        for pacer in self._pacers:
            pacer.start()
        for name, work, wanted, send_home in (
            ("reading", self._read, self._to_read, self._reading.send_home),
            ("embedding", self._embed, self._to_embed, self._send_embedders_home),
        ):
            thread = threading.Thread(target=self._loop, args=(name, work, wanted, send_home), name=name)
            self._threads.append(thread)
            thread.start()
        self.wake()

    def wake(self) -> None:
        """Say that a document waits. Costs nothing when none does."""
        self._to_read.set()
        self._to_embed.set()

    def stop(self) -> None:
        """End both loops and their workers; what was under way waits for the next start."""
        self._stopping.set()
        self.wake()
        for pacer in self._pacers:
            pacer.stop()
        self._reading.close()
        self._embedding.close()
        if self._successor is not None:
            self._successor.close()
        for thread in self._threads:
            thread.join()

    # --- a reader decides ------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self._paused

    def pause(self) -> None:
        """Begin no further work until `resume`, also after a restart; what is findable stays so."""
        self._facts.put(_PAUSED, "by a reader")
        self._paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        self._facts.put(_PAUSED, None)
        self._paused = False
        self.wake()

    def retry(self, document_ids: Sequence[str] | None = None) -> int:
        """Read these failed documents, or all of them, again; returns how many there were."""
        count = self._queue.retry(document_ids)
        self.wake()
        return count

    def cancel(self, document_ids: Sequence[str] | None = None) -> int:
        """Give up these unfinished documents, or all; they fail saying so. Returns how many there were."""
        with self._indexes.changing:
            unfinished = self._queue.unfinished(document_ids)
            # Of a book that was changed and waits, too: the indexes hold its earlier text.
            ids = self._queue.chunk_ids([taken.document.id for taken in unfinished])
            indexed = [
                taken.document.id
                for taken in unfinished
                if taken.document.state is not DocumentState.WAITING or ids[taken.document.id]
            ]
            self._indexes.forget(indexed)
            if indexed:
                self._indexes.words.commit()
            return self._queue.give_up([taken.document.id for taken in unfinished], CANCELLED)

    # --- how it goes -----------------------------------------------------------------------------

    @property
    def trouble(self) -> str | None:
        """A sentence, while work stands still for a reason that is not a reader's wish."""
        return next(iter(self._troubles.values()), None)

    def progress(self) -> IngestProgress:
        amount = self._catalogue.amount()
        rate = self._embedding.rate.a_second()
        return IngestProgress(
            paused=self._paused,
            trouble=self.trouble,
            reading=tuple(self._reading.at_hand.values()),
            embedding=tuple(self._embedding.at_hand),
            documents=self._catalogue.counts(),
            chunks=amount.chunks,
            embedded=amount.embedded,
            embedded_since_start=self._embedding.rate.total,
            chunks_per_s=None if rate is None else round(rate, 1),
            remaining_s=None if self._paused else remaining_s(amount, rate),
            rebuilding=None if (successor := self._successor) is None else successor.share(),
        )

    # --- the two loops ---------------------------------------------------------------------------

    def may_work(self) -> bool:
        """Whether another step may begin. Raises IndexUnavailable, which says so, when the disk is nearly full."""
        if self._stopping.is_set() or self._paused or self._indexes.words.shortfall is not None:
            return False  # what is stored while the words are put back could not be proven
        free_mib = shutil.disk_usage(self._data).free // 2**20
        if free_mib < self._min_free_mib:
            raise IndexUnavailable(
                f"only {free_mib} MiB are free on the disk of {self._data}, and {self._min_free_mib} MiB are kept "
                "free. Make room, or lower `ingest.min_free_mib`; it goes on by itself."
            )
        return True

    def rest(self, seconds: float) -> None:
        """Wait, unless all is to end."""
        self._stopping.wait(seconds)

    def _loop(
        self, name: str, work: Callable[[], None], wanted: threading.Event, send_home: Callable[[], None]
    ) -> None:
        while not self._stopping.is_set():
            if not wanted.wait(IDLE_S):
                send_home()
                wanted.wait()
            wanted.clear()
            try:
                work()
                self._troubles.pop(name, None)
            except (IndexUnavailable, RecordError, WorkerLost, OSError) as error:
                if self._stopping.is_set():
                    return
                # Not the file's fault: it stays in the queue and is tried again.
                self._troubles[name] = f"Indexing stands still: {error}"
                log.warning("indexing stands still: %s", error)
            except Exception as error:  # the outermost loop of a thread: it must not end unseen
                if self._stopping.is_set():
                    return
                self._troubles[name] = f"Indexing stands still: {error}. Please report this."
                log.exception("indexing stands still")
            if name in self._troubles:
                self._stopping.wait(_PAUSE_AFTER_FAILURE_S)
                wanted.set()

    def _send_embedders_home(self) -> None:
        self._embedding.send_home()
        if self._successor is not None:
            self._successor.send_home()

    def _read(self) -> None:
        self._reading.work(on_findable=self._to_embed.set)

    def _embed(self) -> None:
        self._labelling.work(self.may_work)
        self._embedding.work()
        # What was sent back to be read once more.
        if self._queue.waiting():
            self._to_read.set()
        successor = self._successor
        if successor is None:
            return
        if successor.work():
            successor.hand_over(self._embedding)
            if self._successor is successor:  # a reader may have begun the next one by now
                self._successor = None
        elif successor.more:
            self._to_embed.set()
