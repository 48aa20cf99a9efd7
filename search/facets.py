"""Facets: how many documents of a result stand on each shelf, are by each author, and so on.

Pure. Counted over the very passages that can be paged through, filters
included, so a count never promises what the list does not show. A filter that
is on is taken off again by its own name, not by a count here.
"""

from collections import Counter
from collections.abc import Iterable

from library.values import Labels, Origin
from search.values import Facets, FacetValue

_MOST_VALUES = 20  # of one facet; the rest are rare, and a list of them helps nobody
_MOST_YEARS = 12  # more than these are told by decade


def counted(origins: Iterable[Origin]) -> Facets:
    """The facets of the documents that these are of; each document counts once."""
    documents = {origin.document_id: origin.labels for origin in origins}.values()
    return Facets(
        shelf=_most(one.shelf for one in documents),
        author=_most(author for one in documents for author in set(one.authors)),
        language=_most(one.language for one in documents),
        format=_most(one.format for one in documents),
        year=_years(documents),
        tag=_most(subject for one in documents for subject in set(one.subjects)),
    )


def years_of(value: str) -> tuple[int, int] | None:
    """The first and the last year that a value of the year facet stands for; None when it is none."""
    year = value.removesuffix("s")
    if not (year.isascii() and year.isdigit() and len(year) <= 4):
        return None
    first = int(year)
    return (first, first + 9) if value.endswith("s") else (first, first)


def _most(values: Iterable[str | None]) -> tuple[FacetValue, ...]:
    """The most frequent values, equals by name."""
    found = Counter(value for value in values if value)
    most = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(FacetValue(value, count) for value, count in most[:_MOST_VALUES])


def _years(documents: Iterable[Labels]) -> tuple[FacetValue, ...]:
    found = Counter(one.year for one in documents if one.year is not None)
    if len(found) <= _MOST_YEARS:
        return tuple(FacetValue(str(year), found[year]) for year in sorted(found, reverse=True))
    decades: Counter[int] = Counter()
    for year, count in found.items():
        decades[year // 10 * 10] += count
    return tuple(
        FacetValue(f"{decade}s", decades[decade]) for decade in sorted(decades, reverse=True)[:_MOST_VALUES]
    )
