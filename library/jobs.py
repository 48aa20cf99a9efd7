"""Jobs: what the appliance did on its own, kept so that a reader can be told.

Knows no schedule. A job that was running when the process died is failed at
the next start; it is never left running for ever.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import delete, select

from library.models import JobRow
from library.record import Record
from library.values import Job

_KEPT_A_KIND = 100


class JobNote:
    """What the job at hand has to say of itself; set `detail` to a sentence."""

    detail = ""


class Jobs:
    def __init__(self, record: Record, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._record = record
        self._clock = clock

    @contextmanager
    def run(self, kind: str) -> Iterator[JobNote]:
        """Record the work in the block: running, then done, or failed when it raises."""
        id_, note = self.begin(kind), JobNote()
        state = "failed"
        try:
            yield note
            state = "done"
        finally:
            self.end(id_, state, note.detail)

    def begin(self, kind: str, detail: str = "") -> str:
        """Record work that ends elsewhere, with `end`; returns the job's id."""
        id_ = str(uuid.uuid4())
        with self._record.writing(aside=True) as session:
            session.add(JobRow(id=id_, kind=kind, state="running", detail=detail, started_at=self._clock()))
        return id_

    def end(self, id_: str, state: str, detail: str) -> None:
        """The work is over: "done", "failed" or "cancelled", and a sentence."""
        with self._record.writing(aside=True) as session:
            row = session.get(JobRow, id_)
            if row is None:
                return
            row.state, row.detail, row.finished_at = state, detail, self._clock()
            old = select(JobRow.id).where(JobRow.kind == row.kind).order_by(JobRow.started_at.desc())
            session.execute(delete(JobRow).where(JobRow.id.in_(old.offset(_KEPT_A_KIND))))

    def one(self, id_: str) -> Job | None:
        with self._record.reading() as session:
            row = session.get(JobRow, id_)
        return None if row is None else _job_of(row)

    def fail_interrupted(self) -> int:
        """After a start: close what was running when the process ended. Returns how many."""
        with self._record.writing(aside=True) as session:
            rows = list(session.scalars(select(JobRow).where(JobRow.state == "running")))
            for row in rows:
                row.state, row.detail, row.finished_at = "failed", "Almanac was stopped.", self._clock()
            return len(rows)

    def latest(self, kind: str) -> Job | None:
        """The newest job of that kind."""
        with self._record.reading() as session:
            row = session.scalar(
                select(JobRow).where(JobRow.kind == kind).order_by(JobRow.started_at.desc()).limit(1)
            )
        return None if row is None else _job_of(row)

    def recent(self, limit: int) -> list[Job]:
        """The newest jobs of every kind, newest first."""
        with self._record.reading() as session:
            rows = session.scalars(select(JobRow).order_by(JobRow.started_at.desc()).limit(limit))
            return [_job_of(row) for row in rows]


def _job_of(row: JobRow) -> Job:
    return Job(row.id, row.kind, row.state, row.detail, row.started_at, row.finished_at)
