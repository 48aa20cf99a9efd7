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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, CursorResult, delete, func, insert, select, update
from sqlalchemy.orm import Session

from library.catalogue import document_of
from library.models import AUTHORS, CHUNKS, DOCUMENTS, SECTIONS, ChunkRow, DocumentRow, SectionRow, ShelfRow
from library.record import ROWS_A_QUERY, Record, batches
from library.texts import DESCRIBE, Text, author_rows, chunk_rows, described, indexed, section_rows
from library.values import Chunk, Document, DocumentState, IndexedChunk, Section

_CHUNK_TEXTS = select(
    CHUNKS.c.id,
    CHUNKS.c.document_id,
    CHUNKS.c.ordinal,
    SECTIONS.c.heading_path,
    func.substr(SECTIONS.c.text, CHUNKS.c.start + 1, CHUNKS.c.end - CHUNKS.c.start).label("text"),
).join(
    SECTIONS,
    (SECTIONS.c.document_id == CHUNKS.c.document_id) & (SECTIONS.c.ordinal == CHUNKS.c.section),
)
_INDEXED = DocumentRow.state.in_(
    (DocumentState.FINDABLE, DocumentState.FINDABLE_WORDS, DocumentState.MISSING)
)
# Of a document that must be read before it may be called findable, also when its file goes and comes back.
_NOTHING: dict[str, Any] = {"chunks": 0, "embedded": 0, "rebuilt": 0}
UNFINISHED = (DocumentState.WAITING, DocumentState.READING, DocumentState.FINDABLE_WORDS)


