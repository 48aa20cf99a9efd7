"""The API's searches: by a query, and by a passage."""

from litestar import get
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery

from library.errors import InvalidRequest
from search.values import SearchResult
from web.asked import Asked, asked, switched_on
from web.house import House
from web.shapes import SearchShape, hit_shape


@get("/api/search", sync_to_thread=True, dependencies={"asked": Provide(asked, sync_to_thread=False)})
def search(
    state: State,
    asked: NamedDependency[Asked],
    group: FromQuery[str] = "",
    facets: FromQuery[str] = "",
    rerank: FromQuery[str] = "",
    limit: FromQuery[int] = 10,
    cursor: FromQuery[str] = "",
) -> SearchShape:
    """Passages that fit the query, by words and by meaning; or documents, with `group=document`."""
    house: House = state.house
    if group not in ("", "document"):
        raise InvalidRequest("group", "must be document, or be left out.")
    reranked = switched_on("rerank", rerank)
    if reranked and house.retriever.reranker is None:
        raise InvalidRequest("rerank", "needs a reranker, which `search.reranker` names; there is none.")
    return search_shape(
        house.retriever.search(
            asked.query(),
            limit=limit,
            offset=offset_of(cursor),
            mode=asked.retrieval_mode,
            sort=asked.sort,
            grouped=bool(group),
            facets=switched_on("facets", facets),
            rerank=reranked,
        )
    )


@get("/api/passages/{passage_id:str}/similar", sync_to_thread=True)
def similar(state: State, passage_id: FromPath[str], limit: FromQuery[int] = 10) -> SearchShape:
    """More like this passage, by its words and its meaning."""
    house: House = state.house
    return search_shape(house.retriever.similar(passage_id, limit=limit))


def search_shape(found: SearchResult) -> SearchShape:
    return SearchShape(
        items=tuple(map(hit_shape, found.passages)),
        total=found.total,
        next=None if found.next_offset is None else str(found.next_offset),
        took_ms=found.took_ms,
        degraded=found.degraded,
        notices=found.notices,
        did_you_mean=found.did_you_mean,
        facets=found.facets,
    )


def offset_of(cursor: str) -> int:
    """The offset that a cursor stands for. Raises InvalidRequest."""
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 6):
        raise InvalidRequest("cursor", "is not one that a search has returned; leave it out to start again.")
    return int(cursor)
