"""Reading: a book in the browser, open at the passage; find in it, its pictures, its file.

Every page works without scripts. What a book brings is served under headers
stricter than our own pages': a picture is a picture, whatever is in it. Its
hard rule: nothing of a book runs, and nothing of it is loaded from anywhere else.
"""

import hashlib
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response, get, route
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Template

from library.errors import NotFoundError, UnreadableFile
from library.values import Document, DocumentState, Excerpt, Section
from search.within import Span
from web.files import handed_out
from web.house import House
from web.opening import Asked, Leaf, Opening, contents
from web.shapes import document_shape, page_of

_MOST_HITS_SHOWN = 200
_AROUND_CHARS = 90
_UNSEEN = (DocumentState.MISSING, DocumentState.FAILED)
# On top of what every answer has (web.guards); a browser obeys both.
_LOCKED = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}


class Gone(NotFoundError):
    """A part of a document that it does not have."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)


@get("/read/{document_id:str}", sync_to_thread=True)
def read(
    state: State,
    document_id: FromPath[str],
    at: FromQuery[str | None] = None,
    section: FromQuery[int | None] = None,
    part: FromQuery[str | None] = None,
    leaf: FromQuery[int] = 0,
    q: FromQuery[str] = "",
    hit: FromQuery[int | None] = None,
    layout: FromQuery[str] = "",
) -> Template:
    """A book, a leaf at a time, open at a passage, a section or a hit if one is named."""
    house: House = state.house
    document = house.catalogue.document(document_id)
    outline = house.excerpts.outline(document_id)
    passage = _passage(house, document_id, at)
    asked = Asked(
        passage=passage,
        section=section if section in {one.ordinal for one in outline} else None,
        part=part,
        leaf=leaf,
        query=q.strip(),
        hit=hit,
        plain=layout == "plain",
    )
    opening = Opening(document, house.excerpts, house.renderer, outline)
    opened = opening.open(asked)
    shown = opened.leaf
    context = _common(house, document, q.strip()) | {
        "toc": [
            line | {"href": f"{opening.address}?section={line['ordinal']}#s{line['ordinal']}"}
            for line in contents(outline, document.title, shown.section.ordinal if shown.section else None)
        ],
        "leaf": msgspec.structs.asdict(shown) | {"section": None},
        "heading_path": list(shown.section.heading_path) if shown.section else [document.title],
        "section": shown.section.ordinal if shown.section else None,
        "direction": shown.direction or _direction(shown.language),
        "plain_href": _plain_href(opening, shown, at),
        "document_page": page_of(shown.section.anchor) if shown.section else None,
        "hits": _turning(opened.hits, opened.hit, shown.section),
        "passage_found": None if at is None else passage is not None,
    }
    return Template("read.html", context=context)


@get("/read/{document_id:str}/find", sync_to_thread=True)
def find(state: State, document_id: FromPath[str], q: FromQuery[str] = "") -> Template:
    """Every place of a book where something stands, each with the words around it."""
    house: House = state.house
    document = house.catalogue.document(document_id)
    outline = house.excerpts.outline(document_id)
    opening = Opening(document, house.excerpts, house.renderer, outline)
    hits = opening.hits(q)
    texts = {one.ordinal: one for one in house.excerpts.sections_at(document_id)} if hits else {}
    shown = [
        _around(texts[span.section], span) | {"href": _hit_href(opening, q, number)}
        for number, span in enumerate(hits[:_MOST_HITS_SHOWN], start=1)
    ]
    return Template(
        "find.html", context=_common(house, document, q.strip()) | {"found": shown, "total": len(hits)}
    )


@get("/read/{document_id:str}/picture", sync_to_thread=True)
def picture(
    request: Request[Any, Any, Any],
    state: State,
    document_id: FromPath[str],
    name: Annotated[str, QueryParameter(name="name")],
) -> Response[bytes]:
    """A picture of the book, by type and size only."""
    house: House = state.house
    return _pictured(request, house, _seen(house, document_id), name)


@get("/api/documents/{document_id:str}/cover", sync_to_thread=True)
def cover(request: Request[Any, Any, Any], state: State, document_id: FromPath[str]) -> Response[bytes]:
    """The book's cover."""
    house: House = state.house
    document = _seen(house, document_id)
    if document.cover is None:
        raise Gone("This document has no cover.")
    return _pictured(request, house, document, document.cover)


