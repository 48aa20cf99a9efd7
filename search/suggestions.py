"""Suggestions while typing: titles, authors, headings and words that go on as typed.

Asks the lexical index, which holds each name with the chunk that it begins,
so there is nothing here to keep or to rebuild. Knows no page. Its hard rule:
what is suggested can be opened: a document that may not be seen is left out.
"""

import enum
from collections.abc import Iterable

import msgspec

from library.excerpts import Excerpts
from search.analysis import folded
from search.lexical_names import Placed
from search.scanning import cleaned
from search.words import Words

_LONGEST_TYPED = 100
# Candidates of each kind that are put in order: those that begin as typed first, then the short ones.
_LOOKED_AT = 100
# How many of a kind come before the others have had their turn.
_SHARES = {"title": 4, "author": 1, "heading": 3, "term": 2}


class Kind(enum.StrEnum):
    TITLE = "title"
    AUTHOR = "author"
    HEADING = "heading"
    TERM = "term"


class Suggestion(msgspec.Struct, frozen=True):
    text: str
    kind: Kind
    document_id: str | None = None  # of a title and a heading
    section: int | None = None  # of a heading


class _Found(msgspec.Struct, frozen=True):
    text: str
    kind: Kind
    chunk_id: str = ""
    document_id: str = ""


class Suggestions:
    def __init__(self, words: Words, excerpts: Excerpts) -> None:
        self._words, self._excerpts = words, excerpts

    def for_prefix(self, typed: str, limit: int = 8) -> list[Suggestion]:
        """What goes on as typed, at most `limit`; the last word may be unfinished, the others stand as they are.

        Raises IndexUnavailable when the lexical index cannot answer.
        """
        typed = cleaned(typed[: 4 * _LONGEST_TYPED])[:_LONGEST_TYPED]
        if not typed or limit < 1:
            return []
        begun = self._words.serving.lexical.beginning_as(typed, _LOOKED_AT)
        kinds: dict[Kind, list[_Found]] = {
            Kind.TITLE: _in_order(typed, (_title(one) for one in begun.titles)),
            Kind.AUTHOR: _in_order(
                typed,
                (
                    _Found(author, Kind.AUTHOR, one.chunk_id)
                    for one in begun.authors
                    for author in one.name.authors
                    if _goes_on(author, typed)
                ),
            ),
            Kind.HEADING: _in_order(typed, (_heading(one) for one in begun.headings)),
            Kind.TERM: [_Found(text, Kind.TERM) for text in begun.words],
        }
        return self._visible(_mixed(kinds, 3 * limit), limit)

    def _visible(self, found: list[_Found], limit: int) -> list[Suggestion]:
        excerpts = self._excerpts.by_id([one.chunk_id for one in found if one.chunk_id])
        shown = []
        for one in found:
            excerpt = excerpts.get(one.chunk_id)
            if one.chunk_id and excerpt is None:
                continue
            section = excerpt.section if excerpt and one.kind is Kind.HEADING else None
            shown.append(Suggestion(one.text, one.kind, one.document_id or None, section))
        return shown[:limit]


def _title(name: Placed) -> _Found:
    return _Found(name.name.title, Kind.TITLE, name.chunk_id, name.name.document_id)


def _heading(name: Placed) -> _Found:
    return _Found(name.name.heading, Kind.HEADING, name.chunk_id, name.name.document_id)


def _goes_on(author: str, typed: str) -> bool:
    words = folded(author).split()
    return all(any(word.startswith(part) for word in words) for part in folded(typed).split())


def _in_order(typed: str, found: Iterable[_Found]) -> list[_Found]:
    """Those that begin as typed first, the shorter ones first, each text once a document."""
    start = folded(typed)
    once = {(folded(one.text), one.document_id): one for one in found if one.text}
    return sorted(
        once.values(),
        key=lambda one: (not folded(one.text).startswith(start), len(one.text), one.text, one.chunk_id),
    )


def _mixed(kinds: dict[Kind, list[_Found]], most: int) -> list[_Found]:
    """Each kind's share, then what is left of each, in the order of the kinds."""
    first = [one for kind, found in kinds.items() for one in found[: _SHARES[kind]]]
    rest = [one for kind, found in kinds.items() for one in found[_SHARES[kind] :]]
    return [*first, *rest][:most]
