"""Intake: which document a file is, when it came by that path with that content.

A document is recognised by its path, or by its digest where the old path is
free; the text of a moved file is neither read nor embedded again. In order:

    the path is known, with that digest        same
    the digest is known, its old path is free  moved; the document keeps its id
    the path is known, with another digest     changed; keeps its id, is read again
    neither                                    new

An old path is free when no file stands there, or when another known document
moves there at the same time: two files that swap their names, or three in a
circle, are moves. A file that took the place of another by an edit or an
overwriting is a change of the document that stood there, because that is what
readers have noted. Works within one transaction of its caller's.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session, aliased

from library.models import DocumentRow, ShelfRow
from library.record import batches
from library.values import DocumentState, FileSeen, Receipt

_IN_INDEXES = (DocumentState.FINDABLE, DocumentState.FINDABLE_WORDS)


class _Twin(NamedTuple):
    """A document with the digest that is looked for."""

    id: str
    path: str
    state: str


class Intake:
    """One group of files, each path once. Use it once, without autoflush."""

    def __init__(
        self, session: Session, files: Sequence[FileSeen], is_gone: Callable[[str], bool], now: datetime
    ) -> None:
        self._session, self._files, self._is_gone, self._now = session, files, is_gone, now
        self._coming = {file.path: file for file in files}
        self._at = {row.path: row for row in self._rows(DocumentRow.path, self._coming)}
        self._shelves = {row.name: row.id for row in session.scalars(select(ShelfRow))}

    def run(self) -> list[tuple[Receipt, str]]:
        """Note the files; what each came to, and its document's id."""
        moves = self._moves()
        displaced = {row.path: row for row in moves.values()}
        # No two rows may stand at one path, not even between two updates.
        crowded = [path for path in moves if path in self._at]
        if crowded or any(row.path in self._coming for row in moves.values()):
            freed = {path: row.path for path, row in moves.items()}
            parked = {row.id: row for row in (*moves.values(), *(self._at[path] for path in crowded))}
            for id_, leaving in parked.items():
                leaving.path = f"//moving/{id_}"
            self._session.flush()
            for path in crowded:
                # A document long missing: its name is taken, and it takes the free one.
                if path not in displaced:
                    self._take_free_place(self._at[path], freed[path])
        receipts = []
        for file in self._files:
            if file.path in moves:
                self._move(moves[file.path], file)
                receipts.append((Receipt.MOVED, moves[file.path].id))
                continue
            row = None if file.path in displaced else self._at.get(file.path)
            if row is None:
                receipts.append((Receipt.NEW, self._new(file).id))
            elif row.digest == file.digest:
                self._same(row, file)
                receipts.append((Receipt.SAME, row.id))
            else:
                self._place(row, file)
                self._wait(row)
                row.digest = file.digest
                receipts.append((Receipt.CHANGED, row.id))
        return receipts

    def refuse(self, reasons: Iterable[str]) -> list[str]:
        """Note that these files cannot be read, each for its reason; returns the documents' ids."""
        ids = []
        for file, reason in zip(self._files, reasons, strict=True):
            row = self._at.get(file.path) or self._new(file)
            self._place(row, file)
            row.digest, row.state, row.reason = file.digest, DocumentState.FAILED, reason
            ids.append(row.id)
        return ids

    # --- which document ----------------------------------------------------------------------------

    def _moves(self) -> dict[str, DocumentRow]:
        """New path -> the document that moves there."""
        wanting = [
            file
            for file in self._files
            if file.digest and not ((row := self._at.get(file.path)) and row.digest == file.digest)
        ]
        if not wanting:
            return {}
        twins: dict[str, list[_Twin]] = {}
        for some in batches(sorted({file.digest for file in wanting})):
            columns = select(DocumentRow.digest, DocumentRow.id, DocumentRow.path, DocumentRow.state)
            for digest, id_, path, state in self._session.execute(
                columns.where(DocumentRow.digest.in_(some))
            ):
                twins.setdefault(digest, []).append(_Twin(id_, path, state))
        chosen: dict[str, _Twin] = {}  # by new path
        taken: set[str] = set()
        for file in wanting:
            name = file.path.rpartition("/")[2]
            # Of several copies, the one of that name: a folder of them was renamed. Then what need not be read.
            candidates = sorted(
                (twin for twin in twins.get(file.digest, ()) if twin.id not in taken),
                key=lambda twin: (
                    twin.path.rpartition("/")[2] != name,
                    twin.state == DocumentState.FAILED,
                    twin.path,
                ),
            )
            found = next((twin for twin in candidates if self._is_free(twin, file.digest)), None)
            if found:
                chosen[file.path] = found
                taken.add(found.id)
        self._keep_possible(chosen)
        rows = {row.id: row for row in self._rows(DocumentRow.id, {twin.id for twin in chosen.values()})}
        return {path: rows[twin.id] for path, twin in chosen.items()}

    def _is_free(self, twin: _Twin, digest: str) -> bool:
        """Whether the document's content has left its path."""
        coming = self._coming.get(twin.path)
        if coming is not None:
            return coming.digest != digest
        return twin.state == DocumentState.MISSING or self._is_gone(twin.path)

    def _keep_possible(self, chosen: dict[str, _Twin]) -> None:
        """Take out moves that need a place which stays occupied, until all that are left go together."""
        while True:
            moving = {twin.id for twin in chosen.values()}
            impossible = []
            for path, twin in chosen.items():
                row = self._at.get(path)
                is_missing = row is not None and row.state == DocumentState.MISSING
                can_come = row is None or row.id in moving or (is_missing and twin.path not in self._coming)
                # From its old place: nothing stands there, or another known document moves in.
                can_go = (
                    twin.path not in self._coming
                    or twin.path in chosen
                    or twin.state == DocumentState.MISSING
                )
                if not (can_come and can_go):
                    impossible.append(path)
            if not impossible:
                return
            for path in impossible:
                del chosen[path]

    # --- what becomes of it ------------------------------------------------------------------------

    def _move(self, row: DocumentRow, file: FileSeen) -> None:
        old_format = row.format
        moved_shelf = self._place(row, file)
        return_from_missing(row)
        # Another ending means another reader.
        if row.format != old_format or row.state == DocumentState.FAILED:
            self._wait(row)
        elif moved_shelf:
            change_shelf(row)

    def _same(self, row: DocumentRow, file: FileSeen) -> None:
        self._place(row, file)
        return_from_missing(row)
        if row.state in (DocumentState.FAILED, DocumentState.READING):
            # Saved again by somebody who read why it failed; a scan does not come here. Or copied once
            # more over itself while it was read: whoever reads it may have seen half of it.
            self._wait(row)

    def _new(self, file: FileSeen) -> DocumentRow:
        row = DocumentRow(
            id=str(uuid.uuid4()),
            path=file.path,
            shelf_id=self._shelf_id(file.shelf),
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
            received_at=self._now,
            updated_at=self._now,
        )
        self._session.add(row)
        return row

    def _take_free_place(self, row: DocumentRow, path: str) -> None:
        first, slash, _ = path.partition("/")
        shelf_id = self._shelf_id(first if slash else None)
        row.reshelve = row.reshelve or (row.shelf_id != shelf_id and row.chunks > 0)
        row.path, row.shelf_id = path, shelf_id

    def _place(self, row: DocumentRow, file: FileSeen) -> bool:
        """Put the row where the file is; True when that is another shelf."""
        shelf_id = self._shelf_id(file.shelf)
        moved_shelf = row.shelf_id != shelf_id
        row.path, row.shelf_id, row.format = file.path, shelf_id, file.format
        row.size_bytes, row.mtime_ns, row.updated_at = file.size_bytes, file.mtime_ns, self._now
        return moved_shelf

    @staticmethod
    def _wait(row: DocumentRow) -> None:
        row.state, row.reason, row.reshelve = DocumentState.WAITING, None, False
        # Its earlier text goes on being found until the new one is there, but counts for nothing:
        # should the file go and come back meanwhile, it must be read.
        row.chunks = row.embedded = row.rebuilt = 0

    def _rows(self, column: object, these: Iterable[str]) -> Iterator[DocumentRow]:
        for some in batches(sorted(these)):
            yield from self._session.scalars(select(DocumentRow).where(column.in_(some)))  # type: ignore[attr-defined]

    def _shelf_id(self, name: str | None) -> int | None:
        if name is None:
            return None
        if name not in self._shelves:
            made = insert(ShelfRow).values(name=name).returning(ShelfRow.id)
            self._shelves[name] = self._session.scalars(made).one()
        return self._shelves[name]


