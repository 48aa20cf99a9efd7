"""Labelling: before vectors are added, the vector indexes hold what the record says, labelled as this version labels.

Done by the embedding loop and not by the start, because the index may be on a
server that is away just then: the loop says so and tries again. Each part is
done once; what is whole already costs a count.
"""

import logging
from collections.abc import Callable, Sequence

from ingest.indexes import Indexes
from ingest.reconcile import reconcile_vectors
from library.queue import Queue
from library.record import batches
from library.values import Document
from library.watermark import Watermark
from search.meaning import VectorSide
from search.vectors import VectorIndex

log = logging.getLogger(__name__)

_DOCUMENTS_AT_ONCE = 20  # relabelled under the indexes' lock


class Labelling:
    def __init__(
        self,
        queue: Queue,
        indexes: Indexes,
        marks: Sequence[tuple[Watermark, Callable[[], VectorSide | None]]],
        *,
        closely: Callable[[VectorSide], bool],
    ) -> None:
        """`marks` name each index with its watermark, as it is open then: a damaged one is replaced meanwhile."""
        self._queue, self._indexes, self._left = queue, indexes, list(marks)
        self._closely = closely
        self.on_done: Callable[[], None] = lambda: None  # called once, when all of them are whole
        self.done = False

    def work(self, may_work: Callable[[], bool]) -> None:
        """Do what is left to do, while there may be work; it goes on from there another time.

        Raises IndexUnavailable and RecordError.
        """
        while self._left:
            mark, open_side = self._left[0]
            if (side := open_side()) is not None:
                reconcile_vectors(self._queue, mark, side.vectors, closely=self._closely(side))
                if not side.vectors.labelled() and not self._relabel(side.vectors, may_work):
                    return
            self._left.pop(0)
        if not self.done:
            self.done = True
            self.on_done()

    def _relabel(self, vectors: VectorIndex, may_work: Callable[[], bool]) -> bool:
        """Tell an index of an earlier version every label; False when it was interrupted."""
        documents = self._queue.all_indexed()
        log.info("telling the vector index the labels of %d documents", len(documents))
        for first in range(0, len(documents), _DOCUMENTS_AT_ONCE):
            if not may_work():
                return False
            self._relabel_some(vectors, documents[first : first + _DOCUMENTS_AT_ONCE])
        vectors.note_labelled()
        return True

    def _relabel_some(self, vectors: VectorIndex, documents: Sequence[Document]) -> None:
        with self._indexes.changing:
            # One that was read again meanwhile has its new chunks, with their labels, or none.
            ids = self._queue.chunk_ids([document.id for document in documents])
            for document in documents:
                for some in batches(ids[document.id]):
                    vectors.relabel(some, document.labels)
