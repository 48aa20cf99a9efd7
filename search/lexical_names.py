"""Names that go on as typed: titles, authors, headings and words of the lexical index.

Knows the fields that only the chunks hold with which a document or a section
begins. Its hard rule: bounded work for every key that is pressed.
"""

from collections.abc import Iterator, Sequence

import msgspec
import tantivy

from search.analysis import ENGLISH, is_stop_word, surface
from search.lexical_fields import Name, ids
from search.lexical_query import LexicalQuery
from search.query import Field, Term

_MOST_ENDINGS = 64
_MOST_WORDS = 12
_SHORTEST_BEGINNING = 2  # letters, before words are suggested


class Placed(msgspec.Struct, frozen=True):
    """A name, and the chunk that begins it."""

    chunk_id: str
    name: Name


class Begun(msgspec.Struct, frozen=True):
    titles: tuple[Placed, ...] = ()
    authors: tuple[Placed, ...] = ()
    headings: tuple[Placed, ...] = ()
    words: tuple[str, ...] = ()  # what was typed, its last word gone on with


class LexicalNames:
    """What goes on as typed, in one state of the index."""

    def __init__(self, schema: tantivy.Schema, searcher: tantivy.Searcher, asking: LexicalQuery) -> None:
        self._schema, self._searcher, self._asking = schema, searcher, asking

    def beginning_as(self, typed: str, most: int) -> Begun:
        """At most `most` of each kind, in no order that matters but for the words, the most frequent first."""
        *whole, last = surface(typed) or [""]
        if not last:
            return Begun(titles=self._run(self._unspaced(typed), most))
        return Begun(
            titles=self._run(self._spaced("title_words", whole, last), most),
            authors=self._run(self._spaced("author_words", whole, last), most),
            headings=self._run(self._spaced("heading_words", whole, last), most),
            words=tuple(self._words(typed, whole, last)),
        )

    def _spaced(self, field: str, whole: Sequence[str], last: str) -> tantivy.Query | None:
        endings = self._searcher.terms_with_prefix(field, last, limit=_MOST_ENDINGS)
        if not endings:
            return None
        clauses = [
            tantivy.Query.term_query(self._schema, field, word, index_option="basic") for word in whole
        ]
        clauses.append(tantivy.Query.term_set_query(self._schema, field, [word for word, _ in endings]))
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, _equal(clause)) for clause in clauses])

    def _unspaced(self, typed: str) -> tantivy.Query:
        """Titles with what was typed anywhere in them: such scripts have no beginnings of words."""
        begins = tantivy.Query.term_query(self._schema, "begins", "document", index_option="basic")
        stands = self._asking.exactly(Term(typed, Field.TITLE, phrase=True))
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, begins), (tantivy.Occur.Must, stands)])

    def _words(self, typed: str, whole: Sequence[str], last: str) -> Iterator[str]:
        if len(last) < _SHORTEST_BEGINNING:
            return
        before = typed[: typed.rfind(" ") + 1] if whole else ""
        found = 0
        for word, _ in self._searcher.terms_with_prefix("words", last, limit=2 * _MOST_WORDS):
            if word != last and not is_stop_word(word, ENGLISH) and found < _MOST_WORDS:
                found += 1
                yield f"{before}{word}"

    def _run(self, query: tantivy.Query | None, most: int) -> tuple[Placed, ...]:
        if query is None:
            return ()
        addresses = [address for _, address in self._searcher.search(query, most, count=False).hits]
        placed = []
        for chunk_id, address in zip(ids(self._searcher, addresses), addresses, strict=True):
            held = self._searcher.doc(address).get_first("name")
            if held is not None:
                placed.append(Placed(chunk_id, msgspec.msgpack.decode(bytes(held), type=Name)))
        return tuple(placed)


def _equal(query: tantivy.Query) -> tantivy.Query:
    return tantivy.Query.const_score_query(query, 1.0)
