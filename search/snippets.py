"""Snippets: the part of a passage worth showing, with the matched words marked.

Pure: text and query in, safe HTML out. Its hard rule: everything that comes
from a book is escaped; the only markup is the <mark> put in here.
"""

import html
from collections import Counter
from collections.abc import Iterable

from search.analysis import Term, family, is_stop_word, subject_terms, surface, terms
from search.query import Field, Query, parse

_WINDOW_CHARACTERS = 280


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
    hits = _hits(text, asked, language, resembling)
    start = _best_start(text, hits, window)
    end = min(len(text), start + window)
    if end < len(text):
        space = text.rfind(" ", start, end)
        end = space if space > start + window // 2 else end
    inside = [hit for hit in hits if start <= hit.start and hit.end <= end]
    body = _marked(text, start, end, inside)
    return f"{'… ' if start else ''}{body}{' …' if end < len(text) else ''}"


def _hits(text: str, query: Query, language: str | None, resembling: Iterable[str]) -> list[Term]:
    """The terms of `text` that the query's wanted words match, in order."""
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
    # A word typed without its accents may be found as it stands, and not by its stem.
    bare = set(surface(whole)) if language and wanted else set()
    hits = []
    for term in terms(text, language):
        if term.text in wanted:
            hits.append(term)
        elif bare or begun:
            [stands] = surface(text[term.start : term.end]) or [""]
            if (stands in bare and not is_stop_word(stands, family(language))) or (
                begun and stands.startswith(begun)
            ):
                hits.append(term)
    return hits


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
