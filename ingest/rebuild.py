"""Rebuild: a vector index built anew, without a moment in which search by meaning is gone.

For another embedding model, for another schema, or because a reader asked for
it. The new index is built beside the one that serves, document by document,
with a watermark of its own, so that it may be interrupted at any time. When it
holds every chunk and some of them were found in it, the two are swapped in one
transaction.
"""

import enum
import logging
import random
import threading
import time
from collections.abc import Callable

from ingest.embedding import Embedding
from ingest.indexes import Indexes
from ingest.proof import vector_probes
from library.catalogue import Catalogue
from library.errors import IndexUnavailable
from library.queue import Queue
from library.values import DocumentState
from library.watermark import Watermark
from search.meaning import VectorSide

log = logging.getLogger(__name__)

_AFTERWARDS_S = 2.0  # for searches that still ask the index that served before
_PROVEN = 20  # documents, drawn at random; three vectors of each are computed again


class Outcome(enum.StrEnum):
    BUILDING = "building"
    SERVING = "serving"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Rebuild:
    def __init__(
        self,
        catalogue: Catalogue,
        queue: Queue,
        mark: Watermark,
        indexes: Indexes,
        embedding: Embedding,
        *,
        cancelled: threading.Event,
        may_work: Callable[[], bool],
        on_swap: Callable[[VectorSide], None],
        on_drop: Callable[[], None],
        remove: Callable[[VectorSide], None],
    ) -> None:
        """`on_swap` writes into the record what serves, `on_drop` that none is being built.

        `remove` takes away what is left of a side that was erased.
        """
        self._catalogue, self._queue, self._mark, self._indexes = catalogue, queue, mark, indexes
        self.embedding, self._cancelled, self._may_work = embedding, cancelled, may_work
        self._on_swap, self._on_drop, self._remove = on_swap, on_drop, remove
        self.more = False  # `work` has done all that can be done now
        self.outcome = Outcome.BUILDING
        self.reason = ""  # a sentence, when it failed

    def share(self) -> float:
        """How much of the new index is there, 0..1."""
        chunks = self._catalogue.amount().chunks
        return round(self._mark.total() / chunks, 4) if chunks else 1.0

    def cancel(self, reason: str = "") -> None:
        """Give it up, for that reason if there is one; the index that serves stays."""
        self.reason = reason
        self._cancelled.set()

    def work(self) -> bool:
        """Build what can be built now; True when it is over. Raises as `Embedding.work` does."""
        if not self._cancelled.is_set():
            self.embedding.work()
        building = self._indexes.meaning.building
        if building is None:
            return True
        if self._cancelled.is_set():
            self._drop(building, Outcome.FAILED if self.reason else Outcome.CANCELLED)
            return True
        if not self._may_work():
            return False
        building.embedder.open()
        if self._is_whole(building) and not self._is_proven(building):
            self.reason = "The new index of vectors did not find what was put into it; the old one goes on."
            self._drop(building, Outcome.FAILED)
            return True
        with self._indexes.changing:
            if not self._is_whole(building):
                return False
            # The record first: dying between the two, the next start opens the new index.
            self._on_swap(building)
            before = self._indexes.meaning.swap()
        self.outcome = Outcome.SERVING
        log.info("the vector index %s serves now", building.generation)
        self._leave(before)
        return True

    def hand_over(self, embedding: Embedding) -> None:
        """The workers take the place of those before, if their index serves now."""
        if self.outcome is Outcome.SERVING:
            embedding.take_over(self.embedding)
        else:
            self.close()

    def send_home(self) -> None:
        self.embedding.send_home()

    def close(self) -> None:
        self.embedding.close()

    def _is_whole(self, building: VectorSide) -> bool:
        return not self._mark.lacking(1) and building.vectors.count() >= self._mark.total()

    def _is_proven(self, building: VectorSide) -> bool:
        """Whether vectors of some documents, computed again, are found there."""
        findable = [
            document for document in self._queue.all_indexed() if document.state is DocumentState.FINDABLE
        ]
        for document in random.sample(findable, min(_PROVEN, len(findable))):
            if self._cancelled.is_set():
                return True
            places = [(document, at, at + 1) for at in sorted(vector_probes(document.chunks))]
            chunks = [chunk for place in places for chunk in self._queue.chunks_in([place])]
            vectors = building.embedder.embed_passages([chunk.indexed_text for chunk in chunks])
            for chunk, vector in zip(chunks, vectors, strict=True):
                if not building.vectors.contains(vector, chunk.id) and self._is_current(chunk.id):
                    return False
        return True

    def _is_current(self, chunk_id: str) -> bool:
        """Whether the serving index has that chunk still: it may have been read again meanwhile."""
        try:
            return chunk_id in self._indexes.meaning.serving.vectors.held([chunk_id])
        except IndexUnavailable:
            return True

    def _drop(self, building: VectorSide, outcome: Outcome) -> None:
        with self._indexes.changing:
            self._on_drop()
            self._indexes.meaning.building = None
        self.outcome = outcome
        self._leave(building)

    def _leave(self, side: VectorSide) -> None:
        time.sleep(_AFTERWARDS_S)
        try:
            side.vectors.erase()
        except IndexUnavailable as error:
            log.warning("an index that serves no more could not be deleted: %s", error)
        self._remove(side)
