"""From a query to tantivy: which terms of which fields, at what weight.

Knows the fields and BM25; knows no operator's spelling. Its hard rule: a query
is put together term by term, never parsed, so there is no syntax that a
hostile or hurried reader could get wrong.

A word is looked for in every language that the library holds. Its forms in
two languages are terms of their own, but one word to the reader, so each is
weighed as if it occurred as often as all of them together: a language with few
books is not preferred for having few.
"""

import functools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import tantivy

from search.analysis import ENGLISH, folded, is_stop_word, query_terms, surface
from search.query import MOST_TERMS, Clause, Field, Filters, Query, Term
from search.vocabulary import Vocabulary

# What a match in a field weighs beside one in the text. See docs/experiments.md.
WEIGHTS = {"text": 1.0, "headings": 0.2, "title": 0.2, "authors": 0.5}
# A word that only resembles what was typed, beside one that is the same.
NEAR_WEIGHT = 0.5
_MOST_NEAR = 3
_MOST_WORDS = 2 * MOST_TERMS  # a term without spaces is many words: its signs and their pairs
_MOST_ENDINGS = 64  # words that a prefix stands for; the most frequent ones

_FIELDS: dict[Field, tuple[str, ...]] = {
    Field.ANY: ("text", "headings", "title", "authors"),
    Field.TITLE: ("title",),
    Field.AUTHOR: ("authors",),
}
_Occurring = tuple[tantivy.Occur, tantivy.Query]


class _Word(NamedTuple):
    """One word of a term: its form in each analysis, by the name of the family."""

    typed: str
    forms: tuple[tuple[str, str], ...]
    bare: tuple[str, ...]  # as it stands