def return_from_missing(row: DocumentRow) -> None:
    """The file is back as it was: so is its document, and what is indexed of it counts again."""
    if row.state != DocumentState.MISSING:
        return
    if row.reason:
        row.state = DocumentState.FAILED
    elif row.chunks:
        is_whole = row.embedded == row.chunks
        row.state = DocumentState.FINDABLE if is_whole else DocumentState.FINDABLE_WORDS
    else:
        row.state = DocumentState.WAITING


def change_shelf(row: DocumentRow) -> None:
    """The document stands on another shelf, and both indexes filter by shelf."""
    if row.state in _IN_INDEXES:
        row.reshelve = True  # they are told its new shelf; nothing is read or embedded again
    else:
        row.state, row.reason, row.reshelve = DocumentState.WAITING, None, False


def hand_over(session: Session, ids: Sequence[str], now: datetime) -> set[str]:
    """Of documents whose files have gone, move those to a copy of the file that still waits to be read.

    Returns their ids. The waiting document is dropped; nothing of it was indexed.
    """
    copy = aliased(DocumentRow)
    pairs = session.execute(
        select(DocumentRow, copy)
        .join(copy, (copy.digest == DocumentRow.digest) & (copy.id != DocumentRow.id))
        .where(
            DocumentRow.id.in_(ids),
            DocumentRow.digest != "",
            DocumentRow.state.in_(_IN_INDEXES),
            DocumentRow.format == copy.format,
            copy.state == DocumentState.WAITING,
            copy.chunks == 0,
            copy.id.not_in(ids),
        )
        .order_by(copy.path)
    ).all()
    moved: set[str] = set()
    dropped: set[str] = set()
    for row, waiting in pairs:
        if row.id in moved or waiting.id in dropped:
            continue
        moved.add(row.id)
        dropped.add(waiting.id)
        session.expunge(waiting)
        session.execute(delete(DocumentRow).where(DocumentRow.id == waiting.id))
        moved_shelf = row.shelf_id != waiting.shelf_id
        row.path, row.shelf_id, row.updated_at = waiting.path, waiting.shelf_id, now
        row.size_bytes, row.mtime_ns = waiting.size_bytes, waiting.mtime_ns
        if moved_shelf:
            change_shelf(row)
        session.flush()
    return moved
