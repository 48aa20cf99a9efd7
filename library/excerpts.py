"""Excerpts: the words of the library, by chunk and by section.

Reads only. Its hard rule: an excerpt's text is cut from the section as it is
stored now, so what is quoted is always what the reader page shows.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select

from library.catalogue import document_of
from library.errors import PassageNotFound
from library.models import ChunkRow, DocumentRow, SectionRow, ShelfRow
from library.record import Record
from library.values import DocumentState, Excerpt, Section

# A document in one of these states shows nothing of itself: its file is gone,
# or what it held could not be read. Its chunks may still be in an index.
_UNSEEN = (DocumentState.MISSING, DocumentState.FAILED)


class Excerpts:
    def __init__(self, record: Record) -> None:
        self._record = record

    def by_id(self, chunk_ids: Sequence[str]) -> dict[str, Excerpt]:
        """The excerpts of those chunks that are there and may be seen; the rest are left out."""
        with self._record.reading() as session:
            rows = session.execute(_excerpts().where(ChunkRow.id.in_(chunk_ids))).all()
        return {row[0]: _excerpt(row) for row in rows}

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

    def sections_at(self, document_id: str, part: str | None = None) -> list[Section]:
        """A document's sections with their texts, in order: all, or those whose anchor is in that file."""
        wanted = [SectionRow.document_id == document_id, DocumentRow.state.not_in(_UNSEEN)]
        if part is not None:
            # Not LIKE, to which "Ch1.xhtml" and "ch1.xhtml" are the same.
            inside = func.substr(SectionRow.anchor, 1, len(part) + 1) == f"{part}#"
            wanted.append((SectionRow.anchor == part) | inside)
        with self._record.reading() as session:
            rows = session.scalars(
                select(SectionRow)
                .join(DocumentRow, DocumentRow.id == SectionRow.document_id)
                .where(*wanted)
                .order_by(SectionRow.ordinal)
            )
            return [_section(row) for row in rows]

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
        return None if row is None else _section(row)


def _section(row: SectionRow) -> Section:
    return Section(row.ordinal, row.level, tuple(row.heading_path), row.anchor, row.text, row.start)


def _excerpts() -> Select[Any]:
    return (
        select(
            ChunkRow.id,
            DocumentRow,
            ShelfRow.name,
            ChunkRow.ordinal,
            ChunkRow.section,
            SectionRow.heading_path,
            SectionRow.anchor,
            ChunkRow.start,
            ChunkRow.end,
            func.substr(SectionRow.text, ChunkRow.start + 1, ChunkRow.end - ChunkRow.start),
        )
        .join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
        .outerjoin(ShelfRow, ShelfRow.id == DocumentRow.shelf_id)
        .join(
            SectionRow,
            (SectionRow.document_id == ChunkRow.document_id) & (SectionRow.ordinal == ChunkRow.section),
        )
        .where(DocumentRow.state.not_in(_UNSEEN))
    )


def _excerpt(row: Any) -> Excerpt:
    id_, document, shelf, ordinal, section, path, anchor, start, end, text = row
    return Excerpt(id_, document_of(document, shelf), ordinal, section, tuple(path), anchor, start, end, text)
