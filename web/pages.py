"""The pages: search and ask, the library. Server-rendered; scripts only add to them. A book is `web.reading`'s."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from litestar import Request, get
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import FromQuery, QueryParameter
from litestar.response import Template

from ingest.refusals import too_large, unreadable_kind
from library.errors import AlmanacError, InvalidRequest
from library.values import DocumentState
from search.scanning import cleaned
from web import results
from web.api import MOST_CHOSEN
from web.asked import Asked, asked
from web.guards import LOOPBACK
from web.house import House
from web.jobs import ingest_shape
from web.opds.routes import address as opds_address
from web.problems import status_of
from web.shapes import document_shape
from web.uploads import Slips

_DOCUMENTS_A_PAGE = 100
_EXAMPLES = (
    "What is the safest way to make water drinkable?",
    "How do I recognise carbon monoxide poisoning?",
    "How far must a latrine be from a well?",
)


@get("/", sync_to_thread=True, dependencies={"asked": Provide(asked, sync_to_thread=False)})
def front(
    state: State,
    asked: NamedDependency[Asked],
    ask: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
    like: FromQuery[str] = "",
    chosen_ids: Annotated[list[str] | None, QueryParameter(name="with")] = None,
) -> Template:
    """One box: it searches, and asks when asked; also more like a passage, and a question put to chosen ones."""
    house: House = state.house
    asked = msgspec.structs.replace(asked, q=cleaned(asked.q))
    asking = bool(ask and asked.q)
    picked = tuple(dict.fromkeys(chosen_ids or ()))[:MOST_CHOSEN] if asking else ()
    found, problem, status = None, None, 200
    try:
        if picked:
            found = results.chosen(house, asked, picked)
        elif like:
            found = results.alike(house, like)
        elif asked.q:
            found = results.results(house, asked, cursor)
    except AlmanacError as error:
        problem, status = str(error), status_of(error)
    counts = house.catalogue.counts()
    chunks, _ = house.catalogue.indexed_totals()
    context = _common(house, "search") | {
        "query": asked.q,
        "shelf": asked.shelf[0] if len(asked.shelf) == 1 else "",
        "asking": asking,
        "picked": picked,
        "shelves": _plain(house.catalogue.shelves()),
        "totals": {
            "documents": sum(counts.values()) - counts[DocumentState.MISSING],
            "findable": counts[DocumentState.FINDABLE] + counts[DocumentState.FINDABLE_WORDS],
            "reading": counts[DocumentState.WAITING] + counts[DocumentState.READING],
            "failed": counts[DocumentState.FAILED],
            "chunks": chunks,
        },
        "model": {"id": house.models.default.id, "state": house.models.default.state.value},
        "results": found,
        "error": problem,
        "examples": _EXAMPLES,
        "library_folder": str(house.library_folder),
    }
    return Template("index.html", context=context, status_code=status)


@get("/library", sync_to_thread=True)
def library(
    request: Request[Any, Any, State],
    state: State,
    shelf: FromQuery[str] = "",
    document_state: Annotated[str, QueryParameter(name="state")] = "",
    q: FromQuery[str] = "",
    cursor: FromQuery[str | None] = None,
    uploaded: FromQuery[str] = "",
) -> Template:
    """Every document and its state; what is on its way, and a form to send more."""
    house: House = state.house
    slips: Slips = state.slips
    try:
        wanted = DocumentState(document_state) if document_state else None
    except ValueError as error:
        raise InvalidRequest("state", f"must be one of {', '.join(DocumentState)}.") from error
    page = house.catalogue.documents(
        shelf=shelf or None, state=wanted, named=q, limit=_DOCUMENTS_A_PAGE, cursor=cursor or None
    )
    ingest = ingest_shape(house)
    counts = house.catalogue.counts(shelf) if shelf else ingest.documents
    named = " ".join(q.split())
    filters = {"shelf": shelf, "state": document_state, "q": named}
    landing = house.landing
    # How far ingest has come is told below, and kept true by events.
    context = _common(house, "library", notices=house.troubles()) | {
        "documents": _plain([document_shape(document) for document in page.items]),
        "counts": {str(state): count for state, count in counts.items()},
        "total": page.total,
        "shelves": _plain(house.catalogue.shelves()),
        "shelf": shelf,
        "state": document_state,
        "named": named,
        "ingest": _plain(ingest),
        "ingest_href": href("/library/ingest", filters | {"cursor": cursor}),
        "upload_href": href("/library/uploads", {"shelf": shelf}),
        "uploads": {
            "results": _plain(slips.read(uploaded)),
            "endings": landing.endings,
            "max_bytes": landing.max_file_mib * 1024 * 1024,
            "kind_refusal": str(unreadable_kind("…")),
            "size_refusal": str(too_large(landing.max_file_mib)),
        },
        "next_href": href("/library", filters | {"cursor": page.next}) if page.next else None,
        "library_folder": str(house.library_folder),
        "opds_address": opds_address(request),
        "opds_is_near": request.url.hostname in LOOPBACK,
    }
    return Template("library.html", context=context)


def _common(house: House, nav: str, *, notices: list[str] | None = None) -> dict[str, Any]:
    notices = house.notices() if notices is None else notices
    return {"version": house.version, "nav": nav, "notices": notices}


def href(path: str, parameters: Mapping[str, str | None]) -> str:
    """The address of a page; parameters that are empty are left out."""
    given = urlencode({name: value for name, value in parameters.items() if value})
    return f"{path}?{given}" if given else path


def _plain(value: object) -> Any:
    """Structs as dictionaries, times as text, for templates."""
    return msgspec.to_builtins(value)
