"""The lexical index: tantivy, one writer, words in, chunk ids out.

Knows terms and BM25; knows neither files nor vectors. Its hard rule: a query
is analysed and put together term by term, never parsed, so there is no syntax
that a hostile or hurried reader could get wrong.

On disk: tantivy's own segments, beside `analyser.txt` with the name of the
analysis that made them. What is added is searchable after `commit`; what is
not committed is lost with the process, and is added again from the record.
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
from search.query import Query
from search.values import Candidate

# One thread and the smallest heap that tantivy accepts comfortably: the writer
# shares the machine with a model, and flushing more often costs little.
_WRITER_HEAP_BYTES = 30_000_000
# A question has a few dozen words. What is longer is a pasted page; its first
# words say enough, and every further term costs a posting list.
_MOST_QUERY_TERMS = 64


class LexicalIndex:
    """An open index. One per process and path; close it to let the writer go."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises IndexUnavailable when another process writes it, or it is damaged."""
        self._writing = threading.Lock()
        self._schema = (
            tantivy.SchemaBuilder()
            .add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
            .add_text_field("document", tokenizer_name="raw", index_option="basic")
            .add_text_field("shelf", tokenizer_name="raw", index_option="basic")
            .add_text_field("text", tokenizer_name=ANALYSER, index_option="position")
            .build()
        )
        try:
            _discard_other_analysis(path)
            self._index = tantivy.Index(self._schema, path=str(path))
            self._index.register_tokenizer(ANALYSER, analyser())
            self._writer: tantivy.IndexWriter | None = self._index.writer(_WRITER_HEAP_BYTES, 1)
        except (OSError, ValueError) as error:
            raise IndexUnavailable(
                f"The lexical index {path} cannot be opened: {error}. If no other Almanac is running on it, "
                "delete that folder; it is rebuilt from the record."
            ) from error
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
                with _translated("The lexical index could not be written."):
                    writer.add_document(document)

    def remove(self, document_ids: Iterable[str]) -> None:
        """Remove these documents' chunks that were added before; gone after `commit`."""
        with self._writing, _translated("The lexical index could not be written."):
            for document_id in document_ids:
                self._open_writer().delete_documents_by_term("document", document_id)

    def commit(self) -> None:
        """Make durable and visible what was added and removed. Raises IndexUnavailable on a full disk."""
        with self._writing:
            with _translated("The lexical index could not be written; is the disk full?"):
                self._open_writer().commit()
            self._index.reload()

    def search(self, query: str | Query, *, limit: int, shelf: str | None = None) -> list[Candidate]:
        """The best `limit` chunks by BM25 for any of the query's words, best first."""
        if isinstance(query, Query):
            shelf = query.filters.shelves[0] if query.filters.shelves else shelf
            query = " ".join(term.text for clause in query.clauses for term in clause.any_of)
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

    def permitted(self, query: Query, chunk_ids: Sequence[str]) -> set[str]:  # noqa: ARG002
        """Those of the chunks that the query's required and excluded clauses allow."""
        return set(chunk_ids)

    def contains(self, wanted: Iterable[tuple[Sequence[str], str]]) -> list[bool]:
        """For each (terms, chunk id), whether a search for all those terms finds that chunk.

        The proof behind *findable*. Terms are as `search.analysis.terms` gives them.
        """
        searcher = self._index.searcher()
        found = []
        for words, chunk_id in wanted:
            clauses = [self._word("id", chunk_id, "basic"), *(self._word("text", word) for word in words)]
            both = tantivy.Query.boolean_query([(tantivy.Occur.Must, clause) for clause in clauses])
            with _translated("The lexical index could not be read."):
                found.append(bool(words) and bool(searcher.search(both, 1, count=False).hits))
        return found

    def count(self, document_id: str | None = None) -> int:
        """How many chunks are committed, of one document or of all."""
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
        with _translated("The lexical index could not be read."):
            found: Any = self._index.searcher().search(these, 1, count=True)
        return int(found.count) == len(chunk_ids)

    def close(self) -> None:
        """Commit nothing; wait for merges and release the writer's lock."""
        with self._writing:
            if self._writer is not None:
                self._writer.wait_merging_threads()
                self._writer = None

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
        with _translated("The lexical index could not be read."):
            hits = searcher.search(query, limit, count=False).hits
            return [Candidate(searcher.doc(address)["id"][0], score) for score, address in hits]


@contextmanager
def _translated(sentence: str) -> Iterator[None]:
    """Tantivy raises plain ValueError and OSError; this is the only place that catches them."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise IndexUnavailable(f"{sentence} ({error})") from error


def _discard_other_analysis(path: Path) -> None:
    """Empty an index that another analysis made: its terms would never match ours."""
    mark = path / "analyser.txt"
    if path.exists() and (not mark.exists() or mark.read_text() != ANALYSER):
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    mark.write_text(ANALYSER)
