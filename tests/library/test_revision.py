"""The record's revision: another number after every change of what the library holds, and only then."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from library.facts import Facts
from library.jobs import Jobs
from library.models import FactRow
from library.queue import Queue
from library.record import Record


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    record = Record.open(tmp_path / "record.sqlite3")
    yield record
    record.close()


def test_a_change_is_a_new_revision(record: Record) -> None:
    facts = Facts(record)
    before = record.revision
    facts.put("serving", "one")
    facts.put("serving", "two")
    facts.put("serving", None)
    assert record.revision == before + 3


def test_looking_for_work_and_finding_none_is_not(record: Record) -> None:
    before = record.revision
    assert Queue(record).begin_reading(10) == []
    Facts(record).get("serving")
    Facts(record).put("serving", None)
    assert record.revision == before


def test_what_is_said_of_jobs_is_not(record: Record) -> None:
    jobs, before = Jobs(record), record.revision
    jobs.end(jobs.begin("scan"), "done", "")
    assert jobs.latest("scan")
    assert record.revision == before


def test_what_was_undone_is_not(record: Record) -> None:
    before = record.revision

    def half_way() -> None:
        with record.writing() as session:
            session.add(FactRow(name="serving", value="one"))
            session.flush()
            raise KeyError

    with pytest.raises(KeyError):
        half_way()
    with record.writing():
        pass
    assert record.revision == before
    Facts(record).put("serving", "one")
    assert record.revision == before + 1
