"""The results on the front page: what was found, what narrows it, and where each link leads.

Makes dictionaries for the template out of a search; the addresses are all of
this page, so that every choice can be kept, sent and gone back to, and none
needs a script.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from search.values import Facets, Passage, SearchResult, Sort
from web.asked import FACETS, Asked
from web.house import House
from web.search import offset_of
from web.shapes import hit_shape

_RESULTS_A_PAGE = 10
_MORE_LIKE_IT = 20
_FACET_WORDS = {
    "shelf": "Shelf",
    "author": "Author",
    "language": "Language",
    "format": "Format",
    "year": "Year",
    "tag": "Subject",
}
_FILTER_WORDS = {FACETS[facet]: words for facet, words in _FACET_WORDS.items() if facet in FACETS}
_MODE_WORDS = {"hybrid": "words and meaning", "words": "words only", "meaning": "meaning only"}


def results(house: House, asked: Asked, cursor: str) -> dict[str, Any]:
    """A page of documents that fit, with their passages and facets. Raises AlmanacError."""
    offset = offset_of(cursor)
    found = house.retriever.search(
        asked.query(),
        limit=_RESULTS_A_PAGE,
        offset=offset,
        mode=asked.retrieval_mode,
        sort=asked.sort,
        grouped=True,
        facets=True,
    )
    before = max(0, offset - _RESULTS_A_PAGE)
    return _listed(found.passages, found) | {
        "kind": "search",
        "first": offset + 1,
        "did_you_mean": _spelled(asked, found.did_you_mean),
        "facets": _facets(asked, found.facets or Facets(), found.total),
        "filters": _filters(asked),
        "clear_href": Asked(q=asked.q, sort=asked.sort, mode=asked.mode).address(),
        "sorts": [
            {
                "words": sort.value,
                "href": msgspec.structs.replace(asked, sort=sort).address(),
                "on": sort is asked.sort,
            }
            for sort in Sort
        ],
        "modes": [
            {
                "words": words,
                "href": msgspec.structs.replace(asked, mode=mode).address(),
                "on": mode == asked.mode,
            }
            for mode, words in _MODE_WORDS.items()
        ],
        "next_href": asked.address(cursor=str(found.next_offset)) if found.next_offset is not None else None,
        "previous_href": asked.address(cursor=str(before)) if offset else None,
    }


def alike(house: House, passage_id: str) -> dict[str, Any]:
    """Passages like that one. Raises PassageNotFound."""
    found = house.retriever.similar(passage_id, limit=_MORE_LIKE_IT)
    (like,) = house.retriever.passages([passage_id], "")
    return _listed(found.passages, found) | {"kind": "alike", "first": 1, "like": _plain(hit_shape(like))}


def chosen(house: House, asked: Asked, passage_ids: Sequence[str]) -> dict[str, Any]:
    """Exactly those passages, that a question is put to. Raises PassageNotFound."""
    passages = house.retriever.passages(passage_ids, asked.query().text)
    nothing_else = SearchResult(passages, len(passages), None, 0.0, ())
    return _listed(passages, nothing_else) | {"kind": "chosen", "first": 1, "back_href": asked.address()}


def _listed(passages: Sequence[Passage], found: SearchResult) -> dict[str, Any]:
    return {
        "items": _plain([hit_shape(passage) for passage in passages]),
        "total": found.total,
        "took_ms": found.took_ms,
        "notices": [*found.degraded, *found.notices],
    }


def _spelled(asked: Asked, spelling: str | None) -> dict[str, str] | None:
    if not spelling:
        return None
    return {"words": spelling, "href": msgspec.structs.replace(asked, q=spelling).address()}


def _facets(asked: Asked, facets: Facets, total: int) -> list[dict[str, Any]]:
    """The values that tell the documents found apart, each with the address that narrows to it."""
    shown = []
    for name, words in _FACET_WORDS.items():
        values = []
        for one in getattr(facets, name):
            narrower = asked.with_value(name, one.value)
            if narrower is not None and one.count < total:
                values.append({"value": one.value, "count": one.count, "href": narrower.address()})
        if values:
            shown.append({"words": words, "values": values})
    return shown


def _filters(asked: Asked) -> list[dict[str, str]]:
    """The filters that are on, each with the address without it."""
    on = []
    for parameter, words in _FILTER_WORDS.items():
        values: tuple[str, ...] = getattr(asked, parameter)
        for value in values:
            rest = tuple(other for other in values if other != value)
            without = msgspec.structs.replace(asked, **{parameter: rest})
            on.append({"words": words, "value": value, "href": without.address()})
    if asked.after is not None or asked.before is not None:
        without = msgspec.structs.replace(asked, after=None, before=None)
        on.append({"words": "Year", "value": _years(asked.after, asked.before), "href": without.address()})
    return on


def _years(after: int | None, before: int | None) -> str:
    if after is None:
        return f"up to {before}"
    if before is None:
        return f"from {after}"
    return str(after) if after == before else f"{after}–{before}"


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value)
