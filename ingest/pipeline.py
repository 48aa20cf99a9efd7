"""The pipeline: waiting documents in, findable documents out.

Two loops, each with a worker of its own, so that a book which is being
embedded never keeps the next one from being found by its words:

    reading    waiting ─► extract, chunk ─► record ─► lexical commit ─► findable_words
    embedding  findable_words ─► vectors, in batches ─► watermark ─► proof ─► findable

The queue is the record itself; nothing is held in memory that a restart would
miss. Knows no file format and no HTTP. Its hard rule: *findable* is written
last, after a sentence of the document was found in both indexes; die before
that and the document is simply done again.

Who excludes whom: `_indexes` is held by whoever replaces or removes a
document's chunks (reading) and by whoever adds vectors for them (embedding),
so that no vector is ever added for a chunk that has just been replaced.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import msgspec

from ingest.folder import LibraryFolder
from ingest.link import WorkerLink, WorkerLost
from ingest.progress import IngestProgress
from ingest.wire import Broken, Embed, Embedded, Extract, Read, Unreadable
from library.arrivals import Arrivals
from library.catalogue import Catalogue
from library.errors import IndexUnavailable, RecordError
from library.queue import Queue
from library.values import Document, DocumentState, IndexedChunk
from search.embedder import DIMENSIONS
from search.lexical import LexicalIndex
from search.precedence import Precedence
from search.vectors import VectorIndex

log = logging.getLogger(__name__)

# One lexical commit for all that was read within about a second: a commit
# costs a sync to the disk, and a thousand tiny files would cost a thousand.
_COMMIT_AFTER_S = 0.7
_COMMIT_AFTER_DOCUMENTS = 200
# Texts sent to the embedding worker at once: enough to batch those of like
# length together, little enough to yield to a reader within about a second.
_WINDOW = 64
# The longest a window waits while somebody searches or is answered.
_LONGEST_WAIT_S = 10.0
# After a failure that is not the file's fault (a full disk, no model).
_PAUSE_AFTER_FAILURE_S = 5.0


class _Window(msgspec.Struct, frozen=True):
    """Chunks under way to the embedding worker, with the digest their documents had."""

    chunks: tuple[IndexedChunk, ...]
    digests: dict[str, str]


class Pipeline:
    def __init__(
        self,
        folder: LibraryFolder,
        arrivals: Arrivals,
        queue: Queue,
        catalogue: Catalogue,
        lexical: LexicalIndex,
        vectors: VectorIndex,
        *,
        reader: WorkerLink,
        embedder: WorkerLink,
        precedence: Precedence,
    ) -> None:
        self._folder, self._arrivals, self._queue, self._catalogue = folder, arrivals, queue, catalogue
        self._lexical, self._vectors = lexical, vectors
        self._reader, self._embedder, self._precedence = reader, embedder, precedence
        self._indexes = threading.Lock()
        self._stopping = threading.Event()
        self._to_read, self._to_embed = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._loop, args=(self._read_waiting, self._to_read), name="reading"),
            threading.Thread(target=self._loop, args=(self._embed_lacking, self._to_embed), name="embedding"),
        ]
        self._paused = False
        self._reading: tuple[str, ...] = ()
        self._embedding: tuple[str, ...] = ()
        self._troubles: dict[str, str] = {}  # loop -> a sentence, while it stands still for a reason

    @property
    def trouble(self) -> str | None:
        """A sentence, while work stands still for a reason."""
        return next(iter(self._troubles.values()), None)

    # --- a reader decides --------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self._paused

    def pause(self) -> None:
        """Take no further work until `resume`, also after a restart; what is findable stays so."""
        self._paused = True

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused = False
        self.wake()

    def retry(self, document_ids: Sequence[str] | None = None) -> int:
        """Read these failed documents, or all of them, again; returns how many there were."""
        count = self._queue.retry(document_ids)
        self.wake()
        return count

    def cancel(self, document_ids: Sequence[str] | None = None) -> int:
        """Give up these unfinished documents, or all; they fail saying so. Returns how many there were."""
        return self._queue.cancel(document_ids)

    def progress(self) -> IngestProgress:
        counts = self._catalogue.counts()
        chunks, embedded = self._catalogue.indexed_totals()
        return IngestProgress(
            paused=self.paused,
            trouble=self.trouble,
            reading=self._reading,
            embedding=self._embedding,
            to_read=counts[DocumentState.WAITING] + counts[DocumentState.READING],
            to_embed=counts[DocumentState.FINDABLE_WORDS],
            chunks=chunks,
            embedded=embedded,
            chunks_per_s=None,
            remaining_s=None,
        )

    def start(self) -> None:
        for thread in self._threads:
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
        self._reader.close()
        self._embedder.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    # --- the two loops ---------------------------------------------------------------------------

    def _loop(self, work: Callable[[], None], wanted: threading.Event) -> None:
        while not self._stopping.is_set():
            wanted.wait()
            wanted.clear()
            try:
                work()
                self._troubles.pop(work.__name__, None)
            except (IndexUnavailable, RecordError, WorkerLost, OSError) as error:
                if self._stopping.is_set():
                    return
                # Not the file's fault: it stays in the queue and is tried again.
                self._troubles[work.__name__] = f"Indexing stands still: {error}"
                log.warning("indexing stands still: %s", error)
            except Exception as error:  # the outermost loop of a thread: it must not end unseen
                self._troubles[work.__name__] = f"Indexing stands still: {error}. Please report this."
                log.exception("indexing stands still")
            if work.__name__ in self._troubles:
                self._stopping.wait(_PAUSE_AFTER_FAILURE_S)
                wanted.set()

    def _read_waiting(self) -> None:
        """Read all that waits, committing in groups."""
        self._queue.reset_reading()  # after a crash, or after a failure of this very loop
        while not self._stopping.is_set():
            done = self._read_group()
            if not done:
                return
            self._to_embed.set()

    def _read_group(self) -> int:
        """Read documents for about a second, make them findable by words, return how many were taken."""
        taken, read = 0, list[tuple[Document, str]]()
        began = time.monotonic()
        while (
            not self._paused
            and taken < _COMMIT_AFTER_DOCUMENTS
            and time.monotonic() - began < _COMMIT_AFTER_S
        ):
            next_one = self._queue.begin_reading()
            if next_one is None:
                break
            taken += 1
            document, digest = next_one
            if self._read(document, digest):
                read.append(next_one)
        self._reading = ()
        if taken:
            self._lexical.commit()
        for document, digest in read:
            self._queue.advance(document.id, digest, DocumentState.FINDABLE_WORDS)
        return taken

    def _read(self, document: Document, digest: str) -> bool:
        """Read one document into the record and the lexical writer; False when it came to nothing."""
        if self._folder.look(document.path) is None:
            self._arrivals.mark_missing([document.path])
            return False
        self._reading = (document.path,)
        try:
            reply = self._reader.call(Extract(str(self._folder.root / document.path)))
        except WorkerLost as error:
            if self._stopping.is_set():
                raise
            reply = Unreadable(
                f"It could not be read: {error}. The file is damaged, or too large for this machine."
            )
        if isinstance(reply, Broken):
            raise IndexUnavailable(reply.reason)
        if not isinstance(reply, Read):
            reason = reply.reason if isinstance(reply, Unreadable) else "The reader answered out of turn."
            with self._indexes:
                self._forget(document.id)
                self._queue.fail(document.id, digest, reason)
            log.info("document failed", extra={"document": document.id})
            return False
        with self._indexes:
            self._forget(document.id)
            chunks = self._queue.store_text(document.id, digest, reply.extracted, reply.chunks)
            if chunks is None:
                return False
            self._lexical.add(chunks)
        return True

    def _forget(self, document_id: str) -> None:
        """Take an earlier edition out of both indexes, before the record forgets its chunk ids."""
        earlier = self._queue.chunk_ids(document_id)
        if earlier:
            self._vectors.remove(earlier)
        # Also without earlier chunks: a crash between the lexical commit and
        # the next state leaves chunks there that the record will store again.
        self._lexical.remove(document_id)

    def _embed_lacking(self) -> None:
        """Give every chunk its vector. One window is always under way, so that the worker never waits."""
        under_way: _Window | None = None
        try:
            for window in chain(self._windows(), (None,)):
                if window is not None:
                    self._precedence.wait_quiet(_LONGEST_WAIT_S)
                    self._embedder.send(Embed([chunk.indexed_text for chunk in window.chunks]))
                if under_way is not None:
                    self._keep(under_way)
                under_way = window
            self._embedding = ()
        except BaseException:
            # Replies still under way would be taken for those of the next pass.
            self._embedder.restart()
            raise

    def _windows(self) -> Iterator[_Window]:
        """The chunks that lack vectors, oldest document first, a window at a time."""
        chunks: list[IndexedChunk] = []
        digests: dict[str, str] = {}
        for document, digest in self._queue.lacking_vectors():
            self._to_embed.set()  # there may be more than one query returns; look again afterwards
            if self._paused:
                return
            if document.chunks == document.embedded:
                self._prove(document.id, digest)
                continue
            digests[document.id] = digest
            for chunk in self._queue.indexed_chunks(document, first=document.embedded):
                if self._stopping.is_set() or self._paused:
                    return
                self._embedding = (document.path,)
                chunks.append(chunk)
                if len(chunks) == _WINDOW:
                    yield _Window(tuple(chunks), dict(digests))
                    chunks, digests = [], {document.id: digest}
        if chunks:
            yield _Window(tuple(chunks), dict(digests))

    def _keep(self, window: _Window) -> None:
        """Take a window's vectors from the worker and add them to the index."""
        reply = self._embedder.receive()
        if isinstance(reply, Broken):
            raise IndexUnavailable(reply.reason)
        if not isinstance(reply, Embedded):
            raise WorkerLost("the embedding worker answered out of turn")
        rows = memoryview(reply.vectors).cast("f")
        with self._indexes:
            firsts: dict[str, IndexedChunk] = {}
            for chunk in window.chunks:
                firsts.setdefault(chunk.document_id, chunk)
            # What was read again meanwhile, here or on another shelf, is for the next pass.
            current = self._queue.continued_by(firsts, window.digests)
            kept = [
                (chunk, rows[at * DIMENSIONS : (at + 1) * DIMENSIONS].tolist())
                for at, chunk in enumerate(window.chunks)
                if chunk.document_id in current
            ]
            if not kept:
                return
            self._vectors.upsert([chunk for chunk, _ in kept], [vector for _, vector in kept])
            self._queue.note_embedded({chunk.document_id: chunk.ordinal + 1 for chunk, _ in kept})
        for document_id in current:
            document = self._catalogue.document(document_id)
            if document.embedded == document.chunks:
                last = next((pair for pair in reversed(kept) if pair[0].document_id == document_id), None)
                self._prove(document_id, window.digests[document_id], last)

    def _prove(
        self, document_id: str, digest: str, last: "tuple[IndexedChunk, Sequence[float]] | None" = None
    ) -> None:
        """Call a document findable if it is: every chunk in both indexes, and a sentence found in each."""
        ids = self._queue.chunk_ids(document_id)
        complete = self._lexical.count(document_id) == len(ids) and self._vectors.holds(ids)
        found = complete
        if complete and last is not None:
            chunk, vector = last
            found = self._lexical.contains(chunk.text, document_id) and self._vectors.contains(
                vector, chunk.id
            )
        if found:
            # Last on purpose; see the module's hard rule.
            self._queue.advance(document_id, digest, DocumentState.FINDABLE)
            return
        with self._indexes:
            self._forget(document_id)
            self._lexical.commit()
            self._queue.fail(
                document_id,
                digest,
                "It was read, but a search for one of its own sentences did not find it. "
                "Save the file again to have it indexed anew; if this comes back, report it.",
            )
