"""The record: one database, one writer.

Knows tables and transactions, not what they mean. Its hard rule: every write
goes through `writing()`, which lets one thread in at a time. SQLite allows one
writer anyway; holding our own lock turns its "database is locked" after a
timeout into an orderly queue.

On disk (SQLite): `record.sqlite3`, plus `-wal` and `-shm` while it is open. In
WAL mode readers never wait for the writer. `synchronous=NORMAL`: a power cut
may lose the last transactions but never corrupts the file, and everything
written here so far can be read from the folder again; a `kill -9` loses
nothing, since the pages are already the kernel's.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from library.errors import RecordError
from library.migrating import migrate

ROWS_A_QUERY = 500  # below SQLite's bound of 999 parameters in old builds

_T = TypeVar("_T")


def batches(items: Sequence[_T], size: int = ROWS_A_QUERY) -> Iterator[Sequence[_T]]:
    """Runs of at most `size`, for a query that names each of them."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


class Record:
    """An open database at the newest schema. Close it when done."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = threading.RLock()
        # Of this process: grows with every transaction that changed a row, when it is committed.
        self.revision = 0
        self._changed = False  # by the transaction that is open
        event.listen(engine, "after_cursor_execute", self._note)

    @classmethod
    def open(cls, path: Path) -> "Record":
        """Open or create the SQLite record at `path`, migrating it when it is older.

        Raises RecordError when it cannot be opened, or was written by a newer Almanac.
        """
        url = f"sqlite:///{path}"
        engine = create_engine(
            url,
            connect_args={"timeout": 30, "check_same_thread": False},
            json_deserializer=msgspec.json.decode,  # four lists a document, and ten documents a search
        )
        event.listen(engine, "connect", _configure_sqlite)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            migrate(path)
        except (OSError, DBAPIError) as error:
            engine.dispose()
            raise RecordError(
                f"The record {path} cannot be opened: {getattr(error, 'orig', None) or error}. "
                "Check that the folder is writable and the disk is not full; "
                "if the file is damaged, restore it from a backup."
            ) from error
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one consistent state and writes nothing. Raises RecordError."""
        with Session(self._engine, expire_on_commit=False) as session:
            try:
                yield session
            except DBAPIError as error:
                raise RecordError(f"The record could not be read: {error.orig}. Check the disk.") from error

    @contextmanager
    def writing(self, *, aside: bool = False) -> Iterator[Session]:
        """The one write transaction; committed at the end, undone on any error.

        What is written `aside` says nothing of what the library holds, and is no new revision of it.
        Raises RecordError when the database refuses (a full disk, say).
        """
        with self._writer, Session(self._engine, expire_on_commit=False) as session:
            self._changed = False
            try:
                with session.begin():
                    yield session
                if self._changed and not aside:
                    self.revision += 1
            except DBAPIError as error:
                raise RecordError(
                    f"The record could not be written: {error.orig}. Nothing of this step was kept; "
                    "free some disk space or check the disk, and it is tried again."
                ) from error

    def _note(self, *executed: Any) -> None:
        cursor, context = executed[1], executed[4]
        # Looking for work is an update, too, and mostly one of no row.
        if (context.isinsert or context.isupdate or context.isdelete) and cursor.rowcount != 0:
            self._changed = True

    def close(self) -> None:
        self._engine.dispose()


def _configure_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # SQLite would otherwise keep a private page cache of 2 MB per connection
    # and thread; the kernel's cache already holds those pages once for all.
    cursor.execute("PRAGMA cache_size=-1024")
    cursor.close()
