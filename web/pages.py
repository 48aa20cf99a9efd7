"""The pages: search and ask, the library, a book. Server-rendered; scripts only add to them."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from litestar import get
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Template

from ingest.refusals import too_large, unreadable_kind
from library.errors import AlmanacError, InvalidRequest, NotFoundError
from library.values import DocumentState, Excerpt, Section
from web import results
from web.api import MOST_CHOSEN
from web.asked import Asked, asked
from web.house import House
from web.jobs import ingest_shape
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
    asked = msgspec.structs.replace(asked, q=asked.q.strip())
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
        "model": {"id": house.models.model_id, "state": house.models.state.value},
        "results": found,
        "error": problem,
        "examples": _EXAMPLES,
        "library_folder": str(house.library_folder),
    }
    return Template("index.html", context=context, status_code=status)


@get("/library", sync_to_thread=True)
def library(
    state: State,
    shelf: FromQuery[str] = "",
    document_state: Annotated[str, QueryParameter(name="state")] = "",
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
        shelf=shelf or None, state=wanted, limit=_DOCUMENTS_A_PAGE, cursor=cursor or None
    )
    ingest = ingest_shape(house)
    counts = house.catalogue.counts(shelf) if shelf else ingest.documents
    filters = {"shelf": shelf, "state": document_state}
    landing = house.landing
    # How far ingest has come is told below, and kept true by events.
    context = _common(house, "library", notices=house.troubles()) | {
        "documents": _plain([document_shape(document) for document in page.items]),
        "counts": {str(state): count for state, count in counts.items()},
        "total": page.total,
        "shelves": _plain(house.catalogue.shelves()),
        "shelf": shelf,
        "state": document_state,
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
    }
    return Template("library.html", context=context)


@get("/read/{document_id:str}", sync_to_thread=True)
def read(
    state: State,
    document_id: FromPath[str],
    at: FromQuery[str | None] = None,
    section: FromQuery[int | None] = None,
) -> Template:
    """A book, a section at a time, open at a passage if one is named."""
    house: House = state.house
    document = house.catalogue.document(document_id)
    outline = house.excerpts.outline(document_id)
    passage = _passage(house, document_id, at)
    places = [entry.ordinal for entry in outline]
    ordinal = passage.section if passage else section
    if ordinal not in places:
        ordinal = places[0] if places else 0
    shown = house.excerpts.section(document_id, ordinal)
    here = places.index(ordinal) if ordinal in places else None
    context = _common(house, "") | {
        "document": _plain(document_shape(document)),
        "toc": [
            {
                "title": entry.heading_path[-1] if entry.heading_path else document.title,
                "level": entry.level,
                "href": _section_href(document_id, entry.ordinal),
                "current": entry.ordinal == ordinal,
            }
            for entry in outline
        ],
        "section": {
            "heading_path": list(shown.heading_path) if shown else [document.title],
            "paragraphs": paragraphs(shown, passage) if shown else [],
            "language": document.language,
            "direction": "auto",
        },
        "previous_href": _section_href(document_id, places[here - 1]) if here else None,
        "next_href": (
            _section_href(document_id, places[here + 1])
            if here is not None and here + 1 < len(places)
            else None
        ),
        "passage_found": None if at is None else passage is not None,
    }
    return Template("read.html", context=context)


def paragraphs(section: Section, passage: Excerpt | None) -> list[list[dict[str, Any]]]:
    """A section's text as paragraphs of spans; the passage's spans are marked, the first of them once."""
    start, end = (passage.start, passage.end) if passage else (0, 0)
    found, offset, first = [], 0, True
    for block in section.text.split("\n\n"):
        spans = []
        for text, marked in _cut(block, start - offset, end - offset):
            spans.append({"text": text, "marked": marked, "first": marked and first})
            first = first and not marked
        if spans:
            found.append(spans)
        offset += len(block) + 2
    return found


def _cut(block: str, start: int, end: int) -> list[tuple[str, bool]]:
    start, end = max(0, min(start, len(block))), max(0, min(end, len(block)))
    cuts = [(block[:start], False), (block[start:end], True), (block[end:], False)]
    return [(text, marked) for text, marked in cuts if text]


def _passage(house: House, document_id: str, passage_id: str | None) -> Excerpt | None:
    if passage_id is None:
        return None
    try:
        excerpt = house.excerpts.one(passage_id)
    except NotFoundError:
        return None
    return excerpt if excerpt.document.id == document_id else None


def _common(house: House, nav: str, *, notices: list[str] | None = None) -> dict[str, Any]:
    notices = house.notices() if notices is None else notices
    return {"version": house.version, "nav": nav, "notices": notices}


def _section_href(document_id: str, ordinal: int) -> str:
    return f"/read/{document_id}?section={ordinal}"


def href(path: str, parameters: Mapping[str, str | None]) -> str:
    """The address of a page; parameters that are empty are left out."""
    given = urlencode({name: value for name, value in parameters.items() if value})
    return f"{path}?{given}" if given else path


def _plain(value: object) -> Any:
    """Structs as dictionaries, times as text, for templates."""
    return msgspec.to_builtins(value)
