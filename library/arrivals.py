"""Arrivals: a file comes, changes, moves or goes, and the record takes note.

Knows rows; knows neither the folder nor the indexes. Its hard rule: the row of
a document is the durable queue entry. Whatever is noted here survives a
`kill -9`, and nothing more needs to be remembered to have the file read.
"""

import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from library.models import DocumentRow, ShelfRow
from library.record import Record
from library.values import DocumentState, FileKnown, FileSeen, Receipt


class Arrivals:
    def __init__(self, record: Record, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._record = record
        self._clock = clock

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
            identifiers=[],
            subjects=[],
            description="",
            state=DocumentState.WAITING,
            chunks=0,
            embedded=0,
            rebuilt=0,
            reshelve=False,
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
