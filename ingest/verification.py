"""Verification: proves of every document again that it is found, on demand.

For each document: every chunk is in both indexes; words from its beginning,
middle and end, drawn from its text, are found in the lexical index; and the
vectors of those places, computed anew, are found in the vector index. A
document that is not proven is read again by itself. Changes no file.
"""

from collections.abc import Iterator

import msgspec

from ingest.indexes import Indexes
from ingest.proof import Probe, Uncovered, probes
from library.catalogue import Catalogue
from library.errors import IndexUnavailable
from library.queue import Queue
from library.values import Document, DocumentState, indexed_text

_AT_ONCE = 200


class Checked(msgspec.Struct, frozen=True):
    """One document was looked at."""

    path: str
    lost: str | None  # a sentence: what was not found
    done: int
    total: int


class Verification:
    def __init__(self, catalogue: Catalogue, queue: Queue, indexes: Indexes) -> None:
        self._catalogue, self._queue, self._indexes = catalogue, queue, indexes

    def run(self) -> Iterator[Checked]:
        """Look at every document that is called findable. Raises IndexUnavailable when an index cannot answer."""
        if self._indexes.words.shortfall is not None:
            raise IndexUnavailable(f"{self._indexes.words.shortfall} Have it verified after that.")
        if self._catalogue.counts()[DocumentState.FINDABLE]:
            self._indexes.meaning.serving.embedder.open()  # right after a start it is still being loaded
        for state in (DocumentState.FINDABLE, DocumentState.FINDABLE_WORDS):
            total = self._catalogue.counts()[state]
            done, cursor = 0, None
            while True:
                page = self._catalogue.documents(state=state, limit=_AT_ONCE, cursor=cursor)
                for document in page.items:
                    done += 1
                    lost = next(self._losses(document), None)
                    if lost is not None and not self._send_back(document):
                        lost = None  # it changed meanwhile, and is on its way again
                    yield Checked(document.path, lost, done, max(total, done))
                cursor = page.next
                if cursor is None:
                    break

    def _losses(self, document: Document) -> Iterator[str]:
        """A sentence for everything that is not as it should be."""
        sections, chunks = self._queue.text(document.id)
        ids = self._queue.chunk_ids([document.id])[document.id]
        if len(ids) != len(chunks):
            yield "It is being read again."  # between the two looks; not said, since it has changed
            return
        try:
            drawn = probes(sections, chunks)
        except Uncovered as error:
            yield f"Its {error.place} is in no chunk."
            return
        if not drawn:
            yield "It holds no words that could be searched for."
        count = self._indexes.lexical.count(document.id)
        if count != len(ids):
            yield f"The lexical index holds {count} of its {len(ids)} chunks."
        found = self._indexes.lexical.contains((probe.words, ids[probe.ordinal]) for probe in drawn)
        for probe, is_found in zip(drawn, found, strict=True):
            if not is_found:
                yield f"A search for words from its {probe.place} does not find it."
        if document.state is DocumentState.FINDABLE:
            texts = {section.ordinal: section for section in sections}
            places = [(probe, chunks[probe.ordinal]) for probe in drawn]
            passages = [
                indexed_text(
                    texts[chunk.section].heading_path, texts[chunk.section].text[chunk.start : chunk.end]
                )
                for _, chunk in places
            ]
            yield from self._vector_losses(drawn, passages, ids)

    def _vector_losses(self, drawn: list[Probe], passages: list[str], ids: list[str]) -> Iterator[str]:
        side = self._indexes.meaning.serving
        held = len(side.vectors.held(ids))
        if held != len(ids):
            yield f"The vector index holds {held} of its {len(ids)} chunks."
        for probe, vector in zip(drawn, side.embedder.embed_passages(passages), strict=True):
            if not side.vectors.contains(vector, ids[probe.ordinal]):
                yield f"A search by meaning for its {probe.place} does not find it."

    def _send_back(self, document: Document) -> bool:
        """Have a document that is not proven read again; False when it has changed since it was looked at."""
        with self._indexes.changing:
            return self._queue.read_again(document)
