"""Snippets: the part of a passage worth showing, with the matched words marked.

Pure: text and query in, safe HTML out. Its hard rule: everything that comes
from a book is escaped; the only markup is the <mark> put in here.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from search.analysis import Term, family, is_stop_word, subject_terms, surface, terms
from search.query import Field, Query, parse

_WINDOW_CHARACTERS = 280
# What the analysis never looks across: each run of other characters has its terms by itself, wherever it
# stands. A library has few different ones, so most are analysed once, not once a passage and search.
_RUN = re.compile(r"[0-9A-Za-z\x80-\U0010ffff]+")
_RUNS_KEPT, _LONGEST_KEPT = 32_768, 40


def snippet(
    text: str,
    query: str | Query,
    *,
    language: str | None = None,
    resembling: Iterable[str] = (),
    window: int = _WINDOW_CHARACTERS,
) -> str:
    """The `window` characters of `text` with the most different words of `query`, as HTML.

    `language` is the document's, in which the words were matched; `resembling`
    are words that the index took for some that it does not know. Without a
    match it is the beginning of the text. Cut ends are shown by an ellipsis;
    cuts fall between words where the script has spaces.
    """
    asked = parse(query) if isinstance(query, str) else query
    hits = _hits(text, _wanted(asked, language, tuple(resembling)), language)
    start = _best_start(text, hits, window)
    end = min(len(text), start + window)
    if end < len(text):
        space = text.rfind(" ", start, end)
        end = space if space > start + window // 2 else end
    inside = [hit for hit in hits if start <= hit.start and hit.end <= end]
    body = _marked(text, start, end, inside)
    return f"{'… ' if start else ''}{body}{' …' if end < len(text) else ''}"


class _Wanted(NamedTuple):
    """What a query's words are in the texts of one language."""

    terms: frozenset[str]
    bare: frozenset[str]  # as they stand: a word typed without its accents is not found by its stem
    begun: tuple[str, ...]

    def holds(self, term: str, stands: str) -> bool:
        return term in self.terms or stands in self.bare or bool(self.begun and stands.startswith(self.begun))


@lru_cache(maxsize=64)
def _wanted(query: Query, language: str | None, resembling: tuple[str, ...]) -> _Wanted:
    asked = [
        term
        for clause in query.clauses
        if not clause.excluded
        for term in clause.any_of
        if term.field is not Field.AUTHOR
    ]
    whole = " ".join([*(term.text for term in asked if not term.prefix), *resembling])
    begun = tuple(word for term in asked if term.prefix for word in surface(term.text)[-1:])
    wanted = subject_terms(whole, language) or {term.text for term in terms(whole, language)}
    group = family(language)
    bare = (word for word in surface(whole) if language and wanted and not is_stop_word(word, group))
    return _Wanted(frozenset(wanted), frozenset(bare), begun)


def _hits(text: str, wanted: _Wanted, language: str | None) -> list[Term]:
    """The terms of `text` that are wanted, in order."""
    found: list[Term] = []
    for run, analysed in _runs_in(family(language)).of(set(_RUN.findall(text))).items():
        if isinstance(analysed, str):
            hits = [Term(analysed, 0, len(run))] if wanted.holds(analysed, run.lower()) else []
        else:
            hits = [term for term, stands in analysed if wanted.holds(term.text, stands)]
        if hits:
            found += (
                Term(hit.text, start + hit.start, start + hit.end)
                for start in _places(text, run)
                for hit in hits
            )
    return sorted(found, key=lambda term: term.start)


def _places(text: str, run: str) -> Iterator[int]:
    """Where the run stands by itself, and not as a part of a longer one."""
    at = text.find(run)
    while at >= 0:
        end = at + len(run)
        if not (at and _RUN.match(text, at - 1)) and not _RUN.match(text, end):
            yield at
        at = text.find(run, end)


# What a run is: a plain word is its one term, which stands as the run in lower case; else each term, and how it stands.
_Analysed = str | tuple[tuple[Term, str], ...]


class _Runs:
    """The runs of one family of languages, analysed once. All are forgotten when it is too much."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._kept: dict[str, _Analysed] = {}

    def of(self, runs: set[str]) -> dict[str, _Analysed]:
        kept = self._kept  # another thread may put a new one in its place
        found = {run: kept[run] for run in runs if run in kept}
        if len(found) < len(runs):
            new = [run for run in runs if run not in found]
            added = dict(zip(new, self._analysed(new), strict=True))
            found |= added
            if len(kept) >= _RUNS_KEPT:
                self._kept = kept = {}
            kept.update((run, one) for run, one in added.items() if len(run) <= _LONGEST_KEPT)
        return found

    def _analysed(self, runs: Sequence[str]) -> Iterator[_Analysed]:
        """All by one call of the analyser, which for one word takes longer to set out than to work."""
        together = terms(" ".join(runs), self._group)
        at = begin = 0
        for run in runs:
            end = begin + len(run)
            first = at
            while at < len(together) and together[at].end <= end:
                at += 1
            own = together[first:at]
            if len(own) == 1 and run.isascii() and own[0].end - own[0].start == len(run):
                yield own[0].text
            else:
                placed = (Term(term.text, term.start - begin, term.end - begin) for term in own)
                yield tuple((term, (surface(run[term.start : term.end]) or [""])[0]) for term in placed)
            begin = end + 1


@cache
def _runs_in(group: str) -> _Runs:
    return _Runs(group)


def _best_start(text: str, hits: list[Term], window: int) -> int:
    """Where the window with the most distinct terms begins; the earliest of equals."""
    if not hits or len(text) <= window:
        return 0
    before = window // 6  # a little of what stands before the first match makes it readable
    best, most, end = hits[0], 0, 0
    inside: Counter[str] = Counter()
    for position, first in enumerate(hits):
        while end < len(hits) and hits[end].end <= first.start + window - before:
            inside[hits[end].text] += 1
            end += 1
        if len(inside) > most:
            best, most = first, len(inside)
        if end == position:  # a word longer than the window was never inside
            end += 1
            continue
        inside[first.text] -= 1
        if not inside[first.text]:
            del inside[first.text]
    start = max(0, min(best.start - before, len(text) - window))
    if start:
        space = text.find(" ", start, best.start)
        start = space + 1 if space >= 0 else start
    return start


def _marked(text: str, start: int, end: int, hits: list[Term]) -> str:
    parts, at = [], start
    for hit in hits:
        parts += [
            html.escape(text[at : hit.start]),
            "<mark>",
            html.escape(text[hit.start : hit.end]),
            "</mark>",
        ]
        at = hit.end
    parts.append(html.escape(text[at:end]))
    return "".join(parts).replace("</mark> <mark>", " ")
