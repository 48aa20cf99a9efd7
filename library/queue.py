"""The queue: documents on their way from a received file to a findable one.

Knows rows and states; knows neither files nor indexes. Its hard rule: a
document moves through its states only by the verbs below, and each verb is one
transaction, so that dying between two of them leaves a state from which the
work is simply done again.

    waiting ─► reading ─► findable_words ─► findable
       ▲          └──► failed ◄──┘
       └── begin again after a crash (`reset_reading`), or when a reader says so (`retry`)

The newest document goes first, so that a book dropped today is not found only
after the thirty thousand that were dropped yesterday.
"""

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, CursorResult, delete, func, insert, select, update
from sqlalchemy.orm import Session

from library.catalogue import document_of
from library.models import ChunkRow, DocumentRow, SectionRow, ShelfRow
from library.record import ROWS_A_QUERY, Record, batches
from library.values import Chunk, Document, DocumentState, Extracted, IndexedChunk, Section

_CHUNK_NAMESPACE = uuid.UUID("6f1c1a52-0d6b-5c3e-9d0f-2f7f3c1b8a11")
_INDEXED = DocumentRow.state.in_(
    (DocumentState.FINDABLE, DocumentState.FINDABLE_WORDS, DocumentState.MISSING)
)
UNFINISHED = (DocumentState.WAITING, DocumentState.READING, DocumentState.FINDABLE_WORDS)


class Taken(NamedTuple):
    """A document in work, with the digest that its file had when the work began."""

    document: Document
    digest: str


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


