"""Words: the lexical index that serves, and the one that is being built beside it.

The twin of `search.meaning`. What is added or removed meanwhile goes into both,
so that the new one is whole when the old one's turn is over. Its hard rule: an
index of an earlier schema answers as well as it can and is never written.
"""

import threading
from collections.abc import Iterable
from typing import NamedTuple

from library.values import IndexedChunk
from search.earlier import EarlierLexicalIndex
from search.lexical import LexicalIndex
from search.soundness import WordFiles


class LexicalSide(NamedTuple):
    generation: str
    schema: str
    lexical: LexicalIndex | EarlierLexicalIndex
    files: WordFiles


class Words:
    def __init__(
        self, serving: LexicalSide, building: LexicalSide | None = None, *, lost: str | None = None
    ) -> None:
        """`lost`: why what served before is gone, when `serving` has to be filled anew."""
        self.serving, self.building = serving, building
        self.lost = lost
        self.share = 1.0  # of what is being filled, 0..1
        self._swapping = threading.Lock()

    @property
    def shortfall(self) -> str | None:
        """A sentence while a search by words does not find everything."""
        if self.lost is not None:
            return f"The index of words is being rebuilt ({self.share:.0%} is there), since {self.lost}."
        if isinstance(self.serving.lexical, EarlierLexicalIndex):
            return (
                "The index of words is of an earlier version and is being rebuilt; until then, "
                "words are searched for plainly."
            )
        return None

    @property
    def indexes(self) -> list[LexicalIndex]:
        """Every index that is kept up to date."""
        with self._swapping:
            sides = [self.serving, self.building]
        return [side.lexical for side in sides if side is not None and isinstance(side.lexical, LexicalIndex)]

    def add(self, chunks: Iterable[IndexedChunk]) -> None:
        """Add chunks to every index; found after `commit`."""
        given = list(chunks)
        for index in self.indexes:
            index.add(given)

    def remove(self, document_ids: Iterable[str]) -> None:
        """Remove these documents' chunks from every index; gone after `commit`."""
        given = list(document_ids)
        for index in self.indexes:
            index.remove(given)

    def commit(self) -> None:
        """Make durable and visible what was added and removed."""
        for index in self.indexes:
            index.commit()

    def swap(self) -> LexicalSide:
        """What was built serves from now on; returns what served before, to be closed when nobody uses it."""
        with self._swapping:
            before, building = self.serving, self.building
            if building is None:
                raise ValueError("nothing is being built")
            self.serving, self.building = building, None
            self.lost = None
        return before

    def close(self) -> None:
        for side in (self.building, self.serving):
            if side is not None:
                side.lexical.close()
