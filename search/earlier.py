"""The lexical index of an earlier version: still asked while its successor is built.

Knows how that version analysed words, and nothing of what today's schema has
beyond it: its one text field is searched for any of the query's words. Its hard
rule: it reads only, so whatever has to be added waits for the successor.
"""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tantivy

from library.errors import IndexUnavailable
from search.lexical_names import Begun
from search.query import Query
from search.soundness import is_panic
from search.values import Candidate

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
_WORDS = rf"[{_UNSPACED}]|[\p{{L}}\p{{N}}\p{{M}}&&[^{_UNSPACED}]]+"
_LONGEST_WORD_BYTES = 60
_MOST_QUERY_TERMS = 64
_SHELF_ONLY = ("authors", "languages", "formats", "subjects", "after", "before")


def _almanac_1() -> tantivy.TextAnalyzer:
    """Frozen: the analysis of Almanac 0.1, whatever today's is."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(_WORDS))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.remove_long(_LONGEST_WORD_BYTES))
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


class EarlierLexicalIndex:
    """An open index of an earlier schema. It has no writer, and never will."""

    def __init__(self, path: Path) -> None:
        """Raises IndexUnavailable when it cannot be opened or asked."""
        self.damage: str | None = None
        self._noting = threading.Lock()
        self._analyser = _almanac_1()
        try:
            self._index = tantivy.Index.open(str(path))
            self._schema = self._index.schema
            self._index.config_reader("manual")
            self._index.reload()
        except BaseException as error:
            raise self._unavailable(error) from error
        self._search(tantivy.Query.term_query(self._schema, "text", "a", index_option="freq"), 1)
        self._search(tantivy.Query.all_query(), 1)  # one that does not keep its ids as that version did
        self.count("")

    def search(self, query: Query, *, limit: int) -> list[Candidate]:
        """The best `limit` chunks for any of the query's words; of its filters it knows the shelf alone.

        Raises IndexUnavailable where the query asks for what this version did not know.
        """
        wanted = query.filters
        if any(getattr(wanted, name) not in ((), None) for name in _SHELF_ONLY) or any(
            clause.excluded or clause.required for clause in query.clauses
        ):
            raise IndexUnavailable(
                "The index of words is being rebuilt for this version; filters and operators are understood "
                "when it is ready, in a few moments."
            )
        words = dict.fromkeys(token.text for token in self._analyser.pre_tokenize(query.text).tokens)
        clauses = [
            (tantivy.Occur.Should, self._term("text", word)) for word in list(words)[:_MOST_QUERY_TERMS]
        ]
        if not clauses:
            return []
        matched = tantivy.Query.boolean_query(clauses)
        shelves = list(wanted.shelves)
        if shelves:
            on_them = tantivy.Query.term_set_query(self._schema, "shelf", shelves)
            matched = tantivy.Query.boolean_query(
                [
                    (tantivy.Occur.Must, matched),
                    (tantivy.Occur.Must, tantivy.Query.const_score_query(on_them, 0.0)),
                ]
            )
        return self._search(matched, limit)

    def permitted(self, _: Query, chunk_ids: Iterable[str]) -> set[str]:
        """All of them: a query that would forbid any is refused by `search`."""
        return set(chunk_ids)

    def corrected(self, _: Query) -> str | None:
        """Nothing: spelling is looked after by the index that is being built."""
        return None

    def resembling(self, _: Query) -> tuple[str, ...]:
        return ()

    def beginning_as(self, _: str, most: int) -> Begun:  # noqa: ARG002 - the parameters are those of LexicalIndex
        """Nothing: it holds no names."""
        return Begun()

    def contains(self, wanted: Iterable[tuple[Sequence[str], str]]) -> list[bool]:
        """None is proven here: the proof is for the index that is being built."""
        return [False for _ in wanted]

    def count(self, document_id: str | None = None) -> int:
        """How many chunks there are, of one document or of all."""
        try:
            searcher = self._index.searcher()
            if document_id is None:
                return int(searcher.num_docs)
            found: Any = searcher.search(self._term("document", document_id, "basic"), 1, count=True)
        except BaseException as error:
            raise self._unavailable(error) from error
        return int(found.count)

    def holds(self, _: Sequence[str]) -> bool:
        """Unknown, so no: whether its text is today's was never asked of it."""
        return False

    def close(self) -> None:
        """Nothing is held but memory."""

    def _term(self, field: str, word: str, option: str = "freq") -> tantivy.Query:
        return tantivy.Query.term_query(
            self._schema, field, word, index_option="basic" if option == "basic" else "freq"
        )

    def _search(self, query: tantivy.Query, limit: int) -> list[Candidate]:
        try:
            searcher = self._index.searcher()
            hits = searcher.search(query, limit, count=False).hits
            return [Candidate(searcher.doc(address)["id"][0], score) for score, address in hits]
        except BaseException as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> BaseException:
        if not isinstance(error, (OSError, ValueError, LookupError)) and not is_panic(error):
            return error
        with self._noting:
            self.damage = f"it could not be read ({error})"
        return IndexUnavailable(f"The earlier index of words could not be read ({error}).")
