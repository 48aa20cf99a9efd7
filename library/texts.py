"""Texts: what reading a document brought, as the rows that keep it.

Pure but for the statement that describes a document. Its hard rule: the same
content in the same document always becomes the same rows.
"""

import itertools
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, update

from library.folding import lookup, sort_key
from library.models import DOCUMENTS
from library.values import Chunk, Extracted, IndexedChunk, Labels, Section

_CHUNK_NAMESPACE = uuid.UUID("6f1c1a52-0d6b-5c3e-9d0f-2f7f3c1b8a11")


class Text(NamedTuple):
    """What reading a document brought."""

    document_id: str
    digest: str
    extracted: Extracted
    chunks: Sequence[Chunk]


def chunk_id(document_id: str, digest: str, ordinal: int) -> str:
    """The same content in the same document always gets the same id, so redoing is harmless.

    The document is part of the name because two shelves may hold the same
    file; the digest, because a citation must never open the words of another
    edition.
    """
    return str(uuid.uuid5(_CHUNK_NAMESPACE, f"{document_id}/{digest}/{ordinal}"))


DESCRIBE = (
    update(DOCUMENTS)
    .where(DOCUMENTS.c.id == bindparam("document_id"))
    .values(embedded=0, rebuilt=0, reshelve=False)
)


def described(text: Text) -> dict[str, Any]:
    extracted = text.extracted
    return {
        "document_id": text.document_id,
        "title": extracted.title,
        "title_key": sort_key(extracted.title),
        "lookup": lookup(extracted.title, extracted.authors, extracted.subjects),
        "authors": list(extracted.authors),
        "language": extracted.language,
        "year": extracted.year,
        "identifiers": list(extracted.identifiers),
        "subjects": list(extracted.subjects),
        "description": extracted.description,
        "cover": extracted.cover,
        "chunks": len(text.chunks),
    }


def author_rows(text: Text) -> Iterator[dict[str, Any]]:
    """A row for each author, spelt as the file spells the name first."""
    by_key = {sort_key(name): name for name in reversed(text.extracted.authors)}
    for key, name in by_key.items():
        if key:
            yield {"document_id": text.document_id, "key": key, "name": name}


def section_rows(text: Text) -> Iterator[dict[str, Any]]:
    sections = text.extracted.sections
    for section, start in zip(sections, section_starts(sections), strict=True):
        yield {
            "document_id": text.document_id,
            "ordinal": section.ordinal,
            "level": section.level,
            "heading_path": list(section.heading_path),
            "anchor": section.anchor,
            "start": start,
            "text": section.text,
        }


def chunk_rows(text: Text, indexed: Sequence[IndexedChunk]) -> Iterator[dict[str, Any]]:
    for chunk, with_id in zip(text.chunks, indexed, strict=True):
        yield {
            "id": with_id.id,
            "document_id": text.document_id,
            "section": chunk.section,
            "ordinal": chunk.ordinal,
            "start": chunk.start,
            "end": chunk.end,
        }


def indexed(text: Text, *, shelf: str | None, file_format: str) -> list[IndexedChunk]:
    read = text.extracted
    labels = Labels(shelf, read.title, read.authors, read.language, file_format, read.year, read.subjects)
    paths = {section.ordinal: section.heading_path for section in text.extracted.sections}
    return [
        IndexedChunk(
            chunk_id(text.document_id, text.digest, chunk.ordinal),
            text.document_id,
            chunk.ordinal,
            labels,
            paths[chunk.section],
            chunk.text,
        )
        for chunk in text.chunks
    ]


def section_starts(sections: Sequence[Section]) -> list[int]:
    """Where each section begins in the document's text, as `library.values.Section.start` has it."""
    return [0, *itertools.accumulate(len(section.text) + 2 for section in sections)][: len(sections)]
