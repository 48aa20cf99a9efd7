"""Rebuild: another embedding model, without a moment in which search by meaning is gone.

The index of the new model is built beside the one that serves, document by
document, with a watermark of its own, so that it may be interrupted at any
time. When it holds every chunk, the two are swapped in one transaction.
"""

import logging
import time
from collections.abc import Callable

from ingest.embedding import Embedding
from ingest.indexes import Indexes
from library.catalogue import Catalogue
from library.errors import IndexUnavailable
from library.watermark import Watermark
from search.meaning import VectorSide

log = logging.getLogger(__name__)

_AFTERWARDS_S = 2.0  # for searches that still ask the index that served before


class Rebuild:
    def __init__(
        self,
        catalogue: Catalogue,
        mark: Watermark,
        indexes: Indexes,
        embedding: Embedding,
        *,
        may_work: Callable[[], bool],
        on_swap: Callable[[VectorSide], None],
    ) -> None:
        """`on_swap` writes into the record which model serves; the old index is then removed."""
        self._catalogue, self._mark, self._indexes, self.embedding = catalogue, mark, indexes, embedding
        self._may_work, self._on_swap = may_work, on_swap
        self.more = False  # `work` has done all that can be done now

    def share(self) -> float:
        """How much of the new index is there, 0..1."""
        chunks = self._catalogue.amount().chunks
        return round(self._mark.total() / chunks, 4) if chunks else 1.0

    def work(self) -> bool:
        """Build what can be built now; True when the new index serves. Raises as `Embedding.work` does."""
        self.embedding.work()
        building = self._indexes.meaning.building
        if building is None or not self._may_work():
            return False
        building.embedder.open()
        with self._indexes.changing:
            if self._mark.lacking(1) or building.vectors.count() < self._mark.total():
                return False
            # The record first: dying between the two, the next start opens the new index.
            self._on_swap(building)
            before = self._indexes.meaning.swap()
        log.info("the embedding model %s serves now", building.model)
        time.sleep(_AFTERWARDS_S)
        try:
            before.vectors.erase()
        except IndexUnavailable as error:
            log.warning("the index that served before could not be deleted: %s", error)
        return True

    def hand_over(self, embedding: Embedding) -> None:
        """The workers of the new model take the place of the old one's."""
        embedding.take_over(self.embedding)

    def send_home(self) -> None:
        self.embedding.send_home()

    def close(self) -> None:
        self.embedding.close()
