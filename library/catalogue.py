"""The catalogue: what the library holds and how far each document has come.

Knows rows and states; knows neither files nor indexes. Its hard rule: a
document moves through its states only by the verbs below, and each verb is one
transaction, so that dying between two of them leaves a state from which the
work is simply done again.

    receive ─► waiting ─► reading ─► findable_words ─► findable
                  ▲          └──► failed
                  └── begin again after a crash (`reset_reading`)
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.orm import Session

from library.errors import DocumentNotFound, InvalidRequest
from library.models import ChunkRow, DocumentRow, SectionRow, ShelfRow
from library.record import Record
from library.values import (
    Chunk,
    Document,
    DocumentState,
    Extracted,
    FileKnown,
    FileSeen,
    IndexedChunk,
    Page,
    Receipt,
    Shelf,
)

_CHUNK_NAMESPACE = uuid.UUID("6f1c1a52-0d6b-5c3e-9d0f-2f7f3c1b8a11")
_ROWS_A_QUERY = 500  # below SQLite's bound of 999 parameters in old builds


def chunk_id(document_id: str, digest: str, ordinal: int) -> str:
    """The same content in the same document always gets the same id, so redoing is harmless.

    The document is part of the name because two shelves may hold the same
    file; the digest, because a citation must never open the words of another
    edition.
    """
    return str(uuid.uuid5(_CHUNK_NAMESPACE, f"{document_id}/{digest}/{ordinal}"))


class Catalogue:
    def __init__(self, record: Record, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._record = record
        self._clock = clock

    # --- a file arrives, changes, goes -----------------------------------------------------------

    def receive(self, file: FileSeen, *, is_gone: Callable[[str], bool]) -> tuple[Receipt, str]:
        """Note a settled file; returns what that came to and the document's id.

        `is_gone` says of a path whether its file has left the folder: a new
        path with a digest whose old path is gone is a move, and costs nothing.
        """
        with self._record.writing() as session:
            row = session.scalar(select(DocumentRow).where(DocumentRow.path == file.path))
            if row is None:
                row = self._moved_row(session, file, is_gone)
                if row is not None:
                    old_format = row.format
                    moved_shelf = self._place(session, row, file)
                    self._return_from_missing(row)
                    # Both indexes filter by shelf, and another ending means another reader.
                    if moved_shelf or row.format != old_format or row.state == DocumentState.FAILED:
                        row.state, row.reason = DocumentState.WAITING, None
                    return Receipt.MOVED, row.id
                row = self._new_row(session, file)
                return Receipt.NEW, row.id
            if row.digest == file.digest:
                self._place(session, row, file)
                self._return_from_missing(row)
                if row.state == DocumentState.FAILED:
                    # Saved again by somebody who read why it failed. A scan does not come here.
                    row.state, row.reason = DocumentState.WAITING, None
                return Receipt.SAME, row.id
            self._place(session, row, file)
            row.digest, row.state, row.reason = file.digest, DocumentState.WAITING, None
            return Receipt.CHANGED, row.id

    def refuse(self, file: FileSeen, reason: str) -> str:
        """Note a file that cannot even be looked at; returns the document's id."""
        with self._record.writing() as session:
            row = session.scalar(select(DocumentRow).where(DocumentRow.path == file.path))
            if row is None:
                row = self._new_row(session, file)
            self._place(session, row, file)
            row.digest, row.state, row.reason = file.digest, DocumentState.FAILED, reason
            return row.id

    def mark_missing(self, paths: Iterable[str]) -> None:
        """The files at, or in the folders at, these paths are gone. What is indexed stays, unseen."""
        with self._record.writing() as session:
            for path in sorted(paths):
                here = (DocumentRow.path == path) | DocumentRow.path.startswith(f"{path}/", autoescape=True)
                session.execute(
                    update(DocumentRow)
                    .where(here, DocumentRow.state != DocumentState.MISSING)
                    .values(state=DocumentState.MISSING, updated_at=self._clock())
                )

    def known_files(self) -> dict[str, FileKnown]:
        """Every path the record holds, for comparing with the folder."""
        columns = (
            DocumentRow.path,
            DocumentRow.size_bytes,
            DocumentRow.mtime_ns,
            DocumentRow.state,
            DocumentRow.digest,
        )
        with self._record.reading() as session:
            return {
                path: FileKnown(size, mtime, DocumentState(state), digest)
                for path, size, mtime, state, digest in session.execute(select(*columns))
            }

    # --- it is read, indexed, proven -------------------------------------------------------------

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
            return document_of(row, _shelf_name(session, row.shelf_id)), row.digest

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
                            "text": section.text,
                        }
                        for section in extracted.sections
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
            row.chunks, row.embedded, row.updated_at = len(chunks), 0, self._clock()
            shelf = _shelf_name(session, row.shelf_id)
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

    # --- what is there ---------------------------------------------------------------------------

    def documents(
        self,
        *,
        shelf: str | None = None,
        state: DocumentState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """A page of documents by path. Raises InvalidRequest for a bad limit."""
        if not 1 <= limit <= 500:
            raise InvalidRequest("limit", f"must be between 1 and 500, not {limit}.")
        wanted: list[ColumnElement[bool]] = []
        if shelf is not None:
            wanted.append(ShelfRow.name == shelf)
        if state is not None:
            wanted.append(DocumentRow.state == state)
        joined = select(DocumentRow, ShelfRow.name).outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
        counted = (
            select(func.count())
            .select_from(DocumentRow)
            .outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
        )
        after = [DocumentRow.path > cursor] if cursor else []
        with self._record.reading() as session:
            total = session.scalar(counted.where(*wanted)) or 0
            rows = session.execute(
                joined.where(*wanted, *after).order_by(DocumentRow.path).limit(limit + 1)
            ).all()
        items = tuple(document_of(row, name) for row, name in rows[:limit])
        return Page(items, total, items[-1].path if len(rows) > limit else None)

    def document(self, document_id: str) -> Document:
        """Raises DocumentNotFound."""
        with self._record.reading() as session:
            row = session.get(DocumentRow, document_id)
            if row is None:
                raise DocumentNotFound(document_id)
            return document_of(row, _shelf_name(session, row.shelf_id))

    def shelves(self) -> list[Shelf]:
        """Shelves with at least one document that is not missing, by name."""
        with self._record.reading() as session:
            rows = session.execute(
                select(ShelfRow.name, func.count(DocumentRow.id))
                .join(DocumentRow, DocumentRow.shelf_id == ShelfRow.id)
                .where(DocumentRow.state != DocumentState.MISSING)
                .group_by(ShelfRow.name)
                .order_by(ShelfRow.name)
            )
            return [Shelf(name, count) for name, count in rows]

    def counts(self, shelf: str | None = None) -> dict[DocumentState, int]:
        """How many documents are in each state; every state is named, also with 0."""
        query = select(DocumentRow.state, func.count()).group_by(DocumentRow.state)
        if shelf is not None:
            query = query.join(ShelfRow, DocumentRow.shelf_id == ShelfRow.id).where(ShelfRow.name == shelf)
        with self._record.reading() as session:
            found: dict[str, int] = {state: count for state, count in session.execute(query)}  # noqa: C416 - a result has keys() and would pass for a mapping
        return {state: found.get(state, 0) for state in DocumentState}

    def indexed_totals(self) -> tuple[int, int]:
        """(chunks that the lexical index should hold, vectors that the vector index should hold)."""
        indexed = (DocumentState.FINDABLE, DocumentState.FINDABLE_WORDS, DocumentState.MISSING)
        with self._record.reading() as session:
            chunks, embedded = session.execute(
                select(func.sum(DocumentRow.chunks), func.sum(DocumentRow.embedded)).where(
                    DocumentRow.state.in_(indexed)
                )
            ).one()
        return chunks or 0, embedded or 0

    def all_indexed(self) -> list[Document]:
        """Every document whose chunks the lexical index should hold."""
        indexed = (DocumentState.FINDABLE, DocumentState.FINDABLE_WORDS, DocumentState.MISSING)
        with self._record.reading() as session:
            rows = session.execute(
                select(DocumentRow, ShelfRow.name)
                .outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
                .where(DocumentRow.state.in_(indexed))
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

    # --- rows ------------------------------------------------------------------------------------

    def _new_row(self, session: Session, file: FileSeen) -> DocumentRow:
        now = self._clock()
        row = DocumentRow(
            id=str(uuid.uuid4()),
            path=file.path,
            shelf_id=_shelf_id(session, file.shelf),
            digest=file.digest,
            size_bytes=file.size_bytes,
            mtime_ns=file.mtime_ns,
            format=file.format,
            title=file.path.rsplit("/", 1)[-1],
            authors=[],
            state=DocumentState.WAITING,
            chunks=0,
            embedded=0,
            received_at=now,
            updated_at=now,
        )
        session.add(row)
        return row

    @staticmethod
    def _moved_row(session: Session, file: FileSeen, is_gone: Callable[[str], bool]) -> DocumentRow | None:
        twins = session.scalars(select(DocumentRow).where(DocumentRow.digest == file.digest))
        return next((twin for twin in twins if file.digest and is_gone(twin.path)), None)

    def _place(self, session: Session, row: DocumentRow, file: FileSeen) -> bool:
        """Put the row where the file is; True when that is another shelf."""
        shelf_id = _shelf_id(session, file.shelf)
        moved_shelf = row.shelf_id != shelf_id
        row.path, row.shelf_id, row.format = file.path, shelf_id, file.format
        row.size_bytes, row.mtime_ns, row.updated_at = file.size_bytes, file.mtime_ns, self._clock()
        return moved_shelf

    @staticmethod
    def _return_from_missing(row: DocumentRow) -> None:
        if row.state != DocumentState.MISSING:
            return
        if row.reason:
            row.state = DocumentState.FAILED
        elif row.chunks and row.embedded == row.chunks:
            row.state = DocumentState.FINDABLE
        else:
            row.state = DocumentState.WAITING


def _row_in_work(session: Session, document_id: str, digest: str) -> DocumentRow | None:
    row = session.get(DocumentRow, document_id)
    if row is None or row.digest != digest:
        return None
    return row if row.state in (DocumentState.READING, DocumentState.FINDABLE_WORDS) else None


def _shelf_id(session: Session, name: str | None) -> int | None:
    if name is None:
        return None
    found = session.scalar(select(ShelfRow.id).where(ShelfRow.name == name))
    if found is None:
        row = ShelfRow(name=name)
        session.add(row)
        session.flush()
        found = row.id
    return found


def _shelf_name(session: Session, shelf_id: int | None) -> str | None:
    return session.scalar(select(ShelfRow.name).where(ShelfRow.id == shelf_id)) if shelf_id else None


def document_of(row: DocumentRow, shelf: str | None) -> Document:
    return Document(
        id=row.id,
        path=row.path,
        shelf=shelf,
        title=row.title,
        authors=tuple(row.authors),
        language=row.language,
        year=row.year,
        format=row.format,
        size_bytes=row.size_bytes,
        state=DocumentState(row.state),
        reason=row.reason,
        chunks=row.chunks,
        embedded=row.embedded,
        received_at=row.received_at,
        updated_at=row.updated_at,
    )
