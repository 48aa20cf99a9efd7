"""Reconcile: after a start, bring the indexes back to what the record says they hold.

An index folder that was deleted, discarded for an older analysis, or restored
from an older copy holds less than the record claims. The words are added again
from the record at once; vectors are left to the embedding loop.
"""

import logging

from library.catalogue import Catalogue
from library.queue import Queue
from search.lexical import LexicalIndex
from search.vectors import VectorIndex

log = logging.getLogger(__name__)


def reconcile(catalogue: Catalogue, queue: Queue, lexical: LexicalIndex, vectors: VectorIndex) -> None:
    """Repair both indexes from the record; does nothing when they hold what they should."""
    chunks, embedded = catalogue.indexed_totals()
    if vectors.count() < embedded:
        log.warning("the vector index holds %d of %d vectors; embedding again", vectors.count(), embedded)
        queue.forget_vectors()
    if lexical.count() < chunks:
        log.warning("the lexical index holds %d of %d chunks; adding them again", lexical.count(), chunks)
        for document in queue.all_indexed():
            lexical.remove(document.id)
            lexical.add(queue.indexed_chunks(document))
        lexical.commit()
