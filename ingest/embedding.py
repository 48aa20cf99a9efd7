"""Embedding: from a document that is found by its words to one that is found by meaning too.

    findable_words ─► vectors, in windows ─► upsert ─► proof ─► watermark ─► findable

A window is what is sent to an embedding worker at once. Two are under way for
each worker, so that none waits. Windows are as large as a few seconds of this
machine allow: what a crash costs, and how long a book that has just been
dropped waits for the one before it. A window that its worker does not survive
is halved until the culprit stands alone.

Works on one vector index: the serving one, or one that is built beside it.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence

import msgspec

from ingest.indexes import Indexes
from ingest.link import WorkerLink, WorkerLost
from ingest.proof import vector_probes
from ingest.rate import Rate
from ingest.wire import Broken, Embed, Embedded
from library.errors import IndexUnavailable
from library.queue import Queue
from library.values import Document, DocumentState, IndexedChunk
from library.watermark import Watermark
from search.meaning import VectorSide

log = logging.getLogger(__name__)

_LARGEST_WINDOW = 256
_FIRST_WINDOW = 32
_SMALLEST_WINDOW = 8
_WINDOW_S = 3.0
_CRASHES_OF_ONE_CHUNK = 3  # before its document is given up
_KILLS_OF_ONE_CHUNK = 12  # the same when something outside ended the worker, which is rarely the text's fault
_LONGEST_REST_S = 5.0

_NOT_FOUND = "It was read, but a search by meaning for its own text did not find it. Please report this file."
_FATAL = (
    "Computing its vectors crashed the worker again and again at the same passage. Please report this file."
)


class _Window(msgspec.Struct, frozen=True):
    """Chunks under way to a worker, with the digest and the path that their documents had."""

    link: WorkerLink
    chunks: tuple[IndexedChunk, ...]
    digests: dict[str, str]
    paths: dict[str, str]


class Embedding:
    def __init__(
        self,
        queue: Queue,
        mark: Watermark,
        indexes: Indexes,
        side: VectorSide,
        links: Sequence[WorkerLink],
        *,
        proves: bool,
        may_work: Callable[[], bool],
        rest: Callable[[float], object],
    ) -> None:
        """`proves`: a document that is whole here is called findable. `rest` waits, unless all is to end."""
        self._queue, self._mark, self._indexes, self.side = queue, mark, indexes, side
        self.links, self._proves, self._may_work, self._rest = tuple(links), proves, may_work, rest
        self._under_way: deque[_Window] = deque()
        self._next_link = 0
        self._cap = _FIRST_WINDOW  # after losses, the largest window that is tried
        self._quick = _LARGEST_WINDOW  # chunks that this machine embeds within a few seconds
        self._losses = 0  # of the same single chunk, in a row
        self._redone: set[str] = set()  # documents, with their digest, that were sent back once
        self.rate = Rate()

    @property
    def at_hand(self) -> list[str]:
        """Paths of the documents that vectors are computed for just now."""
        return list({path: None for window in list(self._under_way) for path in window.paths.values()})

    def work(self) -> None:
        """Give every chunk that lacks it its vector.

        Raises IndexUnavailable without a model, RecordError and OSError when
        the stores cannot go on, WorkerLost when all is to end.
        """
        try:
            while self._fill():
                self._keep_oldest()
        except BaseException:
            self._drop_under_way()
            raise

    def take_over(self, other: "Embedding") -> None:
        """Work on the index that the other one built, with its workers."""
        self.close()
        self.side, self.links, self._next_link = other.side, other.links, 0

    def send_home(self) -> None:
        """End the workers; the next window starts them again."""
        for link in self.links:
            link.restart()

    def close(self) -> None:
        for link in self.links:
            link.close()

    def _fill(self) -> bool:
        """Have two windows under way for every worker; False when there is nothing to wait for."""
        while len(self._under_way) < 2 * len(self.links) and self._may_work():
            window = self._next_window()
            if window is None:
                break
            try:
                window.link.send(Embed([chunk.indexed_text for chunk in window.chunks]))
            except WorkerLost as error:
                self._lose(window, error)
                continue
            self._under_way.append(window)
        return bool(self._under_way)

    def _keep_oldest(self) -> None:
        window = self._under_way[0]
        try:
            reply = window.link.receive()
        except WorkerLost as error:
            self._lose(window, error)
            return
        if isinstance(reply, Broken):
            raise IndexUnavailable(reply.reason)
        if not isinstance(reply, Embedded):
            raise IndexUnavailable("The embedding worker answered out of turn.")
        if len(reply.vectors) != 4 * self.side.embedder.dimensions * len(window.chunks):
            raise IndexUnavailable("The embedding worker answered with too few vectors, or too many.")
        self._losses = 0
        self._cap = min(_LARGEST_WINDOW, 2 * self._cap)
        self._quick = max(_SMALLEST_WINDOW, int(len(window.chunks) / max(reply.cost_s, 1e-3) * _WINDOW_S))
        self._keep(window, reply)
        self._under_way.popleft()

    def _next_window(self) -> _Window | None:
        """The chunks that come next, the newest documents first; None when no more are to be sent now.

        A long book gets half a window while others wait, so that a note need
        not wait for the end of it.
        """
        most = min(self._cap, self._quick)
        share = max(1, most // 2)
        sent = {chunk.document_id: chunk.ordinal + 1 for window in self._under_way for chunk in window.chunks}
        ranges: list[tuple[Document, int, int]] = []
        digests: dict[str, str] = {}
        paths: dict[str, str] = {}
        whole: dict[str, str] = {}
        room = most
        for document, digest, mark in self._mark.lacking(most + len(sent)):
            first = max(mark, sent.get(document.id, 0))
            if mark == document.chunks:
                whole[document.id] = digest  # it was embedded before the process ended, and only not proven
            stop = min(document.chunks, first + min(room, share))
            if first < stop:
                ranges.append((document, first, stop))
                digests[document.id], paths[document.id] = digest, document.path
                room -= stop - first
        for at, (document, first, stop) in enumerate(ranges):  # what nobody else wants
            more = min(document.chunks - stop, room)
            ranges[at], room = (document, first, stop + more), room - more
        chunks = self._queue.chunks_in(ranges) if ranges else []
        held = Counter(chunk.document_id for chunk in chunks)
        for document, first, stop in ranges:
            if held[document.id] < stop - first and self._queue.read_again(document):
                log.warning("the record lacks text of document %s; it is read again", document.id)
        if self._proves:
            self._finish(whole)
        if not chunks:
            return None
        self._next_link = (self._next_link + 1) % len(self.links)
        return _Window(self.links[self._next_link], tuple(chunks), digests, paths)

    def _keep(self, window: _Window, reply: Embedded) -> None:
        """Add a window's vectors to the index, prove them, and raise the watermarks."""
        length = self.side.embedder.dimensions
        rows = memoryview(reply.vectors).cast("f")
        firsts: dict[str, IndexedChunk] = {}
        for chunk in window.chunks:
            firsts.setdefault(chunk.document_id, chunk)
        with self._indexes.changing:
            # What was read again meanwhile, here or on another shelf, is for another window.
            current = self._mark.continued_by(firsts, window.digests)
            kept = [
                (chunk, rows[at * length : (at + 1) * length].tolist())
                for at, chunk in enumerate(window.chunks)
                if chunk.document_id in current
            ]
            if not kept:
                return
            self.side.vectors.upsert([chunk for chunk, _ in kept], [vector for _, vector in kept])
            lost = {
                chunk.document_id
                for chunk, vector in kept
                if chunk.ordinal in vector_probes(current[chunk.document_id])
                and not self.side.vectors.contains(vector, chunk.id)
            }
            upto = {chunk.document_id: chunk.ordinal + 1 for chunk, _ in kept}
            self._mark.raise_to({id_: count for id_, count in upto.items() if id_ not in lost})
        self.rate.note(len(kept))
        self._send_back({id_: window.digests[id_] for id_ in lost})
        if self._proves:
            done = [id_ for id_, count in upto.items() if count == current[id_] and id_ not in lost]
            self._finish({id_: window.digests[id_] for id_ in done})

    def _finish(self, documents: dict[str, str]) -> None:
        """Call documents (id → digest) findable if both indexes hold every chunk of theirs."""
        if not documents or self._indexes.words.lost is not None:
            return  # without the words nothing can be proven; it is taken up again with them
        ids = self._queue.chunk_ids(list(documents))
        held = self.side.vectors.held([id_ for of_one in ids.values() for id_ in of_one])
        lost = {
            id_
            for id_, of_one in ids.items()
            if not held.issuperset(of_one) or self._indexes.lexical.count(id_) != len(of_one)
        }
        # Last on purpose: dying before it, the document is proven again.
        self._queue.advance(
            {id_: digest for id_, digest in documents.items() if id_ not in lost}, DocumentState.FINDABLE
        )
        self._send_back({id_: documents[id_] for id_ in lost})

    def _send_back(self, documents: dict[str, str]) -> None:
        """Documents (id → digest) that are not whole: read again once, then given up with the reason."""
        if not documents:
            return
        if not self._proves:
            raise IndexUnavailable("The index that is being built does not hold what was added to it.")
        again = {id_: digest for id_, digest in documents.items() if f"{id_}/{digest}" not in self._redone}
        self._redone |= {f"{id_}/{digest}" for id_, digest in again.items()}
        with self._indexes.changing:
            self._queue.advance(again, DocumentState.WAITING)
        for id_, digest in documents.items():
            if id_ not in again:
                self._give_up(id_, digest, _NOT_FOUND)

    def _give_up(self, document_id: str, digest: str, reason: str) -> None:
        with self._indexes.changing:
            self._indexes.forget([document_id])
            self._indexes.words.commit()
            if not self._queue.fail(document_id, digest, reason):
                self._queue.forgotten([document_id])

    def _lose(self, window: _Window, error: WorkerLost) -> None:
        """A worker was lost over a window: halve what is sent, until the chunk that did it stands alone."""
        self._drop_under_way()
        log.warning("the embedding worker was lost over %d chunks: %s", len(window.chunks), error)
        if len(window.chunks) > 1:
            self._cap, self._losses = len(window.chunks) // 2, 0
        else:
            self._losses += 1
        self._rest(min(_LONGEST_REST_S, 0.1 * 2**self._losses))
        most = _KILLS_OF_ONE_CHUNK if error.killed else _CRASHES_OF_ONE_CHUNK
        if self._losses < most or not self._may_work():
            return
        self._losses = 0
        chunk = window.chunks[0]
        try:
            window.link.call(Embed(["A sentence that harms nobody."]))
        except WorkerLost as again:
            raise IndexUnavailable(f"Vectors cannot be computed: {again}, whatever the text.") from again
        if not self._proves:
            raise IndexUnavailable(f"{window.paths[chunk.document_id]}: {_FATAL}")
        self._give_up(chunk.document_id, window.digests[chunk.document_id], _FATAL)

    def _drop_under_way(self) -> None:
        """Begin afresh: replies still under way would be taken for those of the next windows."""
        if self._under_way:
            self._under_way.clear()
        for link in self.links:
            link.restart()
