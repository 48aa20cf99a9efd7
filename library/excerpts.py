"""Excerpts: the words of the library, by chunk and by section.

Reads only. Its hard rule: an excerpt's text is cut from the section as it is
stored now, so what is quoted is always what the reader page shows.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Integer, bindparam, case, func, select

from library.catalogue import document_of
from library.errors import PassageNotFound
from library.models import CHUNKS, DOCUMENTS, SECTIONS, SHELVES, DocumentRow, SectionRow
from library.record import Record, batches
from library.values import DocumentState, Excerpt, Labels, Origin, Section

# A document in one of these states shows nothing of itself: its file is gone,
# or what it held could not be read. Its chunks may still be in an index.
_UNSEEN = (DocumentState.MISSING, DocumentState.FAILED)


class Excerpts:
    def __init__(self, record: Record) -> None:
        self._record = record

    def by_id(self, chunk_ids: Sequence[str], *, around: int = 0) -> dict[str, Excerpt]:
        """The excerpts of those chunks that are there and may be seen; the rest are left out.

        Each comes with up to `around` characters of its section on either side.
        """
        with self._record.reading() as session:
            rows = session.execute(_EXCERPTS, {"ids": list(chunk_ids), "around": around}).all()
        return {row.chunk_id: _excerpt(row) for row in rows}

    def one(self, chunk_id: str) -> Excerpt:
        """Raises PassageNotFound."""
        found = self.by_id([chunk_id])
        if chunk_id not in found:
            raise PassageNotFound(chunk_id)
        return found[chunk_id]

    def origins(self, chunk_ids: Sequence[str]) -> dict[str, Origin]:
        """Which document each of the chunks is of; those that may not be seen are left out.

        Two narrow queries and no text: a result of hundreds of passages is
        sorted, grouped and counted by this.
        """
        held: dict[str, str] = {}
        origins: dict[str, Origin] = {}
        with self._record.reading() as session:
            for some in batches(chunk_ids):
                held |= dict(session.execute(_HOLDERS, {"ids": list(some)}).tuples().all())
            for some in batches(list(dict.fromkeys(held.values()))):
                for id_, received_at, *labels in session.execute(_ORIGINS, {"ids": list(some)}):
                    origins[id_] = Origin(id_, _labels(*labels), received_at)
        return {id_: origins[of] for id_, of in held.items() if of in origins}

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


# Put together once, and columns instead of mapped rows: that halves twice what a search pays for its texts.
_HOLDERS = select(CHUNKS.c.id, CHUNKS.c.document_id).where(CHUNKS.c.id.in_(bindparam("ids", expanding=True)))
_ORIGINS = (
    select(
        DOCUMENTS.c.id,
        DOCUMENTS.c.received_at,
        SHELVES.c.name,
        DOCUMENTS.c.title,
        DOCUMENTS.c.authors,
        DOCUMENTS.c.language,
        DOCUMENTS.c.format,
        DOCUMENTS.c.year,
        DOCUMENTS.c.subjects,
    )
    .select_from(DOCUMENTS.outerjoin(SHELVES, SHELVES.c.id == DOCUMENTS.c.shelf_id))
    .where(DOCUMENTS.c.state.not_in(_UNSEEN), DOCUMENTS.c.id.in_(bindparam("ids", expanding=True)))
)
_AROUND = bindparam("around", type_=Integer)
_FROM = case((CHUNKS.c.start > _AROUND, CHUNKS.c.start - _AROUND), else_=0)
_EXCERPTS = (
    select(
        CHUNKS.c.id.label("chunk_id"),
        CHUNKS.c.ordinal.label("chunk_ordinal"),
        CHUNKS.c.section,
        CHUNKS.c.start,
        CHUNKS.c.end,
        SECTIONS.c.heading_path,
        SECTIONS.c.anchor,
        _FROM.label("from_"),
        func.substr(SECTIONS.c.text, _FROM + 1, CHUNKS.c.end + _AROUND - _FROM).label("text"),
        SHELVES.c.name.label("shelf"),
        *DOCUMENTS.c,
    )
    .select_from(
        CHUNKS.join(DOCUMENTS, DOCUMENTS.c.id == CHUNKS.c.document_id)
        .outerjoin(SHELVES, SHELVES.c.id == DOCUMENTS.c.shelf_id)
        .join(
            SECTIONS,
            (SECTIONS.c.document_id == CHUNKS.c.document_id) & (SECTIONS.c.ordinal == CHUNKS.c.section),
        )
    )
    .where(DOCUMENTS.c.state.not_in(_UNSEEN), CHUNKS.c.id.in_(bindparam("ids", expanding=True)))
)


def _excerpt(row: Any) -> Excerpt:
    start, end = row.start - row.from_, row.end - row.from_
    return Excerpt(
        id=row.chunk_id,
        document=document_of(row, row.shelf),
        ordinal=row.chunk_ordinal,
        section=row.section,
        heading_path=tuple(row.heading_path),
        anchor=row.anchor,
        start=row.start,
        end=row.end,
        text=row.text[start:end],
        before=row.text[:start],
        after=row.text[end:],
    )


def _labels(
    shelf: str | None,
    title: str,
    authors: list[str],
    language: str | None,
    format_: str,
    year: int | None,
    subjects: list[str],
) -> Labels:
    return Labels(shelf, title, tuple(authors), language, format_, year, tuple(subjects))