class Taken(NamedTuple):
    """A document in work, with the digest and the date that its file had when it was received."""

    document: Document
    digest: str
    mtime_ns: int


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
        read = {text.document_id: text for text in texts}
        with self._record.writing() as session:
            current = {
                row.id: row
                for some in batches(list(read))
                for row in session.execute(
                    with_shelf().where(DocumentRow.id.in_(some), DocumentRow.state == DocumentState.READING)
                )
                if row.digest == read[row.id].digest
            }
            stored = {
                id_: indexed(read[id_], shelf=row.shelf, file_format=row.format)
                for id_, row in current.items()
            }
            _drop_text(session, list(stored))
            sections = [row for id_ in stored for row in section_rows(read[id_])]
            chunks = [row for id_, chunks in stored.items() for row in chunk_rows(read[id_], chunks)]
            if sections:
                session.execute(insert(SECTIONS), sections)
            if chunks:
                session.execute(insert(CHUNKS), chunks)
            now = self._clock()
            if stored:
                session.execute(DESCRIBE, [described(read[id_]) | {"updated_at": now} for id_ in stored])
                for some in batches(list(stored)):
                    session.execute(delete(AUTHORS).where(AUTHORS.c.document_id.in_(some)))
            if authors := [row for id_ in stored for row in author_rows(read[id_])]:
                session.execute(insert(AUTHORS), authors)
        return stored

    def advance(self, documents: Mapping[str, str], state: DocumentState) -> set[str]:
        """Move documents (id → digest) on; those whose file has changed or gone meanwhile are left out."""
        moved = set()
        counts = _NOTHING if state is DocumentState.WAITING else {}
        with self._record.writing() as session:
            for some in batches(_ids_in_work(session, documents)):
                session.execute(
                    update(DOCUMENTS)
                    .where(DOCUMENTS.c.id.in_(some))
                    .values(state=state, reason=None, updated_at=self._clock(), **counts)
                )
                moved |= set(some)
        return moved

    def fail(self, document_id: str, digest: str, reason: str) -> bool:
        """A document cannot be read or proven; its text is dropped. False when its file has changed since."""
        with self._record.writing() as session:
            ids = _ids_in_work(session, {document_id: digest})
            self._fail(session, ids, reason)
            return bool(ids)

    def _fail(self, session: Session, ids: Sequence[str], reason: str) -> None:
        _drop_text(session, ids)
        session.execute(
            update(DOCUMENTS)
            .where(DOCUMENTS.c.id.in_(ids))
            .values(state=DocumentState.FAILED, reason=reason, updated_at=self._clock(), **_NOTHING)
        )

    def forgotten(self, document_ids: Sequence[str]) -> None:
        """The indexes were emptied of these documents; what is gone or failed must be read before it counts again."""
        with self._record.writing() as session:
            for some in batches(document_ids):
                unseen = DocumentRow.state.in_((DocumentState.MISSING, DocumentState.FAILED))
                ids = list(session.scalars(select(DocumentRow.id).where(DocumentRow.id.in_(some), unseen)))
                _drop_text(session, ids)
                session.execute(update(DOCUMENTS).where(DOCUMENTS.c.id.in_(ids)).values(**_NOTHING))

    def failed_with_text(self, limit: int) -> list[str]:
        """Documents that fail although both indexes still hold their earlier text: the file was emptied, say."""
        with self._record.reading() as session:
            has_text = select(ChunkRow.id).where(ChunkRow.document_id == DocumentRow.id).exists()
            failed = select(DocumentRow.id).where(DocumentRow.state == DocumentState.FAILED, has_text)
            return list(session.scalars(failed.limit(limit)))

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
        for start in range(first, document.chunks, batch):
            yield from self.chunks_in([(document, start, min(start + batch, document.chunks))])

    def chunks_in(self, ranges: Sequence[tuple[Document, int, int]]) -> list[IndexedChunk]:
        """The chunks of each document from an ordinal up to another, document after document."""
        whole = [document.id for document, first, stop in ranges if first == 0 and stop >= document.chunks]
        rows: dict[str, list[IndexedChunk]] = {document.id: [] for document, _, _ in ranges}
        labels = {document.id: document.labels for document, _, _ in ranges}
        with self._record.reading() as session:
            wanted: list[ColumnElement[bool]] = [CHUNKS.c.document_id.in_(some) for some in batches(whole)]
            wanted += [
                (CHUNKS.c.document_id == document.id) & CHUNKS.c.ordinal.between(first, stop - 1)
                for document, first, stop in ranges
                if not (first == 0 and stop >= document.chunks)
            ]
            for these in wanted:
                for row in session.execute(_CHUNK_TEXTS.where(these).order_by(CHUNKS.c.ordinal)):
                    rows[row.document_id].append(
                        IndexedChunk(
                            row.id,
                            row.document_id,
                            row.ordinal,
                            labels[row.document_id],
                            tuple(row.heading_path),
                            row.text,
                        )
                    )
        return [chunk for document, _, _ in ranges for chunk in rows[document.id]]

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

    def indexed_among(self, document_ids: Sequence[str]) -> list[Document]:
        """Those of the documents whose chunks the lexical index should hold."""
        with self._record.reading() as session:
            return [
                taken.document
                for some in batches(document_ids)
                for taken in taken_from(
                    session.execute(with_shelf().where(_INDEXED, DocumentRow.id.in_(some)))
                )
            ]

    # --- a reader decides, or moves a file ---------------------------------------------------------

    def retry(self, document_ids: Sequence[str] | None = None) -> int:
        """Have these failed documents, or all, wait to be read again; returns how many there were."""
        wanted = [DocumentRow.state == DocumentState.FAILED, *_named(document_ids)]
        return self._change(wanted, state=DocumentState.WAITING, reason=None, **_NOTHING)

    def read_again(self, document: Document) -> bool:
        """Have a document wait to be read once more; False when it has changed since it was looked up."""
        wanted = [DocumentRow.id == document.id, DocumentRow.updated_at == document.updated_at]
        return bool(self._change(wanted, state=DocumentState.WAITING, reason=None, **_NOTHING))

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
                self._fail(session, ids, reason)
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


def with_shelf() -> Any:
    """Every column of a document, and `shelf`. Columns and not objects: three times as fast."""
    return select(*DOCUMENTS.c, ShelfRow.name.label("shelf")).outerjoin(
        ShelfRow, DocumentRow.shelf_id == ShelfRow.id
    )


def taken_from(rows: Iterable[Any]) -> list[Taken]:
    return [Taken(document_of(row, row.shelf), row.digest, row.mtime_ns) for row in rows]


def _named(document_ids: Sequence[str] | None) -> tuple[ColumnElement[bool], ...]:
    return () if document_ids is None else (DocumentRow.id.in_(document_ids),)


def _ids_in_work(session: Session, documents: Mapping[str, str]) -> list[str]:
    in_work = DocumentRow.state.in_((DocumentState.READING, DocumentState.FINDABLE_WORDS))
    found: list[str] = []
    for some in batches(list(documents)):
        rows = session.execute(
            select(DocumentRow.id, DocumentRow.digest).where(DocumentRow.id.in_(some), in_work)
        )
        found += [id_ for id_, digest in rows if digest == documents[id_]]
    return found


def _drop_text(session: Session, document_ids: Sequence[str]) -> None:
    session.execute(delete(ChunkRow).where(ChunkRow.document_id.in_(document_ids)))
    session.execute(delete(SectionRow).where(SectionRow.document_id.in_(document_ids)))
