"""The watermark: how far the vectors of each document have come in one vector index.

Chunks below a document's watermark have their vector there. Two of them are
kept: for the index that serves, and for one that is being built beside it with
another embedding model. Knows rows; knows no vector. Its hard rule: a
watermark is raised only after the vectors below it are durable.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from library.catalogue import document_of
from library.models import DOCUMENTS, DocumentRow, FactRow, ShelfRow
from library.queue import with_shelf
from library.record import Record, batches
from library.values import Document, DocumentState, IndexedChunk

# The facts that name the index that serves and the one that is being built: its
# embedding model, and digits that tell it from others of the same model; and the
# server that each is on, "" or nothing for this process.
SERVING_VECTORS, BUILDING_VECTORS = "vectors.serving", "vectors.building"
SERVING_ADDRESS, BUILDING_ADDRESS = "vectors.serving_at", "vectors.building_at"
_INDEXED = (DocumentState.FINDABLE, DocumentState.FINDABLE_WORDS, DocumentState.MISSING)


class Lacking(NamedTuple):
    """A document whose vectors from chunk `first` on are still to come."""

    document: Document
    digest: str
    first: int


class Watermark:
    def __init__(
        self,
        record: Record,
        *,
        beside: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """The watermark of the serving index, or with `beside` of the one that is being built."""
        self._record, self._clock = record, clock
        self._column = DocumentRow.rebuilt if beside else DocumentRow.embedded
        self._wanted = (
            # What the serving index lacks comes first; here it is taken when it is whole there.
            DocumentRow.state.in_((DocumentState.FINDABLE, DocumentState.MISSING))
            & (DocumentRow.rebuilt < DocumentRow.chunks)
            if beside
            else DocumentRow.state == DocumentState.FINDABLE_WORDS
        )

    def lacking(self, limit: int) -> list[Lacking]:
        """Documents whose vectors are still to come, or still to be proven; the newest first."""
        with self._record.reading() as session:
            rows = session.execute(
                with_shelf()
                .where(self._wanted)
                .order_by(DocumentRow.received_at.desc(), DocumentRow.id)
                .limit(limit)
            )
            return [
                Lacking(document_of(row, row.shelf), row.digest, getattr(row, self._column.key))
                for row in rows
            ]

    def continued_by(self, firsts: Mapping[str, IndexedChunk], digests: Mapping[str, str]) -> dict[str, int]:
        """Of these documents, those whose vectors go on with that chunk, with how many chunks they have.

        They have the same digest and shelf as when the chunks were taken, and
        their watermark stands right before the chunk: a document that was read
        again meanwhile begins again at 0.
        """
        with self._record.reading() as session:
            rows = session.execute(
                select(DocumentRow.id, DocumentRow.digest, self._column, DocumentRow.chunks, ShelfRow.name)
                .outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
                .where(DocumentRow.id.in_(firsts), self._wanted)
            )
            return {
                id_: chunks
                for id_, digest, mark, chunks, shelf in rows
                if digest == digests[id_]
                and mark == firsts[id_].ordinal
                and shelf == firsts[id_].labels.shelf
            }

    def raise_to(self, upto: Mapping[str, int]) -> None:
        """Raise the watermark of each document; one that stands higher already is left."""
        column = DOCUMENTS.c[self._column.key]
        raised = (
            update(DOCUMENTS)
            .where(DOCUMENTS.c.id == bindparam("document_id"), column < bindparam("upto"))
            .values({column: bindparam("upto"), "updated_at": self._clock()})
        )
        if upto:
            with self._record.writing() as session:
                session.execute(raised, [{"document_id": id_, "upto": count} for id_, count in upto.items()])

    def total(self) -> int:
        """How many vectors the index should hold."""
        with self._record.reading() as session:
            return session.scalar(select(func.sum(self._column)).where(DocumentRow.state.in_(_INDEXED))) or 0

    def of(self, document_ids: Sequence[str]) -> dict[str, int]:
        """The watermarks of those documents, at most some hundreds."""
        with self._record.reading() as session:
            rows = session.execute(
                select(DocumentRow.id, self._column).where(DocumentRow.id.in_(document_ids))
            )
            return {id_: mark for id_, mark in rows}  # noqa: C416 - a result has keys() and would pass for a mapping

    def reset(self, document_ids: Sequence[str] | None = None) -> None:
        """Vectors are lost, of these documents or of all: they need them anew.

        Where the index serves, the documents are found by words only until then.
        """
        for some in [None] if document_ids is None else batches(document_ids):
            these = [] if some is None else [DocumentRow.id.in_(some)]
            with self._record.writing() as session:
                session.execute(update(DocumentRow).where(*these).values({self._column.key: 0}))
                if self._column.key == "embedded":
                    session.execute(
                        update(DocumentRow)
                        .where(*these, DocumentRow.state == DocumentState.FINDABLE)
                        .values(state=DocumentState.FINDABLE_WORDS, updated_at=self._clock())
                    )


def swap(record: Record, generation: str, address: str = "") -> None:
    """The index that was built beside, of that name and at that address, serves from now on."""
    with record.writing() as session:
        session.execute(update(DocumentRow).values(embedded=DocumentRow.rebuilt, rebuilt=0))
        # What came in at the last moment is embedded like any other.
        session.execute(
            update(DocumentRow)
            .where(DocumentRow.state == DocumentState.FINDABLE, DocumentRow.embedded < DocumentRow.chunks)
            .values(state=DocumentState.FINDABLE_WORDS)
        )
        _note_serving(session, generation, address)
        session.execute(delete(FactRow).where(FactRow.name.in_((BUILDING_VECTORS, BUILDING_ADDRESS))))


def begin_anew(
    record: Record,
    generation: str,
    address: str = "",
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """The index that served is lost, and an empty one of that name serves: every vector is to come."""
    with record.writing() as session:
        session.execute(update(DocumentRow).values(embedded=0))
        session.execute(
            update(DocumentRow)
            .where(DocumentRow.state == DocumentState.FINDABLE)
            .values(state=DocumentState.FINDABLE_WORDS, updated_at=clock())
        )
        _note_serving(session, generation, address)


def _note_serving(session: Session, generation: str, address: str) -> None:
    session.merge(FactRow(name=SERVING_VECTORS, value=generation))
    session.merge(FactRow(name=SERVING_ADDRESS, value=address))
