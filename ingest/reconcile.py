"""Reconcile: after a start, bring the vectors back to what the record says there are.

An index folder that was restored from an older copy holds less than the record
claims; so does one whose process was killed between two steps, for a document
or two. What is missing is left to the embedding loop; what is there is never
done again. For the words, `ingest.refill` does the same.

Totals that add up prove nothing where an index or the record was restored from
a backup: a note that was edited since has as many chunks as before, and others.
So a seal, new with each start and each end, is kept in the record and in the
folder of each index; where the two differ, every chunk is looked for by its id.
"""

import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from library.facts import Facts
from library.queue import Queue
from library.record import batches
from library.values import Document
from library.watermark import Watermark
from search.vectors import VectorIndex

log = logging.getLogger(__name__)

_SEAL = "indexes.seal"


class Seal:
    """Tells whether an index and the record are those that were last used together."""

    def __init__(self, facts: Facts, folders: Callable[[], Iterable[Path]]) -> None:
        """`folders` names those of every index that is open."""
        self._facts, self._folders = facts, folders

    def is_whole(self, folder: Path) -> bool:
        try:
            return (folder / "seal.txt").read_text() == self._facts.get(_SEAL)
        except (OSError, ValueError):
            return False

    def renew(self) -> None:
        """Raises OSError and RecordError; dying in the middle, the next start looks closely."""
        seal = uuid.uuid4().hex
        self._facts.put(_SEAL, seal)
        for folder in self._folders():
            (folder / "seal.txt").write_text(seal)


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
