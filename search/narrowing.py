"""Narrowing: what a query asks of a document, and what was ticked beside it, as one set of filters.

Pure. Both hold at once: a shelf ticked in the margin never widens what
`shelf:` in the query itself has left.
"""

from collections.abc import Callable

import msgspec

from search.query import Filters


def narrowed(filters: Filters, by: Filters) -> Filters | None:
    """Filters that a document passes if it passes both; None when none can."""
    shelves = _both(filters.shelves, by.shelves, _same)
    formats = _both(filters.formats, by.formats, _same)
    subjects = _both(filters.subjects, by.subjects, _same)
    authors = _both(filters.authors, by.authors, _same)
    languages = _both(filters.languages, by.languages, _is_kind_of)
    after = max((year for year in (filters.after, by.after) if year is not None), default=None)
    before = min((year for year in (filters.before, by.before) if year is not None), default=None)
    apart = after is not None and before is not None and after > before
    if (
        apart
        or shelves is None
        or formats is None
        or subjects is None
        or authors is None
        or languages is None
    ):
        return None
    return msgspec.structs.replace(
        filters,
        shelves=shelves,
        authors=authors,
        languages=languages,
        formats=formats,
        subjects=subjects,
        after=after,
        before=before,
    )


def _both(
    asked: tuple[str, ...], ticked: tuple[str, ...], fits: Callable[[str, str], bool]
) -> tuple[str, ...] | None:
    """The narrower of each pair that goes together; None when values were given on both sides and none does."""
    if not asked or not ticked:
        return asked or ticked
    narrow = [
        one if fits(one, other) else other
        for one in asked
        for other in ticked
        if fits(one, other) or fits(other, one)
    ]
    return tuple(dict.fromkeys(narrow)) or None


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _is_kind_of(one: str, other: str) -> bool:
    """As "en-gb" is a kind of "en"."""
    one, other = one.casefold(), other.casefold()
    return one == other or one.startswith(f"{other}-")
