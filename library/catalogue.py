"""The catalogue: what the library holds and how far each document has come.

Reads only; documents change through `library.arrivals` and `library.queue`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, or_, select
from sqlalchemy.orm import Session

from library.errors import DocumentNotFound, InvalidRequest
from library.folding import fold
from library.models import DocumentRow, ShelfRow
from library.record import Record
from library.values import Amount, Document, DocumentState, Page, Shelf

_MOST_WORDS, _LONGEST_WORD = 16, 200  # of a query; SQLite refuses patterns beyond 50,000 bytes


class Catalogue:
    def __init__(self, record: Record) -> None:
        self._record = record

    @property
    def revision(self) -> int:
        """Another number after every change of what the library holds; of this process alone."""
        return self._record.revision

    def documents(
        self,
        *,
        shelf: str | None = None,
        state: DocumentState | None = None,
        named: str = "",
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """A page of documents by path; of those `named` so, with all the words in title, authors, subjects or path.

        Raises InvalidRequest for a bad limit.
        """
        if not 1 <= limit <= 500:
            raise InvalidRequest("limit", f"must be between 1 and 500, not {limit}.")
        wanted: list[ColumnElement[bool]] = []
        if shelf is not None:
            wanted.append(ShelfRow.name == shelf)
        if state is not None:
            wanted.append(DocumentRow.state == state)
        wanted += holding(named, DocumentRow.lookup, DocumentRow.path_key)
        joined = select(DocumentRow, ShelfRow.name).outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
        counted = select(func.count()).select_from(DocumentRow)
        if shelf is not None:
            counted = counted.join(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
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
            return document_of(row, shelf_name(session, row.shelf_id))

    def at(self, path: str) -> Document | None:
        """The document whose file lies there, if the record knows one."""
        with self._record.reading() as session:
            row = session.scalar(select(DocumentRow).where(DocumentRow.path == path))
            return None if row is None else document_of(row, shelf_name(session, row.shelf_id))

    def changed_since(self, moment: datetime, limit: int) -> list[Document]:
        """Documents that changed after that moment, the latest first; at most `limit` of them."""
        with self._record.reading() as session:
            rows = session.execute(
                select(DocumentRow, ShelfRow.name)
                .outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
                .where(DocumentRow.updated_at > moment)
                .order_by(DocumentRow.updated_at.desc())
                .limit(limit)
            )
            return [document_of(row, shelf) for row, shelf in rows]

    def shelves(self) -> list[Shelf]:
        """Shelves with at least one document that is not missing, by name."""
        # By state and shelf, as one index has them: the rows themselves are wide, and there may be 30,000.
        shelved = (
            select(DocumentRow.state, DocumentRow.shelf_id, func.count().label("documents"))
            .group_by(DocumentRow.state, DocumentRow.shelf_id)
            .subquery()
        )
        with self._record.reading() as session:
            rows = session.execute(
                select(ShelfRow.name, func.sum(shelved.c.documents))
                .join(shelved, shelved.c.shelf_id == ShelfRow.id)
                .where(shelved.c.state != DocumentState.MISSING)
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

    def amount(self) -> Amount:
        """How much has been read and embedded, and how much waits."""
        sums = (
            func.sum(DocumentRow.chunks),
            func.sum(DocumentRow.embedded),
            func.sum(DocumentRow.size_bytes),
        )
        with self._record.reading() as session:
            rows = session.execute(select(DocumentRow.state, *sums).group_by(DocumentRow.state))
            found = {state: (chunks, embedded, size) for state, chunks, embedded, size in rows}
        read = [found[s] for s in (DocumentState.FINDABLE, DocumentState.FINDABLE_WORDS) if s in found]
        unread = [found[s] for s in (DocumentState.WAITING, DocumentState.READING) if s in found]
        return Amount(
            chunks=sum(chunks for chunks, _, _ in read),
            embedded=sum(embedded for _, embedded, _ in read),
            read_bytes=sum(size for _, _, size in read),
            unread_bytes=sum(size for _, _, size in unread),
        )

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


def holding(words: str, *columns: Any) -> list[ColumnElement[bool]]:
    """That each of the words occurs in one of these folded columns, if only within a longer word."""
    return [
        or_(*(column.contains(word, autoescape=True) for column in columns))
        for word in dict.fromkeys(word[:_LONGEST_WORD] for word in fold(words).split()[:_MOST_WORDS])
    ]


def shelf_name(session: Session, shelf_id: int | None) -> str | None:
    return session.scalar(select(ShelfRow.name).where(ShelfRow.id == shelf_id)) if shelf_id else None


def document_of(row: DocumentRow | Row[Any], shelf: str | None) -> Document:
    """A document from its row, or from all the columns of one."""
    return Document(
        id=row.id,
        path=row.path,
        shelf=shelf,
        title=row.title,
        authors=tuple(row.authors),
        language=row.language,
        year=row.year,
        identifiers=tuple(row.identifiers),
        subjects=tuple(row.subjects),
        description=row.description,
        cover=row.cover,
        format=row.format,
        size_bytes=row.size_bytes,
        state=DocumentState(row.state),
        reason=row.reason,
        chunks=row.chunks,
        embedded=row.embedded,
        received_at=row.received_at,
        updated_at=row.updated_at,
    )
