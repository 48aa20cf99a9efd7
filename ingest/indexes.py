"""Indexes: both sides of search as ingest writes them, under one lock.

The lock is held by whoever replaces or removes a document's chunks (reading,
cancelling, moving to another shelf) and by whoever adds vectors for them
(embedding), so that no vector is ever added for a chunk that has just been
replaced.
"""

import threading
from collections.abc import Sequence

from library.queue import Queue
from library.values import Document
from search.earlier import EarlierLexicalIndex
from search.lexical import LexicalIndex
from search.meaning import Meaning
from search.words import Words


class Indexes:
    def __init__(self, queue: Queue, words: Words, meaning: Meaning) -> None:
        self._queue = queue
        self.words, self.meaning = words, meaning
        self.changing = threading.Lock()

    @property
    def lexical(self) -> LexicalIndex | EarlierLexicalIndex:
        """The lexical index that serves: to be asked. Changes go through `words`, into every one."""
        return self.words.serving.lexical

    def forget(self, document_ids: Sequence[str]) -> None:
        """Take these documents out of every index, before the record forgets their chunks' ids.

        Gone from the words after the next lexical commit.
        """
        earlier = [id_ for ids in self._queue.chunk_ids(document_ids).values() for id_ in ids]
        if earlier:
            for vectors in self.meaning.indexes:
                vectors.remove(earlier)
        # Also without earlier chunks: a crash between the lexical commit and
        # the next state leaves chunks there that the record will store again.
        self.words.remove(document_ids)

    def reshelve(self, documents: Sequence[Document]) -> None:
        """Hold these documents under the shelf they stand on now; no vector is computed for that."""
        ids = self._queue.chunk_ids([document.id for document in documents])
        for document in documents:
            for vectors in self.meaning.indexes:
                vectors.relabel(ids[document.id], document.labels)
            self.words.remove([document.id])
            self.words.add(self._queue.indexed_chunks(document))
        self.words.commit()
