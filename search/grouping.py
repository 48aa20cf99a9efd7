"""Grouping: a ranking of passages as a list of documents, and the orders it can be shown in.

Pure: candidates and their documents in, the same candidates out in another
order. Its hard rule: nothing is random and no tie is left open, so that pages
cut from the same ranking never overlap and never leave a gap.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from library.values import Origin
from search.values import Candidate, Sort

# By date or title only what fits is listed: passages that score at least this
# share of the best. The vector side always has a nearest neighbour to offer, so
# without a bound the newest book of the library would lead every such list.
_FITS = 0.5


class Group(NamedTuple):
    """The best passage of a document, and its others, best first."""

    best: Candidate
    others: tuple[Candidate, ...] = ()


def one_by_one(ranked: Sequence[Candidate]) -> list[Group]:
    """Every passage for itself."""
    return [Group(candidate) for candidate in ranked]


def by_document(ranked: Sequence[Candidate], origins: Mapping[str, Origin]) -> list[Group]:
    """One group a document, in the order of their best passages in `ranked`."""
    documents: dict[str, list[Candidate]] = {}
    for candidate in ranked:
        documents.setdefault(origins[candidate.id].document_id, []).append(candidate)
    return [Group(best, tuple(others)) for best, *others in documents.values()]


def ordered(ranked: Sequence[Candidate], origins: Mapping[str, Origin], sort: Sort) -> list[Candidate]:
    """The ranking in that order; by date or title without what hardly fits. Stable."""
    if sort is Sort.RELEVANCE:
        return list(ranked)
    least = _FITS * max((candidate.score for candidate in ranked), default=0.0)
    fitting = [candidate for candidate in ranked if candidate.score >= least]
    key = _by_date if sort is Sort.DATE else _by_title
    return sorted(fitting, key=lambda candidate: key(origins[candidate.id]))


def _by_date(origin: Origin) -> tuple[bool, int, float, str]:
    year = origin.labels.year
    return year is None, -(year or 0), -origin.received_at.timestamp(), origin.document_id


def _by_title(origin: Origin) -> tuple[str, str]:
    letters = unicodedata.normalize("NFKD", origin.labels.title.casefold())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return plain.strip(" \"'«»„“”‘’([{"), origin.document_id