class Queue:
    def __init__(self, record: Record, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._record = record
        self._clock = clock

    # --- reading ---------------------------------------------------------------------------------

    def reset_reading(self) -> int:
        """After a start: what was being read when the process died waits again. Returns how many."""
        return self._change(
            [DocumentRow.state == DocumentState.READING], state=DocumentState.WAITING, touch=False
        )

    def begin_reading(self, limit: int = 1) -> list[Taken]:
        """Take the newest documents that wait, at most `limit`."""
        with self._record.writing() as session:
            rows = taken_from(
                session.execute(
                    with_shelf()
                    .where(DocumentRow.state == DocumentState.WAITING)
                    .order_by(DocumentRow.received_at.desc(), DocumentRow.id)
                    .limit(limit)
                )
            )
            session.execute(
                update(DocumentRow)
                .where(DocumentRow.id.in_([taken.document.id for taken in rows]))
                .values(state=DocumentState.READING, updated_at=self._clock())
            )
            return rows

    def store_texts(self, texts: Iterable[Text]) -> dict[str, list[IndexedChunk]]:
        """Replace these documents' sections and chunks; returns the chunks for the indexes, by document.

        A document whose file has changed since it was read is left out, and
        nothing of it is stored: the newer content is waiting already.
        """
        stored = {}
        with self._record.writing() as session:
            for text in texts:
                row = session.get(DocumentRow, text.document_id)
                if row is not None and row.digest == text.digest and row.state == DocumentState.READING:
                    stored[row.id] = self._store(session, row, text)
        return stored

    def _store(self, session: Session, row: DocumentRow, text: Text) -> list[IndexedChunk]:
        extracted, chunks = text.extracted, text.chunks
        _drop_text(session, [row.id])
        starts = section_starts(extracted.sections)
        if extracted.sections:
            session.execute(
                insert(SectionRow),
                [
                    {
                        "document_id": row.id,
                        "ordinal": section.ordinal,
                        "level": section.level,
                        "heading_path": list(section.heading_path),
                        "anchor": section.anchor,
                        "start": start,
                        "text": section.text,
                    }
                    for section, start in zip(extracted.sections, starts, strict=True)
                ],
            )
        ids = [chunk_id(row.id, text.digest, chunk.ordinal) for chunk in chunks]
        if chunks:
            session.execute(
                insert(ChunkRow),
                [
                    {
                        "id": id_,
                        "document_id": row.id,
                        "section": chunk.section,
                        "ordinal": chunk.ordinal,
                        "start": chunk.start,
                        "end": chunk.end,
                    }
                    for id_, chunk in zip(ids, chunks, strict=True)
                ],
            )
        row.title, row.authors = extracted.title, list(extracted.authors)
        row.language, row.year = extracted.language, extracted.year
        row.identifiers, row.subjects = list(extracted.identifiers), list(extracted.subjects)
        row.description, row.cover = extracted.description, extracted.cover
        row.chunks, row.embedded, row.rebuilt, row.reshelve = len(chunks), 0, 0, False
        row.updated_at = self._clock()
        shelf = session.scalar(select(ShelfRow.name).where(ShelfRow.id == row.shelf_id))
        paths = {section.ordinal: section.heading_path for section in extracted.sections}
        return [
            IndexedChunk(id_, row.id, chunk.ordinal, shelf, paths[chunk.section], chunk.text)
            for id_, chunk in zip(ids, chunks, strict=True)
        ]

    def advance(self, documents: Mapping[str, str], state: DocumentState) -> set[str]:
        """Move documents (id → digest) on; those whose file has changed or gone meanwhile are left out."""
        with self._record.writing() as session:
            rows = _rows_in_work(session, documents)
            for row in rows:
                row.state, row.reason, row.updated_at = state, None, self._clock()
            return {row.id for row in rows}

    def fail(self, document_id: str, digest: str, reason: str) -> bool:
        """A document cannot be read or proven; its text is dropped. False when its file has changed since."""
        with self._record.writing() as session:
            rows = _rows_in_work(session, {document_id: digest})
            for row in rows:
                _drop_text(session, [row.id])
                row.state, row.reason, row.chunks, row.embedded = DocumentState.FAILED, reason, 0, 0
                row.rebuilt, row.updated_at = 0, self._clock()
            return bool(rows)

    # --- what the indexes need --------------------------------------------------------------------

    def chunk_ids(self, document_ids: Sequence[str]) -> dict[str, list[str]]:
        """The ids of these documents' chunks, in reading order; every document is named."""
        found: dict[str, list[str]] = {id_: [] for id_ in document_ids}
        with self._record.reading() as session:
            for some in batches(document_ids):
                rows = session.execute(
                    select(ChunkRow.document_id, ChunkRow.id)
                    .where(ChunkRow.document_id.in_(some))
                    .order_by(ChunkRow.document_id, ChunkRow.ordinal)
                )
                for document_id, id_ in rows:
                    found[document_id].append(id_)
        return found

    def indexed_chunks(
        self, document: Document, *, first: int = 0, batch: int = ROWS_A_QUERY
    ) -> Iterator[IndexedChunk]:
        """A document's chunks from ordinal `first` on, in reading order, read in batches."""
        while True:
            with self._record.reading() as session:
                rows = session.execute(
                    select(
                        ChunkRow.id,
                        ChunkRow.ordinal,
                        SectionRow.heading_path,
                        func.substr(SectionRow.text, ChunkRow.start + 1, ChunkRow.end - ChunkRow.start),
                    )
                    .join(
                        SectionRow,
                        (SectionRow.document_id == ChunkRow.document_id)
                        & (SectionRow.ordinal == ChunkRow.section),
                    )
                    .where(ChunkRow.document_id == document.id, ChunkRow.ordinal >= first)
                    .order_by(ChunkRow.ordinal)
                    .limit(batch)
                ).all()
            for id_, ordinal, path, text in rows:
                yield IndexedChunk(id_, document.id, ordinal, document.shelf, tuple(path), text)
            if len(rows) < batch:
                return
            first = rows[-1][1] + 1

    def text(self, document_id: str) -> tuple[list[Section], list[Chunk]]:
        """A document's sections with their text, and its chunks' spans (their texts left empty)."""
        with self._record.reading() as session:
            sections = [
                Section(row.ordinal, row.level, tuple(row.heading_path), row.anchor, row.text, row.start)
                for row in session.scalars(
                    select(SectionRow)
                    .where(SectionRow.document_id == document_id)
                    .order_by(SectionRow.ordinal)
                )
            ]
            chunks = [
                Chunk(row.ordinal, row.section, row.start, row.end, "")
                for row in session.scalars(
                    select(ChunkRow).where(ChunkRow.document_id == document_id).order_by(ChunkRow.ordinal)
                )
            ]
        return sections, chunks

    def all_indexed(self) -> list[Document]:
        """Every document whose chunks the lexical index should hold."""
        with self._record.reading() as session:
            return [taken.document for taken in taken_from(session.execute(with_shelf().where(_INDEXED)))]

    # --- a reader decides, or moves a file ---------------------------------------------------------

    def retry(self, document_ids: Sequence[str] | None = None) -> int:
        """Have these failed documents, or all, wait to be read again; returns how many there were."""
        wanted = [DocumentRow.state == DocumentState.FAILED, *_named(document_ids)]
        return self._change(wanted, state=DocumentState.WAITING, reason=None)

    def read_again(self, document: Document) -> bool:
        """Have a document wait to be read once more; False when it has changed since it was looked up."""
        wanted = [DocumentRow.id == document.id, DocumentRow.updated_at == document.updated_at]
        return bool(self._change(wanted, state=DocumentState.WAITING, reason=None))

    def unfinished(self, document_ids: Sequence[str] | None = None) -> list[Taken]:
        """Of these documents, or of all, those on their way."""
        with self._record.reading() as session:
            wanted = [DocumentRow.state.in_(UNFINISHED), *_named(document_ids)]
            return taken_from(session.execute(with_shelf().where(*wanted)))

    def give_up(self, document_ids: Sequence[str], reason: str) -> int:
        """Fail these unfinished documents, whatever state their work is in; returns how many there were."""
        count = 0
        for some in batches(document_ids):
            with self._record.writing() as session:
                unfinished = [DocumentRow.id.in_(some), DocumentRow.state.in_(UNFINISHED)]
                ids = list(session.scalars(select(DocumentRow.id).where(*unfinished)))
                _drop_text(session, ids)
                session.execute(
                    update(DocumentRow)
                    .where(DocumentRow.id.in_(ids))
                    .values(
                        state=DocumentState.FAILED,
                        reason=reason,
                        chunks=0,
                        embedded=0,
                        rebuilt=0,
                        updated_at=self._clock(),
                    )
                )
                count += len(ids)
        return count

    def waiting(self) -> bool:
        """Whether a document waits to be read."""
        with self._record.reading() as session:
            waiting = select(DocumentRow.id).where(DocumentRow.state == DocumentState.WAITING).limit(1)
            return session.scalar(waiting) is not None

    def to_reshelve(self, limit: int) -> list[Document]:
        """Documents that moved to another shelf and are still indexed under the one before."""
        with self._record.reading() as session:
            indexed = (DocumentState.FINDABLE, DocumentState.FINDABLE_WORDS)
            wanted = [DocumentRow.reshelve, DocumentRow.state.in_(indexed)]
            return [
                taken.document
                for taken in taken_from(session.execute(with_shelf().where(*wanted).limit(limit)))
            ]

    def reshelved(self, documents: Sequence[Document]) -> None:
        """Both indexes hold these documents under the shelf that is given here."""
        with self._record.writing() as session:
            for document in documents:
                row = session.get(DocumentRow, document.id)
                shelf = row and session.scalar(select(ShelfRow.name).where(ShelfRow.id == row.shelf_id))
                if row is not None and shelf == document.shelf:
                    row.reshelve = False

    def _change(self, wanted: Sequence[ColumnElement[bool]], *, touch: bool = True, **values: object) -> int:
        if touch:
            values["updated_at"] = self._clock()
        with self._record.writing() as session:
            done = session.execute(update(DocumentRow).where(*wanted).values(**values))
            return done.rowcount if isinstance(done, CursorResult) else 0


def section_starts(sections: Sequence[Section]) -> list[int]:
    """Where each section begins in the document's text, as `library.values.Section.start` has it."""
    return [0, *itertools.accumulate(len(section.text) + 2 for section in sections)][: len(sections)]


def with_shelf() -> Any:
    """Documents with the name of their shelf."""
    return select(DocumentRow, ShelfRow.name).outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)


def taken_from(rows: Iterable[Any]) -> list[Taken]:
    return [Taken(document_of(row, shelf), row.digest) for row, shelf in rows]


def _named(document_ids: Sequence[str] | None) -> tuple[ColumnElement[bool], ...]:
    return () if document_ids is None else (DocumentRow.id.in_(document_ids),)


def _rows_in_work(session: Session, documents: Mapping[str, str]) -> list[DocumentRow]:
    in_work = (DocumentState.READING, DocumentState.FINDABLE_WORDS)
    rows = []
    for some in batches(list(documents)):
        found = session.scalars(select(DocumentRow).where(DocumentRow.id.in_(some)))
        rows += [row for row in found if row.digest == documents[row.id] and row.state in in_work]
    return rows


def _drop_text(session: Session, document_ids: Sequence[str]) -> None:
    session.execute(delete(ChunkRow).where(ChunkRow.document_id.in_(document_ids)))
    session.execute(delete(SectionRow).where(SectionRow.document_id.in_(document_ids)))
