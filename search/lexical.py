"""The lexical index: tantivy, one writer, words in, chunk ids out.

Knows the index's life, not what is asked of it: `search.lexical_fields` says
what of a chunk goes where, `search.lexical_query` how it is looked for. Its
hard rule: one writer, and no vendor's error beyond this module.

On disk: tantivy's own segments, in a folder that `search.generations` marks with
SCHEMA. What is added is searchable after `commit`; what is not committed is
lost with the process, and is added again from the record.
"""

import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tantivy

from library.errors import IndexUnavailable
from library.values import IndexedChunk
from search.analysis import ANALYSER, ENGLISH, SURFACE, analyser, surface_analyser
from search.lexical_fields import VERSION, fields_of, ids, schema
from search.lexical_names import Begun, LexicalNames
from search.lexical_query import LexicalQuery
from search.query import Query
from search.soundness import is_panic
from search.spelling import corrected
from search.values import Candidate
from search.vocabulary import Vocabulary

# The name of what is indexed and how it is analysed. Change it with either: an
# index of another name is built anew beside the old one, which serves until then.
SCHEMA = VERSION
# One thread and the smallest heap that tantivy accepts comfortably: the writer
# shares the machine with a model, and flushing more often costs little.
_WRITER_HEAP_BYTES = 30_000_000
# Languages in which a query is analysed, those of the most chunks: each costs a posting list a word.
_MOST_FAMILIES = 8
# With so much room on the disk, a write that fails is not the disk's fault.
_ROOM_BYTES = 64 * 1024 * 1024


