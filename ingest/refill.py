"""Refill: a lexical index filled from the record, while another one or nothing serves.

No file is read again. What an index holds already is left as it is, so that a
refill which was cut short goes on where it stood; that is found by asking the
index itself, never by remembering. Its hard rule: an index is called whole only
after every document was counted in it and words of some were found.
"""

import logging
import random
from collections.abc import Callable, Sequence

from ingest.indexes import Indexes
from ingest.proof import Uncovered, probes
from library.queue import Queue
from library.record import batches
from library.values import Document
from search.lexical import LexicalIndex

log = logging.getLogger(__name__)

_CHUNKS_AT_ONCE = 4_000  # about a tenth of a second in which no document can be stored
_PROVEN = 50  # documents, drawn at random
_ROUNDS = 5


class NotWhole(Exception):
    """What was filled does not hold what the record says; str() is a sentence."""


def lacking(
    queue: Queue, lexical: LexicalIndex, documents: Sequence[Document], *, closely: bool = False
) -> list[Document]:
    """Those of the documents that an index does not hold as the record has them.

    `closely` looks for every chunk by its id: an index from a backup may hold
    as many chunks of a note as there should be, and others.
    """
    found = [document for document in documents if lexical.count(document.id) != document.chunks]
    if closely:
        known = {document.id for document in found}
        for some in batches([document for document in documents if document.id not in known]):
            ids = queue.chunk_ids([document.id for document in some])
            found += [document for document in some if not lexical.holds(ids[document.id])]
    return found


def refill(
    queue: Queue,
    indexes: Indexes,
    lexical: LexicalIndex,
    *,
    go_on: Callable[[], bool] = lambda: True,
    on_share: Callable[[float], None] = lambda _: None,
    closely: bool = False,
) -> bool:
    """Add what an index lacks until it is whole, and prove that it is; False when `go_on` said to stop.

    Raises NotWhole, IndexUnavailable and RecordError.
    """
    for _ in range(_ROUNDS):
        documents = queue.all_indexed()
        missing = lacking(queue, lexical, documents, closely=closely)
        if not missing:
            _prove(queue, lexical, documents)
            on_share(1.0)
            return True
        chunks, added = sum(document.chunks for document in documents), 0
        left = sum(document.chunks for document in missing)
        for some in _portions(missing):
            if not go_on():
                return False
            with indexes.changing:
                added += _add(queue, lexical, [document.id for document in some], closely=closely)
            left -= sum(document.chunks for document in some)
            on_share(1 - left / chunks if chunks else 1.0)
        if not added:  # they were on their way while they were counted
            on_share(1.0)
            return True
    raise NotWhole("it did not hold what was added to it")


def _portions(documents: Sequence[Document]) -> list[list[Document]]:
    portions: list[list[Document]] = []
    room = 0
    for document in documents:
        if not portions or room < document.chunks:
            portions.append([])
            room = _CHUNKS_AT_ONCE
        portions[-1].append(document)
        room -= document.chunks
    return portions


def _add(queue: Queue, lexical: LexicalIndex, document_ids: Sequence[str], *, closely: bool) -> int:
    """Write documents as they are in the record now; returns how many it were.

    One that is being read again since it was listed is left to that, and one
    whose text is not in the record as it should be is read again.
    """
    documents = lacking(queue, lexical, queue.indexed_among(document_ids), closely=closely)
    held = queue.chunk_ids([document.id for document in documents])
    lexical.remove([document.id for document in documents])
    for document in documents:
        if len(held[document.id]) == document.chunks:
            lexical.add(queue.indexed_chunks(document))
        else:
            log.warning("the record lacks text of document %s; it is read again", document.id)
            queue.read_again(document)
    lexical.commit()
    return len(documents)


def _prove(queue: Queue, lexical: LexicalIndex, documents: Sequence[Document]) -> None:
    """Search for words from some documents, drawn from their texts."""
    for document in random.sample(documents, min(_PROVEN, len(documents))):
        sections, chunks = queue.text(document.id)
        ids = queue.chunk_ids([document.id])[document.id]
        try:
            drawn = probes(sections, chunks)
        except Uncovered:
            continue  # between two looks, or a matter of reading it, not of this index
        if len(ids) != len(chunks) or not lexical.holds(ids):
            continue  # it has been read again meanwhile, and was added by that
        found = lexical.contains([(probe.words, ids[probe.ordinal]) for probe in drawn])
        if not all(found):
            raise NotWhole(f"a search for words of {document.path!r} did not find it")