@route("/read/{document_id:str}/file", http_method=["GET", "HEAD"], sync_to_thread=True)
def file(request: Request[Any, Any, State], state: State, document_id: FromPath[str]) -> Response[Any]:
    """The document's own file. Only a PDF is shown in the browser; anything else is saved."""
    house: House = state.house
    shown = house.catalogue.document(document_id).format == "pdf"
    return handed_out(request, house, document_id, inline=shown)


def _pictured(
    request: Request[Any, Any, Any], house: House, document: Document, name: str
) -> Response[bytes]:
    stated = f"{document.id} {document.updated_at.isoformat()} {name}"
    tag = f'"{hashlib.sha256(stated.encode("utf-8", "replace")).hexdigest()[:32]}"'
    headers = _LOCKED | {"etag": tag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(b"", status_code=304, headers=headers)
    try:
        found = house.renderer.picture(document, name)
    except UnreadableFile as error:
        raise Gone(str(error)) from error
    return Response(found.content, media_type=found.media_type, headers=headers)


def _seen(house: House, document_id: str) -> Document:
    document = house.catalogue.document(document_id)
    if document.state in _UNSEEN:
        raise Gone(f"“{document.title}” is not there to be read: its file is gone, or could not be read.")
    return document


def _passage(house: House, document_id: str, passage_id: str | None) -> Excerpt | None:
    if passage_id is None:
        return None
    try:
        excerpt = house.excerpts.one(passage_id)
    except NotFoundError:
        return None
    return excerpt if excerpt.document.id == document_id else None


def _common(house: House, document: Document, query: str) -> dict[str, Any]:
    return {
        "version": house.version,
        "nav": "",
        "notices": house.notices(),
        "document": msgspec.to_builtins(document_shape(document)),
        "address": f"/read/{document.id}",
        "has_cover": document.cover is not None,
        "query": query,
    }


def _plain_href(opening: Opening, shown: Leaf, at: str | None) -> str | None:
    """The same place as the record's text alone, for a page that has a layout of its own."""
    if shown.html is None or shown.section is None:
        return None
    place = f"at={quote(at)}" if at else f"section={shown.section.ordinal}"
    return f"{opening.address}?{place}&layout=plain#passage"


def _hit_href(opening: Opening, query: str, number: int) -> str:
    return f"{opening.address}?q={quote(query)}&hit={number}#h{number}"


def _turning(hits: tuple[Span, ...], at: int | None, section: Section | None) -> dict[str, Any] | None:
    """From hit to hit: how many there are, which one is open, and where its neighbours are."""
    if not hits:
        return None
    here = section.ordinal if section else 0
    # Without one that is open, the next is the first from this section on.
    following = next((n for n, span in enumerate(hits, start=1) if span.section >= here), len(hits) + 1)
    before, after = (at - 1, at + 1) if at else (following - 1, following)
    return {
        "total": len(hits),
        "at": at,
        "previous": before if before >= 1 else None,
        "next": after if after <= len(hits) else None,
    }


def _around(section: Section, span: Span) -> dict[str, Any]:
    text = section.text
    start, end = max(0, span.start - _AROUND_CHARS), min(len(text), span.end + _AROUND_CHARS)
    if start:
        start = text.find(" ", start, span.start) + 1 or start
    if end < len(text):
        space = text.rfind(" ", span.end, end)
        end = space if space > 0 else end
    return {
        "before": ("… " if start else "") + text[start : span.start],
        "words": text[span.start : span.end],
        "after": text[span.end : end] + (" …" if end < len(text) else ""),
        "heading_path": list(section.heading_path),
    }


_RIGHT_TO_LEFT = frozenset({"ar", "arc", "ckb", "dv", "fa", "he", "ks", "ps", "sd", "ug", "ur", "yi"})


def _direction(language: str | None) -> str:
    """What a book that does not say so is written in."""
    return "rtl" if (language or "").split("-")[0] in _RIGHT_TO_LEFT else "auto"
