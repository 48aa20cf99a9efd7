"""Facts: single values of the record, by name.

For what is neither a document nor a job and yet must survive a restart, or
change in the same transaction as the rows it speaks of.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from library.models import FactRow
from library.record import Record


class Facts:
    def __init__(self, record: Record) -> None:
        self._record = record

    def get(self, name: str) -> str | None:
        with self._record.reading() as session:
            row = session.get(FactRow, name)
            return None if row is None else row.value

    def put(self, name: str, value: str | None) -> None:
        """Write a value, or remove it with None."""
        self.put_all({name: value})

    def put_all(self, values: Mapping[str, str | None]) -> None:
        """Write or remove several at once: all of them, or after a failure none."""
        with self._record.writing() as session:
            for name, value in values.items():
                row = session.get(FactRow, name)
                if row is None and value is not None:
                    session.add(FactRow(name=name, value=value))
                elif row is not None and value is None:
                    session.delete(row)
                elif row is not None and value is not None:
                    row.value = value


def peek(file: Path, name: str) -> str | None:
    """One value of a record that another process may have open, and which is left as it is. None if it has none."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=1)) as record:
            row = record.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    except sqlite3.Error:  # not there, or not to be read by whoever asks
        return None
    return None if row is None else str(row[0])
