"""Excerpts: the words of the library, by chunk and by section.

Reads only. Its hard rule: an excerpt's text is cut from the section as it is
stored now, so what is quoted is always what the reader page shows.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, func, select

from library.catalogue import document_of
from library.errors import PassageNotFound
from library.models import CHUNKS, DOCUMENTS, SECTIONS, SHELVES, DocumentRow, SectionRow
from library.record import Record
from library.values import DocumentState, Excerpt, Section

# A document in one of these states shows nothing of itself: its file is gone,
# or what it held could not be read. Its chunks may still be in an index.
_UNSEEN = (DocumentState.MISSING, DocumentState.FAILED)

# Every search runs this. Columns and not objects, and put together once: two thirds of the time.
_EXCERPTS = (
    select(
        *DOCUMENTS.c,
        SHELVES.c.name.label("shelf"),
        CHUNKS.c.id.label("chunk_id"),
        CHUNKS.c.ordinal.label("chunk_ordinal"),
        CHUNKS.c.section,
        SECTIONS.c.heading_path,
        SECTIONS.c.anchor,
        CHUNKS.c.start,
        CHUNKS.c.end,
        func.substr(SECTIONS.c.text, CHUNKS.c.start + 1, CHUNKS.c.end - CHUNKS.c.start).label("text"),
    )
    .select_from(CHUNKS)
    .join(DOCUMENTS, DOCUMENTS.c.id == CHUNKS.c.document_id)
    .outerjoin(SHELVES, SHELVES.c.id == DOCUMENTS.c.shelf_id)
    .join(
        SECTIONS,
        (SECTIONS.c.document_id == CHUNKS.c.document_id) & (SECTIONS.c.ordinal == CHUNKS.c.section),
    )
    .where(CHUNKS.c.id.in_(bindparam("chunk_ids", expanding=True)), DOCUMENTS.c.state.not_in(_UNSEEN))
)


class Excerpts:
    def __init__(self, record: Record) -> None:
        self._record = record

    def by_id(self, chunk_ids: Sequence[str]) -> dict[str, Excerpt]:
        """The excerpts of those chunks that are there and may be seen; the rest are left out."""
        with self._record.reading() as session:
            rows = session.execute(_EXCERPTS, {"chunk_ids": chunk_ids}).all()
        return {row.chunk_id: _excerpt(row) for row in rows}

    def one(self, chunk_id: str) -> Excerpt:
        """Raises PassageNotFound."""
        found = self.by_id([chunk_id])
        if chunk_id not in found:
            raise PassageNotFound(chunk_id)
        return found[chunk_id]

    def outline(self, document_id: str) -> list[Section]:
        """A document's sections in reading order, without their text."""
        with self._record.reading() as session:
            rows = session.execute(
                select(
                    SectionRow.ordinal,
                    SectionRow.level,
                    SectionRow.heading_path,
                    SectionRow.anchor,
                    SectionRow.start,
                )
                .join(DocumentRow, DocumentRow.id == SectionRow.document_id)
                .where(SectionRow.document_id == document_id, DocumentRow.state.not_in(_UNSEEN))
                .order_by(SectionRow.ordinal)
            )
            return [
                Section(ordinal, level, tuple(path), anchor, "", start)
                for ordinal, level, path, anchor, start in rows
            ]

    def section(self, document_id: str, ordinal: int) -> Section | None:
        """One section with its text, or None."""
        with self._record.reading() as session:
            row = session.scalar(
                select(SectionRow)
                .join(DocumentRow, DocumentRow.id == SectionRow.document_id)
                .where(
                    SectionRow.document_id == document_id,
                    SectionRow.ordinal == ordinal,
                    DocumentRow.state.not_in(_UNSEEN),
                )
            )
        if row is None:
            return None
        return Section(row.ordinal, row.level, tuple(row.heading_path), row.anchor, row.text, row.start)


def _excerpt(row: Any) -> Excerpt:
    return Excerpt(
        row.chunk_id,
        document_of(row, row.shelf),
        row.chunk_ordinal,
        row.section,
        tuple(row.heading_path),
        row.anchor,
        row.start,
        row.end,
        row.text,
    )
