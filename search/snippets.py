"""Snippets: the part of a passage worth showing, with the matched words marked.

Pure: text and query in, safe HTML out. Its hard rule: everything that comes
from a book is escaped; the only markup is the <mark> put in here.
"""

import html

from search.analysis import Term, subject_terms, terms

_WINDOW_CHARACTERS = 280


def snippet(text: str, query: str, *, window: int = _WINDOW_CHARACTERS) -> str:
    """The `window` characters of `text` with the most different words of `query`, as HTML.

    Without a match it is the beginning of the text. Cut ends are shown by an
    ellipsis; cuts fall between words where the script has spaces.
    """
    wanted = subject_terms(query) or {term.text for term in terms(query)}
    hits = [term for term in terms(text) if term.text in wanted]
    start = _best_start(text, hits, window)
    end = min(len(text), start + window)
    if end < len(text):
        space = text.rfind(" ", start, end)
        end = space if space > start + window // 2 else end
    inside = [hit for hit in hits if start <= hit.start and hit.end <= end]
    body = _marked(text, start, end, inside)
    return f"{'… ' if start else ''}{body}{' …' if end < len(text) else ''}"


def _best_start(text: str, hits: list[Term], window: int) -> int:
    """Where the window with the most distinct terms begins; the earliest of equals."""
    if not hits or len(text) <= window:
        return 0
    best, most = hits[0], 0
    for position, first in enumerate(hits):
        distinct = {hit.text for hit in hits[position:] if hit.end <= first.start + window}
        if len(distinct) > most:
            best, most = first, len(distinct)
    # A little of what stands before the first match makes it readable.
    start = max(0, min(best.start - window // 6, len(text) - window))
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
