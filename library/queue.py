"""The queue: documents on their way from a received file to a findable one.

Knows rows and states; knows neither files nor indexes. Its hard rule: a
document moves through its states only by the verbs below, and each verb is one
transaction, so that dying between two of them leaves a state from which the
work is simply done again.

    waiting ─► reading ─► findable_words ─► findable
       ▲          └──► failed
       └── begin again after a crash (`reset_reading`)
"""

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from library.catalogue import document_of, shelf_name
from library.models import ChunkRow, DocumentRow, SectionRow, ShelfRow
from library.record import Record
from library.values import Chunk, Document, DocumentState, Extracted, IndexedChunk, Section

_CHUNK_NAMESPACE = uuid.UUID("6f1c1a52-0d6b-5c3e-9d0f-2f7f3c1b8a11")
_ROWS_A_QUERY = 500  # below SQLite's bound of 999 parameters in old builds
_INDEXED = (DocumentState.FINDABLE, DocumentState.FINDABLE_WORDS, DocumentState.MISSING)


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

    def reset_reading(self) -> int:
        """After a start: what was being read when the process died waits again. Returns how many."""
        with self._record.writing() as session:
            rows = list(
                session.scalars(select(DocumentRow).where(DocumentRow.state == DocumentState.READING))
            )
            for row in rows:
                row.state = DocumentState.WAITING
            return len(rows)

    def begin_reading(self) -> tuple[Document, str] | None:
        """Take the document that has waited longest; returns it with its digest, or None."""
        with self._record.writing() as session:
            row = session.scalar(
                select(DocumentRow)
                .where(DocumentRow.state == DocumentState.WAITING)
                .order_by(DocumentRow.received_at, DocumentRow.id)
                .limit(1)
            )
            if row is None:
                return None
            row.state, row.updated_at = DocumentState.READING, self._clock()
            return document_of(row, shelf_name(session, row.shelf_id)), row.digest

    def chunk_ids(self, document_id: str) -> list[str]:
        """The ids of a document's chunks, in reading order."""
        with self._record.reading() as session:
            return list(
                session.scalars(
                    select(ChunkRow.id).where(ChunkRow.document_id == document_id).order_by(ChunkRow.ordinal)
                )
            )

    def store_text(
        self, document_id: str, digest: str, extracted: Extracted, chunks: Sequence[Chunk]
    ) -> list[IndexedChunk] | None:
        """Replace a document's sections and chunks; returns the chunks for the indexes.

        None, and nothing is stored, when the file has changed since it was
        read: the newer content is waiting already.
        """
        with self._record.writing() as session:
            row = session.get(DocumentRow, document_id)
            if row is None or row.digest != digest or row.state != DocumentState.READING:
                return None
            session.execute(delete(ChunkRow).where(ChunkRow.document_id == document_id))
            session.execute(delete(SectionRow).where(SectionRow.document_id == document_id))
            if extracted.sections:
                session.execute(
                    insert(SectionRow),
                    [
                        {
                            "document_id": document_id,
                            "ordinal": section.ordinal,
                            "level": section.level,
                            "heading_path": list(section.heading_path),
                            "anchor": section.anchor,
                            "start": start,
                            "text": section.text,
                        }
                        for section, start in zip(
                            extracted.sections, section_starts(extracted.sections), strict=True
                        )
                    ],
                )
            ids = [chunk_id(document_id, digest, chunk.ordinal) for chunk in chunks]
            if chunks:
                session.execute(
                    insert(ChunkRow),
                    [
                        {
                            "id": id_,
                            "document_id": document_id,
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
            row.chunks, row.embedded, row.updated_at = len(chunks), 0, self._clock()
            shelf = shelf_name(session, row.shelf_id)
            paths = {section.ordinal: section.heading_path for section in extracted.sections}
            return [
                IndexedChunk(id_, document_id, chunk.ordinal, shelf, paths[chunk.section], chunk.text)
                for id_, chunk in zip(ids, chunks, strict=True)
            ]

    def advance(self, document_id: str, digest: str, state: DocumentState) -> bool:
        """Move a document on; False when its file has changed or gone meanwhile, and then nothing is done."""
        with self._record.writing() as session:
            row = _row_in_work(session, document_id, digest)
            if row is None:
                return False
            row.state, row.reason, row.updated_at = state, None, self._clock()
            return True

    def fail(self, document_id: str, digest: str, reason: str) -> bool:
        """A document cannot be read or proven; its text is dropped. False when its file has changed since."""
        with self._record.writing() as session:
            row = _row_in_work(session, document_id, digest)
            if row is None:
                return False
            session.execute(delete(ChunkRow).where(ChunkRow.document_id == document_id))
            session.execute(delete(SectionRow).where(SectionRow.document_id == document_id))
            row.state, row.reason, row.chunks, row.embedded = DocumentState.FAILED, reason, 0, 0
            row.updated_at = self._clock()
            return True

    def note_embedded(self, upto: dict[str, int]) -> None:
        """Raise the watermark of each document: chunks below it have their vector."""
        with self._record.writing() as session:
            for document_id, count in upto.items():
                session.execute(
                    update(DocumentRow)
                    .where(DocumentRow.id == document_id, DocumentRow.embedded < count)
                    .values(embedded=count, updated_at=self._clock())
                )

    def lacking_vectors(self, limit: int = 1000) -> list[tuple[Document, str]]:
        """Documents findable by words whose vectors are still to come, oldest first, with their digests."""
        with self._record.reading() as session:
            rows = session.execute(
                select(DocumentRow, ShelfRow.name)
                .outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
                .where(DocumentRow.state == DocumentState.FINDABLE_WORDS)
                .order_by(DocumentRow.received_at, DocumentRow.id)
                .limit(limit)
            )
            return [(document_of(row, shelf), row.digest) for row, shelf in rows]

    def continued_by(self, firsts: Mapping[str, IndexedChunk], digests: Mapping[str, str]) -> set[str]:
        """Of these documents, those whose vectors go on with that chunk.

        They wait for vectors, have the same digest and shelf as when the chunks
        were taken, and their watermark stands right before the chunk: a document
        that was read again meanwhile begins again at 0.
        """
        with self._record.reading() as session:
            rows = session.execute(
                select(DocumentRow.id, DocumentRow.digest, DocumentRow.embedded, ShelfRow.name)
                .outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
                .where(DocumentRow.id.in_(firsts), DocumentRow.state == DocumentState.FINDABLE_WORDS)
            )
            return {
                id_
                for id_, digest, embedded, shelf in rows
                if digest == digests[id_] and embedded == firsts[id_].ordinal and shelf == firsts[id_].shelf
            }

    def indexed_chunks(
        self, document: Document, *, first: int = 0, batch: int = _ROWS_A_QUERY
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

    # --- a reader decides ------------------------------------------------------------------------

    def retry(self, document_ids: Sequence[str] | None = None) -> int:
        """Have these failed documents, or all, wait to be read again; returns how many there were."""
        wanted = [DocumentRow.state == DocumentState.FAILED]
        if document_ids is not None:
            wanted.append(DocumentRow.id.in_(document_ids))
        with self._record.writing() as session:
            done = session.execute(
                update(DocumentRow)
                .where(*wanted)
                .values(state=DocumentState.WAITING, reason=None, updated_at=self._clock())
            )
            return done.rowcount

    def cancel(self, document_ids: Sequence[str] | None = None) -> int:
        unfinished = (DocumentState.WAITING, DocumentState.READING, DocumentState.FINDABLE_WORDS)
        wanted = [DocumentRow.state.in_(unfinished)]
        if document_ids is not None:
            wanted.append(DocumentRow.id.in_(document_ids))
        reason = "Reading it was cancelled. Retry has it read again."
        with self._record.writing() as session:
            done = session.execute(
                update(DocumentRow)
                .where(*wanted)
                .values(state=DocumentState.FAILED, reason=reason, updated_at=self._clock())
            )
            return done.rowcount

    # --- the indexes were lost or replaced ----------------------------------------------------------

    def all_indexed(self) -> list[Document]:
        """Every document whose chunks the lexical index should hold."""
        with self._record.reading() as session:
            rows = session.execute(
                select(DocumentRow, ShelfRow.name)
                .outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
                .where(DocumentRow.state.in_(_INDEXED))
            )
            return [document_of(row, shelf) for row, shelf in rows]

    def forget_vectors(self) -> None:
        """The vector index is lost: every document needs its vectors anew, and is findable by words only."""
        with self._record.writing() as session:
            session.execute(update(DocumentRow).values(embedded=0))
            session.execute(
                update(DocumentRow)
                .where(DocumentRow.state == DocumentState.FINDABLE)
                .values(state=DocumentState.FINDABLE_WORDS, updated_at=self._clock())
            )


def _row_in_work(session: Session, document_id: str, digest: str) -> DocumentRow | None:
    row = session.get(DocumentRow, document_id)
    if row is None or row.digest != digest:
        return None
    return row if row.state in (DocumentState.READING, DocumentState.FINDABLE_WORDS) else None


def section_starts(sections: Sequence[Section]) -> list[int]:
    """Where each section begins in the document's text, as `library.values.Section.start` has it."""
    return [0, *itertools.accumulate(len(section.text) + 2 for section in sections)][: len(sections)]
