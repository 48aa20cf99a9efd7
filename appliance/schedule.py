"""The schedule: what the appliance does by the clock.

APScheduler keeps the time and nothing else; what was done is a job row in the
record, written by whoever does it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from apscheduler.schedulers.background import BackgroundScheduler

from ingest.inbox import Inbox


@contextmanager
def rescanning(inbox: Inbox, *, every_minutes: float) -> Iterator[None]:
    """Look through the library folder now and then: events get lost, on network mounts most of all."""
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(inbox.scan, "interval", minutes=every_minutes, max_instances=1, coalesce=True)
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)
