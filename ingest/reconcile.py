"""Reconcile: after a start, bring the indexes back to what the record says they hold.

An index folder that was deleted, discarded for an older analysis, or restored
from an older copy holds less than the record claims; so does one whose process
was killed between two steps, for a document or two. The words are added again
from the record at once; vectors are left to the embedding loop. What is there
is never done again.

Totals that add up prove nothing where the indexes or the record were restored
from a backup: a note that was edited since has as many chunks as before, and
others. So a seal, new with each start and each end, is kept in both; where the
two differ, every chunk is looked for by its id.
"""

import logging
import uuid
from collections.abc import Sequence
from pathlib import Path

from library.facts import Facts
from library.queue import Queue
from library.record import batches
from library.values import Document
from library.watermark import Watermark
from search.lexical import LexicalIndex
from search.vectors import VectorIndex

log = logging.getLogger(__name__)

_SEAL = "indexes.seal"


class Seal:
    """Tells whether the indexes and the record are those that were last used together."""

    def __init__(self, facts: Facts, folder: Path) -> None:
        self._facts, self._file = facts, folder / "seal.txt"

    def is_whole(self) -> bool:
        try:
            return self._file.read_text() == self._facts.get(_SEAL)
        except (OSError, ValueError):
            return False

    def renew(self) -> None:
        """Raises OSError and RecordError; dying between the two, the next start looks closely."""
        seal = uuid.uuid4().hex
        self._facts.put(_SEAL, seal)
        self._file.write_text(seal)


def reconcile_words(queue: Queue, lexical: LexicalIndex, expected: int, *, closely: bool = False) -> None:
    """Add again the words of documents that the lexical index does not hold as the record has them."""
    if lexical.count() == expected and not closely:
        return
    lacking = [document for document in queue.all_indexed() if lexical.count(document.id) != document.chunks]
    if closely:
        lacking += _of_another_edition(queue, lexical, {document.id for document in lacking})
    if not lacking:
        return
    log.warning("the lexical index does not hold %d documents as it should; adding them", len(lacking))
    for some in batches(lacking):
        for document in some:
            lexical.remove([document.id])
            lexical.add(queue.indexed_chunks(document))
        lexical.commit()


def _of_another_edition(queue: Queue, lexical: LexicalIndex, known: set[str]) -> list[Document]:
    """Documents with as many chunks in the index as they should have, but others."""
    found: list[Document] = []
    for some in batches([document for document in queue.all_indexed() if document.id not in known]):
        ids = queue.chunk_ids([document.id for document in some])
        found += [document for document in some if not lexical.holds(ids[document.id])]
    return found


def reconcile_vectors(queue: Queue, mark: Watermark, vectors: VectorIndex, *, closely: bool = False) -> None:
    """Lower the watermark of documents whose vectors are not all in the index."""
    held, expected = vectors.count(), mark.total()
    if held == expected and not closely:
        return
    if not expected:
        # A collection that was filled by another house, or before the record was made anew.
        if held:
            log.warning("the vector index holds %d vectors that no document has; emptying it", held)
            vectors.clear()
        return
    if held == 0:
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