class LexicalQuery:
    """A query against one state of the index. `families` are the analyses that this state holds."""

    def __init__(self, schema: tantivy.Schema, vocabulary: Vocabulary, families: tuple[str, ...]) -> None:
        self._schema, self._vocabulary, self._families = schema, vocabulary, families

    def ranked(self, query: Query) -> tantivy.Query | None:
        """What `query` finds, with its score; None when it asks for nothing."""
        scored = self._scored(query.clauses)
        required = [clause for clause in query.clauses if clause.required]
        allowed = self._allowed(query)
        if not scored and not required:
            # Only filters and exclusions: all that is left, each document's beginning first.
            if not allowed:
                return None
            everything = tantivy.Query.const_score_query(tantivy.Query.all_query(), 1.0)
            scored = [(tantivy.Occur.Should, everything), self._should("begins", "document")]
        matched = [(tantivy.Occur.Must, self._any_of(clause.any_of)) for clause in required]
        if not matched and not allowed:
            return tantivy.Query.boolean_query(scored)
        if not matched:
            matched, scored = [(tantivy.Occur.Must, tantivy.Query.boolean_query(scored))], []
        return tantivy.Query.boolean_query([*matched, *scored, *allowed])

    def permitted(self, query: Query, chunk_ids: Sequence[str]) -> tantivy.Query:
        """Those of the chunks that the required and excluded clauses and the filters allow."""
        these = tantivy.Query.term_set_query(self._schema, "id", list(chunk_ids))
        required = [self._any_of(clause.any_of) for clause in query.clauses if clause.required]
        clauses = [(tantivy.Occur.Must, clause) for clause in (these, *required)]
        return tantivy.Query.boolean_query([*clauses, *self._allowed(query)])

    def of_chunk(self, words: Iterable[str], chunk_id: str) -> tantivy.Query:
        """The chunk, if all of these words stand in its own text."""
        clauses = [tantivy.Query.term_query(self._schema, "id", chunk_id, index_option="basic")]
        clauses += [self._exactly(Term(word), ("text",)) for word in words]
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, clause) for clause in clauses])

    def exactly(self, term: Term) -> tantivy.Query:
        """The term as it stands, in the fields it asks for."""
        return self._exactly(term, _FIELDS[term.field])

    def unknown(self, query: Query) -> list[str]:
        """The wanted words, as typed, that stand nowhere in the index in any form."""
        return list(dict.fromkeys(word.typed for word in self._unknown(query)))

    def resembling(self, query: Query) -> list[str]:
        """The words that are looked for beside those that stand nowhere in the index."""
        near = (self._vocabulary.near(form) for word in self._unknown(query) for form in word.bare)
        return list(dict.fromkeys(one.text for found in near for one in found[:_MOST_NEAR]))

    def _unknown(self, query: Query) -> Iterator[_Word]:
        for clause in query.clauses:
            for term in clause.any_of if not clause.excluded else ():
                words = _words(term.text, self._families) if not term.prefix else ()
                yield from (word for word in words if not self._is_known(word))

    def _is_known(self, word: _Word) -> bool:
        return any(
            self._vocabulary.frequency(field, form)
            for _, form in word.forms
            for field in ("text", "headings", "title")
        ) or any(self._vocabulary.frequency("words", form) for form in word.bare)

    def _allowed(self, query: Query) -> list[_Occurring]:
        excluded = [
            (tantivy.Occur.MustNot, self._exactly(term, _FIELDS[term.field]))
            for clause in query.clauses
            if clause.excluded
            for term in clause.any_of
        ]
        return [*((tantivy.Occur.Must, _unweighed(one)) for one in self._filters(query.filters)), *excluded]

    def _filters(self, filters: Filters) -> Iterator[tantivy.Query]:
        for field, values in (
            ("shelf", map(folded, filters.shelves)),
            ("author", map(folded, filters.authors)),
            ("language", filters.languages),
            ("format", filters.formats),
            ("subject", map(folded, filters.subjects)),
        ):
            if wanted := list(values):
                yield tantivy.Query.term_set_query(self._schema, field, wanted)
        if filters.after is not None or filters.before is not None:
            yield tantivy.Query.range_query(
                self._schema,
                "year",
                tantivy.FieldType.Integer,
                lower_bound=filters.after,
                upper_bound=filters.before,
                use_inverted_index=True,
            )

    def _scored(self, clauses: Iterable[Clause]) -> list[_Occurring]:
        """The clauses that only add to the score, side by side: so tantivy skips what cannot win."""
        terms = [
            term
            for clause in clauses
            if not clause.required and not clause.excluded
            for term in clause.any_of
        ]
        # A word that says nothing in German is not looked for in German books,
        # or "war" would find all of them; unless the query has no other word.
        of_term = {term: _words(term.text, self._families) for term in terms if not term.prefix}
        words = [word for found in of_term.values() for word in found]
        # English ones stay: they weigh next to nothing among English books, and titles are made of them.
        mute = frozenset(
            group
            for group in self._families
            if group != ENGLISH and not all(is_stop_word(word.typed, group) for word in words)
        )
        found: dict[object, list[_Occurring]] = {}
        for term in terms:
            if term.prefix:
                found.setdefault(term, [(tantivy.Occur.Should, self._prefix(term))])
                continue
            for word in of_term[term]:
                if word.forms not in found and len(found) < _MOST_WORDS:
                    found[word.forms] = self._word(word, _FIELDS[term.field], mute=mute)
        return [one for some in found.values() for one in some]

    def _any_of(self, terms: Sequence[Term]) -> tantivy.Query:
        found: list[_Occurring] = []
        for term in terms:
            words = _words(term.text, self._families)
            if len(words) == 1 and not term.phrase and not term.prefix:
                found += self._word(words[0], _FIELDS[term.field])
            else:
                found.append((tantivy.Occur.Should, self._exactly(term, _FIELDS[term.field])))
        return tantivy.Query.boolean_query(found) if found else tantivy.Query.empty_query()

    def _exactly(self, term: Term, fields: Sequence[str]) -> tantivy.Query:
        """The term's words in a row, in any analysis and any of the fields; no word that only resembles them."""
        if term.prefix:
            return self._prefix(term)
        found: list[_Occurring] = []
        for field in fields:
            for group in ("",) if field == "authors" else self._families:
                row = self._row(term.text, group)
                if not row or not all(self._vocabulary.frequency(field, text) for _, text in row):
                    continue
                if len(row) == 1:
                    found.append(self._should(field, row[0][1], WEIGHTS[field]))
                else:
                    phrase = tantivy.Query.phrase_query(self._schema, field, [*row])
                    found.append((tantivy.Occur.Should, tantivy.Query.boost_query(phrase, WEIGHTS[field])))
        return tantivy.Query.boolean_query(found) if found else tantivy.Query.empty_query()

    def _row(self, text: str, group: str) -> list[tuple[int, str]]:
        if not group:
            return list(enumerate(surface(text)))
        placed = query_terms(text, group, pairs=False)
        return [(term.position - placed[0].position, term.text) for term in placed]

    def _prefix(self, term: Term) -> tantivy.Query:
        """Every word that begins so, the most frequent ones of them, as one word."""
        begun = surface(term.text)
        endings = self._vocabulary.beginning(begun[-1], _MOST_ENDINGS) if begun else []
        if not endings:
            return tantivy.Query.empty_query()
        if term.field is Field.ANY:
            found = tantivy.Query.term_set_query(self._schema, "words", [word for word, _ in endings])
            weight = self._idf(max(frequency for _, frequency in endings))
        else:
            (field,) = _FIELDS[term.field]
            forms = [word for word, _ in endings]
            if field != "authors":
                forms = [
                    form for word in forms for one in _words(word, self._families) for _, form in one.forms
                ]
            found = tantivy.Query.term_set_query(self._schema, field, list(dict.fromkeys(forms)))
            weight = WEIGHTS[field]
        return tantivy.Query.const_score_query(found, weight)

    def _word(
        self, word: _Word, fields: Sequence[str], weight: float = 1.0, mute: Collection[str] = ()
    ) -> list[_Occurring]:
        """A word in all its forms; where the index does not know it, what resembles it.

        In a family of `mute` it is not looked for if it says nothing there.
        """
        unspoken = {text for group, text in word.forms if group in mute and is_stop_word(word.typed, group)}
        found: list[_Occurring] = []
        known = False
        for field in fields:
            forms = word.bare if field == "authors" else [text for _, text in word.forms]
            often = {text: self._vocabulary.frequency(field, text) for text in forms}
            total = sum(often.values())
            known = known or total > 0
            for text, frequency in often.items():
                if frequency and text not in unspoken:
                    together = self._idf(total) / self._idf(frequency)
                    found.append(self._should(field, text, WEIGHTS[field] * weight * together))
        if known or weight != 1.0 or fields == _FIELDS[Field.AUTHOR]:
            return found
        return self._otherwise(word, fields)

    def _otherwise(self, word: _Word, fields: Sequence[str]) -> list[_Occurring]:
        """A word that no analysis finds: as it stands, else what resembles it."""
        found: list[_Occurring] = []
        for typed in word.bare:
            if self._vocabulary.frequency("words", typed):
                # "purificacion": the accent is missing by which the stemmer knows its ending.
                if "text" in fields:
                    found.append(self._should("words", typed))
                continue
            for other in self._vocabulary.near(typed)[:_MOST_NEAR]:
                for resembling in _words(other.text, self._families):
                    found += self._word(resembling, fields, NEAR_WEIGHT / other.distance)
        return found

    def _should(self, field: str, text: str, weight: float = 1.0) -> _Occurring:
        # "freq" and not "position": a weight needs no positions.
        option: Literal["basic", "freq"] = "basic" if field in ("words", "begins") else "freq"
        query = tantivy.Query.term_query(self._schema, field, text, index_option=option)
        return tantivy.Occur.Should, query if weight == 1.0 else tantivy.Query.boost_query(query, weight)

    def _idf(self, frequency: int) -> float:
        """As tantivy's BM25 has it. Chunks that were removed still count until their segment is merged."""
        absent = max(0, self._vocabulary.chunks - frequency)
        return math.log(1 + (absent + 0.5) / (frequency + 0.5))


def _unweighed(query: tantivy.Query) -> tantivy.Query:
    return tantivy.Query.const_score_query(query, 0.0)


@functools.lru_cache(maxsize=1024)
def _words(text: str, families: tuple[str, ...]) -> tuple[_Word, ...]:
    """The words of what was typed, in order, pairs of an unspaced script among them."""
    forms: dict[tuple[int, int], dict[str, str]] = {}
    for group in families:
        for term in query_terms(text, group):
            forms.setdefault((term.start, term.end), {})[group] = term.text
    # A page pasted in a script without spaces is one word of two thousand characters, each a word to look up.
    first = list(forms.items())[: 2 * MOST_TERMS]
    return tuple(
        _Word(text[start:end], tuple(by_group.items()), tuple(surface(text[start:end])))
        for (start, end), by_group in first
    )
