"""The lexical index: tantivy, one writer, words in, chunk ids out.

Knows terms and BM25; knows neither files nor vectors. Its hard rule: a query
is analysed and put together term by term, never parsed, so there is no syntax
that a hostile or hurried reader could get wrong.

On disk: tantivy's own segments, in a folder that `search.generations` marks with
SCHEMA. What is added is searchable after `commit`; what is not committed is
lost with the process, and is added again from the record.
"""

import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import tantivy

from library.errors import IndexUnavailable
from library.values import IndexedChunk
from search.analysis import ANALYSER, analyser, terms
from search.soundness import is_panic
from search.values import Candidate

# The name of what is indexed and how it is analysed. Change it with either: an
# index of another name is built anew beside the old one, which serves until then.
SCHEMA = ANALYSER
# One thread and the smallest heap that tantivy accepts comfortably: the writer
# shares the machine with a model, and flushing more often costs little.
_WRITER_HEAP_BYTES = 30_000_000
# A question has a few dozen words. What is longer is a pasted page; its first
# words say enough, and every further term costs a posting list.
_MOST_QUERY_TERMS = 64
# With so much room on the disk, a write that fails is not the disk's fault.
_ROOM_BYTES = 64 * 1024 * 1024


class LexicalIndex:
    """An open index. One per process and path; close it to let the writer go."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises IndexUnavailable when another process writes it, or it is damaged."""
        self._writing, self._path = threading.Lock(), path
        self.damage: str | None = None  # why it cannot be relied on any more
        self._schema = (
            tantivy.SchemaBuilder()
            .add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
            .add_text_field("document", tokenizer_name="raw", index_option="basic")
            .add_text_field("shelf", tokenizer_name="raw", index_option="basic")
            .add_text_field("text", tokenizer_name=ANALYSER, index_option="position")
            .build()
        )
        with _translated(
            f"The lexical index {path} cannot be opened. If no other Almanac is running on it, "
            "delete that folder; it is rebuilt from the record."
        ):
            path.mkdir(parents=True, exist_ok=True)
            self._index = tantivy.Index(self._schema, path=str(path))
            self._index.register_tokenizer(ANALYSER, analyser())
            self._writer: tantivy.IndexWriter | None = self._index.writer(_WRITER_HEAP_BYTES, 1)
            self._index.config_reader("manual")
            self._index.reload()

    def add(self, chunks: Iterable[IndexedChunk]) -> None:
        """Add chunks; found after `commit`."""
        with self._writing:
            writer = self._open_writer()
            for chunk in chunks:
                document = tantivy.Document()
                document.add_text("id", chunk.id)
                document.add_text("document", chunk.document_id)
                document.add_text("shelf", chunk.labels.shelf or "")
                document.add_text("text", chunk.indexed_text)
                with self._changes("The lexical index could not be written."):
                    writer.add_document(document)

    def remove(self, document_ids: Iterable[str]) -> None:
        """Remove these documents' chunks that were added before; gone after `commit`."""
        with self._writing, self._changes("The lexical index could not be written."):
            for document_id in document_ids:
                self._open_writer().delete_documents_by_term("document", document_id)

    def commit(self) -> None:
        """Make durable and visible what was added and removed. Raises IndexUnavailable on a full disk."""
        with self._writing, self._changes("The lexical index could not be written; is the disk full?"):
            self._open_writer().commit()
            self._index.reload()

    def search(self, query: str, *, limit: int, shelf: str | None = None) -> list[Candidate]:
        """The best `limit` chunks by BM25 for any of the query's words, best first."""
        matched = self._any_word(query)
        if matched is None:
            return []
        if shelf is not None:
            on_shelf = self._word("shelf", shelf, "basic")
            no_weight = tantivy.Query.const_score_query(on_shelf, 0.0)
            matched = tantivy.Query.boolean_query(
                [(tantivy.Occur.Must, matched), (tantivy.Occur.Must, no_weight)]
            )
        return self._run(matched, limit)

    def contains(self, wanted: Iterable[tuple[Sequence[str], str]]) -> list[bool]:
        """For each (terms, chunk id), whether a search for all those terms finds that chunk.

        The proof behind *findable*. Terms are as `search.analysis.terms` gives them.
        """
        searcher = self._index.searcher()
        found = []
        for words, chunk_id in wanted:
            clauses = [self._word("id", chunk_id, "basic"), *(self._word("text", word) for word in words)]
            both = tantivy.Query.boolean_query([(tantivy.Occur.Must, clause) for clause in clauses])
            with self._reads():
                found.append(bool(words) and bool(searcher.search(both, 1, count=False).hits))
        return found

    def count(self, document_id: str | None = None) -> int:
        """How many chunks are committed, of one document or of all."""
        with self._reads():
            searcher = self._index.searcher()
            if document_id is None:
                return int(searcher.num_docs)
            of_document = self._word("document", document_id, "basic")
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

    def _any_word(self, query: str) -> tantivy.Query | None:
        words = dict.fromkeys(term.text for term in terms(query))
        clauses = [
            (tantivy.Occur.Should, self._word("text", word)) for word in list(words)[:_MOST_QUERY_TERMS]
        ]
        return tantivy.Query.boolean_query(clauses) if clauses else None

    def _word(self, field: str, word: str, index_option: Literal["basic", "freq"] = "freq") -> tantivy.Query:
        # "freq" and not "position": a weight needs no positions.
        return tantivy.Query.term_query(self._schema, field, word, index_option=index_option)

    def _run(self, query: tantivy.Query, limit: int) -> list[Candidate]:
        searcher = self._index.searcher()
        with self._reads():
            hits = searcher.search(query, limit, count=False).hits
            return [Candidate(searcher.doc(address)["id"][0], score) for score, address in hits]


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
