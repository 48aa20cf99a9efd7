"""Shapes: what the JSON API sends, made from the values of the floors below.

Pure. Field names here are the public contract; see docs/api.md.
"""

from datetime import datetime
from typing import Any

import msgspec

from library.values import Document, DocumentState
from search.values import Facets, Passage


class DocumentShape(msgspec.Struct, frozen=True):
    id: str
    path: str
    shelf: str | None
    title: str
    authors: tuple[str, ...]
    language: str | None
    year: int | None
    format: str
    size_bytes: int
    state: DocumentState
    reason: str | None
    chunks: int
    progress: float | None  # 0..1 while vectors are computed
    received_at: datetime
    updated_at: datetime


class ContextShape(msgspec.Struct, frozen=True):
    start: int
    end: int
    text: str


class PassageShape(msgspec.Struct, frozen=True):
    id: str
    text: str
    heading_path: tuple[str, ...]
    snippet: str
    href: str
    page: int | None
    context: ContextShape | None  # the passage with its neighbours, as it is worth showing
    copies: tuple[str, ...]  # ids of passages that say the same


class HitShape(msgspec.Struct, frozen=True):
    document: DocumentShape
    passage: PassageShape
    score: float
    found_by: tuple[str, ...]
    others: tuple[PassageShape, ...]  # where results are grouped by document: further passages of it
    others_total: int


class DocumentsShape(msgspec.Struct, frozen=True):
    items: tuple[DocumentShape, ...]
    total: int
    next: str | None


class SearchShape(msgspec.Struct, frozen=True):
    items: tuple[HitShape, ...]
    total: int
    next: str | None
    took_ms: float
    degraded: tuple[str, ...]
    notices: tuple[str, ...]
    did_you_mean: str | None
    facets: Facets | None


def document_shape(document: Document) -> DocumentShape:
    embedding = document.state is DocumentState.FINDABLE_WORDS and document.chunks
    return DocumentShape(
        id=document.id,
        path=document.path,
        shelf=document.shelf,
        title=document.title,
        authors=document.authors,
        language=document.language,
        year=document.year,
        format=document.format,
        size_bytes=document.size_bytes,
        state=document.state,
        reason=document.reason,
        chunks=document.chunks,
        progress=round(document.embedded / document.chunks, 3) if embedding else None,
        received_at=document.received_at,
        updated_at=document.updated_at,
    )


def passage_shape(passage: Passage) -> PassageShape:
    excerpt, context = passage.excerpt, passage.context
    return PassageShape(
        id=excerpt.id,
        text=excerpt.text,
        heading_path=excerpt.heading_path,
        snippet=passage.snippet,
        href=passage_href(excerpt.document.id, excerpt.id),
        page=page_of(excerpt.anchor),
        context=None if context is None else ContextShape(context.start, context.end, context.text),
        copies=passage.copies,
    )


def hit_shape(passage: Passage) -> HitShape:
    return HitShape(
        document=document_shape(passage.excerpt.document),
        passage=passage_shape(passage),
        score=passage.score,
        found_by=tuple(side.value for side in passage.found_by),
        others=tuple(map(passage_shape, passage.others)),
        others_total=passage.others_total,
    )


def page_of(anchor: str) -> int | None:
    """The page of a PDF that an anchor names, from 1."""
    name, _, number = anchor.partition("=")
    return int(number) if name == "page" and number.isdecimal() else None


def passage_href(document_id: str, passage_id: str) -> str:
    """The page that shows the passage in its book, and scrolls to it."""
    return f"/read/{document_id}?at={passage_id}#passage"


def source_shape(n: int, passage: Passage) -> dict[str, Any]:
    """A passage as an answer refers to it: citation [n]."""
    shape = hit_shape(passage)
    return {"n": n, "document": shape.document, "passage": shape.passage}
