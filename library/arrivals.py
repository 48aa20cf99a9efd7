"""Arrivals: a file comes, changes, moves or goes, and the record takes note.

Knows rows; knows neither the folder nor the indexes. Its hard rule: the row of
a document is the durable queue entry. Whatever is noted here survives a
`kill -9`, and nothing more needs to be remembered to have the file read.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import or_, select, update

from library.intake import Intake, hand_over
from library.models import DocumentRow
from library.record import Record, batches
from library.values import DocumentState, FileKnown, FileSeen, Receipt

_FEW = 20  # folders that are asked for by name; for more, all paths are read once


class Arrivals:
    def __init__(self, record: Record, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._record = record
        self._clock = clock

    def receive(self, file: FileSeen, *, is_gone: Callable[[str], bool]) -> tuple[Receipt, str]:
        """Note a settled file; returns what that came to and the document's id."""
        return self.receive_all([file], is_gone=is_gone)[0]

    def receive_all(
        self, files: Sequence[FileSeen], *, is_gone: Callable[[str], bool]
    ) -> list[tuple[Receipt, str]]:
        """Note settled files, each path once, in one transaction; what each came to, and its document's id.

        `is_gone` says of a path whether its file has left the folder: a new
        path with a digest whose old path is gone is a move, and costs nothing.
        """
        with self._record.writing() as session, session.no_autoflush:
            return Intake(session, files, is_gone, self._clock()).run()

    def refuse(self, file: FileSeen, reason: str) -> str:
        """Note a file that cannot even be looked at; returns the document's id."""
        return self.refuse_all([(file, reason)])[0]

    def refuse_all(self, refused: Sequence[tuple[FileSeen, str]]) -> list[str]:
        """Note files that cannot even be looked at, each with the reason, in one transaction."""
        with self._record.writing() as session, session.no_autoflush:
            return Intake(session, [file for file, _ in refused], lambda _: False, self._clock()).refuse(
                [reason for _, reason in refused]
            )

    def mark_missing(self, paths: Iterable[str], *, below: bool = True) -> None:
        """The files at, or with `below` in the folders at, these paths are gone. What is indexed stays, unseen.

        Where the same content came by another name and still waits, it was
        moved by copying: the document goes there, and the one that waits goes.
        """
        gone = set(paths)
        with self._record.writing() as session:
            present = select(DocumentRow.id, DocumentRow.path).where(
                DocumentRow.state != DocumentState.MISSING
            )
            ids, files = [], set()
            for some in batches(sorted(gone)):
                for id_, path in session.execute(present.where(DocumentRow.path.in_(some))):
                    ids.append(id_)
                    files.add(path)
            folders = gone - files if below else set()
            if folders:
                inside = present
                if len(folders) <= _FEW:
                    starts = (DocumentRow.path.startswith(f"{path}/", autoescape=True) for path in folders)
                    inside = present.where(or_(*starts))
                ids += [id_ for id_, path in session.execute(inside) if _lies_in(path, folders)]
            now = self._clock()
            for some in batches(ids):
                moved = hand_over(session, some, now)
                session.execute(
                    update(DocumentRow)
                    .where(DocumentRow.id.in_(set(some) - moved), DocumentRow.state != DocumentState.MISSING)
                    .values(state=DocumentState.MISSING, updated_at=now)
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


def _lies_in(path: str, folders: set[str]) -> bool:
    end = path.rfind("/")
    while end > 0:
        if path[:end] in folders:
            return True
        end = path.rfind("/", 0, end)
    return False