class LexicalIndex:
    """An open index. One per process and path; close it to let the writer go."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises IndexUnavailable when another process writes it, or it is damaged."""
        self._writing, self._path = threading.Lock(), path
        self.damage: str | None = None  # why it cannot be relied on any more
        self._schema = schema()
        with _translated(
            f"The lexical index {path} cannot be opened. If no other Almanac is running on it, "
            "delete that folder; it is rebuilt from the record."
        ):
            path.mkdir(parents=True, exist_ok=True)
            self._index = tantivy.Index(self._schema, path=str(path))
            self._index.register_tokenizer(ANALYSER, analyser())
            self._index.register_tokenizer(SURFACE, surface_analyser())
            self._writer: tantivy.IndexWriter | None = self._index.writer(_WRITER_HEAP_BYTES, 1)
            self._index.config_reader("manual")
            self._reload()

    def add(self, chunks: Iterable[IndexedChunk]) -> None:
        """Add chunks; found after `commit`."""
        with self._writing:
            writer = self._open_writer()
            before: IndexedChunk | None = None
            for chunk in chunks:
                begins = chunk.ordinal == 0 or before is None or before.heading_path != chunk.heading_path
                before = chunk
                with self._changes("The lexical index could not be written."):
                    writer.add_document(fields_of(chunk, begins_section=begins))

    def remove(self, document_ids: Iterable[str]) -> None:
        """Remove these documents' chunks that were added before; gone after `commit`."""
        with self._writing, self._changes("The lexical index could not be written."):
            for document_id in document_ids:
                self._open_writer().delete_documents_by_term("document", document_id)

    def commit(self) -> None:
        """Make durable and visible what was added and removed. Raises IndexUnavailable on a full disk."""
        with self._writing, self._changes("The lexical index could not be written; is the disk full?"):
            self._open_writer().commit()
            self._reload()

    def search(self, query: Query, *, limit: int) -> list[Candidate]:
        """The best `limit` chunks by BM25, best first.

        A query that only filters or excludes finds all that is left, in a
        stable order. One that asks for nothing finds nothing.
        """
        with self._reads():
            ranked = self._asking.ranked(query)
            return [] if ranked is None else self._run(ranked, limit)

    def permitted(self, query: Query, chunk_ids: Sequence[str]) -> set[str]:
        """Those of the chunks that the query's required and excluded clauses and its filters allow."""
        if not chunk_ids:
            return set()
        with self._reads():
            allowed = self._asking.permitted(query, chunk_ids)
            return {candidate.id for candidate in self._run(allowed, len(chunk_ids))}

    def corrected(self, query: Query) -> str | None:
        """What was typed, with the words that no book holds replaced by the nearest that many do.

        None when every word is known, or it is not sure by what to replace one.
        """
        with self._reads():
            unknown = self._asking.unknown(query)
            return corrected(query.typed, unknown, self._vocabulary.near) if unknown else None

    def resembling(self, query: Query) -> tuple[str, ...]:
        """The words that were searched for, at less weight, instead of those that no book holds; for marking."""
        with self._reads():
            return tuple(self._asking.resembling(query))

    def beginning_as(self, typed: str, most: int) -> Begun:
        """Titles, authors, headings and words that go on as typed, at most `most` of each."""
        with self._reads():
            names = LexicalNames(self._schema, self._index.searcher(), self._asking)
            return names.beginning_as(typed, most)

    def contains(self, wanted: Iterable[tuple[Sequence[str], str]]) -> list[bool]:
        """For each (words, chunk id), whether a search for all those words finds that chunk by its own text.

        The proof behind *findable*. Words are as they stand in the text.
        """
        asking, searcher = self._asking, self._index.searcher()
        found = []
        for words, chunk_id in wanted:
            with self._reads():
                both = asking.of_chunk(words, chunk_id)
                found.append(bool(words) and bool(searcher.search(both, 1, count=False).hits))
        return found

    def count(self, document_id: str | None = None) -> int:
        """How many chunks are committed, of one document or of all."""
        with self._reads():
            searcher = self._index.searcher()
            if document_id is None:
                return int(searcher.num_docs)
            of_document = tantivy.Query.term_query(
                self._schema, "document", document_id, index_option="basic"
            )
            found: Any = searcher.search(of_document, 1, count=True)  # its stub leaves `count` out
        return int(found.count)

    def holds(self, chunk_ids: Sequence[str]) -> bool:
        """Whether every one of these chunks is committed."""
        if not chunk_ids:
            return True
        these = tantivy.Query.term_set_query(self._schema, "id", list(chunk_ids))
        with self._reads():
            found: Any = self._index.searcher().search(these, 1, count=True)
        return int(found.count) == len(chunk_ids)

    def close(self) -> None:
        """Commit nothing; wait for merges and release the writer's lock."""
        with self._writing:
            writer, self._writer = self._writer, None
            if writer is not None:
                with self._changes("The lexical index could not be closed."):
                    writer.wait_merging_threads()

    @contextmanager
    def _reads(self) -> Iterator[None]:
        """What an engine cannot read of its own files is damage, whatever it says of it."""
        try:
            with _translated("The lexical index could not be read."):
                yield
        except IndexUnavailable as error:
            self.damage = self.damage or f"it could not be read ({error.__cause__})"
            raise

    @contextmanager
    def _changes(self, sentence: str) -> Iterator[None]:
        try:
            with _translated(sentence):
                yield
        except IndexUnavailable as error:
            if self._writer is not None and _has_room(self._path):
                self.damage = self.damage or f"it could not be written ({error.__cause__})"
            raise

    def _open_writer(self) -> tantivy.IndexWriter:
        if self._writer is None:
            raise IndexUnavailable("The lexical index is closed.")
        return self._writer

    def _reload(self) -> None:
        self._index.reload()
        searcher = self._index.searcher()
        held = searcher.terms_with_prefix("family", "", limit=_MOST_FAMILIES)
        families = tuple(name for name, _ in held) or (ENGLISH,)
        self._vocabulary = Vocabulary(searcher)
        self._asking = LexicalQuery(self._schema, self._vocabulary, families)

    def _run(self, query: tantivy.Query, limit: int) -> list[Candidate]:
        searcher = self._index.searcher()
        with self._reads():
            hits = searcher.search(query, limit, count=False).hits
            found = ids(searcher, [address for _, address in hits])
        return [Candidate(id_, score) for id_, (score, _) in zip(found, hits, strict=True)]


@contextmanager
def _translated(sentence: str) -> Iterator[None]:
    """Tantivy raises plain ValueError and OSError, or panics; this is the only place that catches them."""
    try:
        yield
    except IndexUnavailable:
        raise
    except BaseException as error:
        if not isinstance(error, (OSError, ValueError)) and not is_panic(error):
            raise
        raise IndexUnavailable(f"{sentence} ({error})") from error


def _has_room(path: Path) -> bool:
    try:
        return shutil.disk_usage(path).free > _ROOM_BYTES
    except OSError:
        return True  # the folder has gone, and that is no lack of room
