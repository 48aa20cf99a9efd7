"""Rebuild: another embedding model, without a moment in which search by meaning is gone.

The index of the new model is built beside the one that serves, document by
document, with a watermark of its own, so that it may be interrupted at any
time. When it holds every chunk, the two are swapped in one transaction.
"""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from ingest.embedding import Embedding
from ingest.indexes import Indexes
from library.catalogue import Catalogue
from library.watermark import Watermark

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
        on_swap: Callable[[str], None],
        old_folder: Path,
    ) -> None:
        """`on_swap` writes into the record which model serves; `old_folder` is then removed."""
        self._catalogue, self._mark, self._indexes, self.embedding = catalogue, mark, indexes, embedding
        self._may_work, self._on_swap, self._old_folder = may_work, on_swap, old_folder

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
            self._on_swap(building.model)
            before = self._indexes.meaning.swap()
        log.info("the embedding model %s serves now", building.model)
        time.sleep(_AFTERWARDS_S)
        before.vectors.close()
        shutil.rmtree(self._old_folder, ignore_errors=True)
        return True

    def close(self) -> None:
        self.embedding.close()
