"""Reconcile: after a start, bring the indexes back to what the record says they hold.

An index folder that was deleted, discarded for an older analysis, or restored
from an older copy holds less than the record claims; so does one whose process
was killed between two steps, for a document or two. The words are added again
from the record at once; vectors are left to the embedding loop. What is there
is never done again.
"""

import logging
from collections.abc import Sequence

from library.queue import Queue
from library.record import batches
from library.values import Document
from library.watermark import Watermark
from search.lexical import LexicalIndex
from search.vectors import VectorIndex

log = logging.getLogger(__name__)


def reconcile_words(queue: Queue, lexical: LexicalIndex, expected: int) -> None:
    """Add again the words of documents that the lexical index does not hold as the record has them."""
    if lexical.count() == expected:
        return
    lacking = [document for document in queue.all_indexed() if lexical.count(document.id) != document.chunks]
    log.warning("the lexical index does not hold %d documents as it should; adding them", len(lacking))
    for some in batches(lacking):
        for document in some:
            lexical.remove([document.id])
            lexical.add(queue.indexed_chunks(document))
        lexical.commit()


def reconcile_vectors(queue: Queue, mark: Watermark, vectors: VectorIndex) -> None:
    """Lower the watermark of documents whose vectors are not all in the index."""
    if vectors.count() == mark.total():
        return
    if vectors.count() == 0:
        log.warning("the vector index is empty; embedding again")
        mark.reset()
        return
    lacking: list[str] = []
    for some in batches(queue.all_indexed()):
        lacking += _lacking(queue, mark, vectors, some)
    if lacking:
        log.warning("the vector index lacks vectors of %d documents; embedding them again", len(lacking))
        mark.reset(lacking)


def _lacking(queue: Queue, mark: Watermark, vectors: VectorIndex, documents: Sequence[Document]) -> list[str]:
    upto = mark.of([document.id for document in documents])
    wanted = {id_: ids[: upto[id_]] for id_, ids in queue.chunk_ids(list(upto)).items() if upto[id_]}
    held = vectors.held([id_ for ids in wanted.values() for id_ in ids])
    return [id_ for id_, ids in wanted.items() if not held.issuperset(ids)]
