"""Snippets: the part of a passage worth showing, with the matched words marked.

Pure: text and query in, safe HTML out. Its hard rule: everything that comes
from a book is escaped; the only markup is the <mark> put in here.
"""

import html
import re
from collections import Counter
from functools import lru_cache

from search.analysis import Term, subject_terms, terms

_WINDOW_CHARACTERS = 280
# What the analysis never looks across: each run of other characters has its terms by itself, wherever it
# stands. A library has few different ones, so most are analysed once, not once a passage and search.
_RUN = re.compile(r"[0-9A-Za-z\x80-\U0010ffff]+")
_RUNS_KEPT, _LONGEST_KEPT = 16_384, 40


def snippet(text: str, query: str, *, window: int = _WINDOW_CHARACTERS) -> str:
    """The `window` characters of `text` with the most different words of `query`, as HTML.

    Without a match it is the beginning of the text. Cut ends are shown by an
    ellipsis; cuts fall between words where the script has spaces.
    """
    hits = _hits(text, _wanted(query))
    start = _best_start(text, hits, window)
    end = min(len(text), start + window)
    if end < len(text):
        space = text.rfind(" ", start, end)
        end = space if space > start + window // 2 else end
    inside = [hit for hit in hits if start <= hit.start and hit.end <= end]
    body = _marked(text, start, end, inside)
    return f"{'… ' if start else ''}{body}{' …' if end < len(text) else ''}"


@lru_cache(maxsize=64)
def _wanted(query: str) -> frozenset[str]:
    return frozenset(subject_terms(query) or {term.text for term in terms(query)})


def _hits(text: str, wanted: frozenset[str]) -> list[Term]:
    """The terms of `text` that are wanted, in order."""
    telling = {
        run: [term for term in terms(run) if term.text in wanted]
        for run in set(_RUN.findall(text))
        if not wanted.isdisjoint(_names[run])
    }
    return [
        Term(term.text, run.start() + term.start, run.start() + term.end)
        for run in (_RUN.finditer(text) if telling else ())
        for term in telling.get(run.group(), ())
    ]


class _Names(dict[str, frozenset[str]]):
    """The terms of each run, worked out once; everything is forgotten when it has become too many."""

    def __missing__(self, run: str) -> frozenset[str]:
        found = frozenset(term.text for term in terms(run))
        if len(run) <= _LONGEST_KEPT:
            if len(self) >= _RUNS_KEPT:
                self.clear()
            self[run] = found
        return found


_names = _Names()


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
