"""Asked: a search as a request's parameters tell it, for the API and for the page alike.

Pure. Its hard rule: a wrong value is refused with a sentence that names it; an
empty one, as a form sends for what was left open, is none.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from litestar.params import FromQuery, QueryParameter

from library.errors import InvalidRequest
from search.facets import years_of
from search.narrowing import narrowed
from search.query import Filters, Query, parse
from search.values import Mode, Sort

_MODES = {"hybrid": Mode.HYBRID, "words": Mode.LEXICAL, "meaning": Mode.VECTOR}
_MOST_VALUES = 20  # of one filter
_LONGEST_VALUE = 500
_LAST_YEAR = 9999

# The facets as they are counted, and the parameter that each is chosen by; a year by its bounds.
FACETS = {"shelf": "shelf", "author": "author", "language": "lang", "format": "type", "tag": "tag"}


class Asked(msgspec.Struct, frozen=True):
    """The parameters of a search, checked. Names are those of the address."""

    q: str = ""
    shelf: tuple[str, ...] = ()
    author: tuple[str, ...] = ()
    lang: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    after: int | None = None
    before: int | None = None
    sort: Sort = Sort.RELEVANCE
    mode: str = "hybrid"

    @property
    def retrieval_mode(self) -> Mode:
        return _MODES[self.mode]

    @property
    def filters(self) -> Filters:
        return Filters(self.shelf, self.author, self.lang, self.type, self.tag, self.after, self.before)

    def query(self) -> Query:
        """What `q` says and what was chosen beside it, as one query."""
        said = parse(self.q)
        filters = narrowed(said.filters, self.filters)
        if filters is None:
            contradiction = "What the query asks of a document and the filters beside it exclude each other."
            return Query("", notices=(*said.notices, contradiction))
        return msgspec.structs.replace(said, filters=filters)

    def with_value(self, facet: str, value: str) -> "Asked | None":
        """The same search, narrowed to a value of a facet; None for one that cannot be chosen."""
        if facet != "year":
            return msgspec.structs.replace(self, **{FACETS[facet]: (value,)})
        years = years_of(value)
        return None if years is None else msgspec.structs.replace(self, after=years[0], before=years[1])

    def address(self, **more: str | None) -> str:
        """The page of this search. What says nothing is left out."""
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value}
        if self.sort is Sort.RELEVANCE:
            del given["sort"]
        if self.mode == "hybrid":
            del given["mode"]
        given |= {name: value for name, value in more.items() if value}
        return f"/?{urlencode(given, doseq=True)}" if given else "/"


def asked(
    q: FromQuery[str] = "",
    shelf: FromQuery[list[str] | None] = None,
    author: FromQuery[list[str] | None] = None,
    lang: FromQuery[list[str] | None] = None,
    document_type: Annotated[list[str] | None, QueryParameter(name="type")] = None,
    tag: FromQuery[list[str] | None] = None,
    after: FromQuery[str] = "",
    before: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    mode: FromQuery[str] = "",
) -> Asked:
    """The parameters of a request. Raises InvalidRequest."""
    first, last = _year("after", after), _year("before", before)
    if first is not None and last is not None and first > last:
        raise InvalidRequest("after", f"must not be later than `before`, which is {last}.")
    chosen_mode = _one_of("mode", mode or "hybrid", _MODES)
    chosen_sort = Sort(_one_of("sort", sort or Sort.RELEVANCE, {one.value: one for one in Sort}))
    return Asked(
        q=q,
        shelf=_values("shelf", shelf),
        author=_values("author", author),
        lang=_values("lang", lang),
        type=_values("type", document_type),
        tag=_values("tag", tag),
        after=first,
        before=last,
        sort=chosen_sort,
        mode=chosen_mode,
    )


def switched_on(parameter: str, value: str) -> bool:
    """Whether a parameter that is 1 or 0 is on. Raises InvalidRequest."""
    return _one_of(parameter, value or "0", {"0": False, "1": True}) == "1"


def _one_of(parameter: str, value: str, known: Mapping[str, object]) -> str:
    if value not in known:
        raise InvalidRequest(parameter, f"must be one of {', '.join(known)}.")
    return value


def _values(parameter: str, given: Sequence[str] | None) -> tuple[str, ...]:
    # No name holds a NUL, and no page may.
    plain = (value.replace("\0", "").strip() for value in given or ())
    values = tuple(dict.fromkeys(value for value in plain if value))
    if len(values) > _MOST_VALUES:
        raise InvalidRequest(parameter, f"may be given {_MOST_VALUES} times at most.")
    if any(len(value) > _LONGEST_VALUE for value in values):
        raise InvalidRequest(parameter, f"may be {_LONGEST_VALUE} characters long at most.")
    return values


def _year(parameter: str, given: str) -> int | None:
    given = given.strip()
    if not given:
        return None
    if not (given.isascii() and given.isdigit() and len(given) <= 4):
        raise InvalidRequest(parameter, f"must be a year, a number from 0 to {_LAST_YEAR}.")
    return int(given)
