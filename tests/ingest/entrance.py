"""An entrance for tests: a real folder, the real inbox and a real record, without readers or indexes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ingest.folder import LibraryFolder
from ingest.inbox import Inbox
from library.arrivals import Arrivals
from library.catalogue import Catalogue
from library.jobs import Jobs
from library.models import DocumentRow
from library.queue import Queue
from library.record import Record
from library.texts import Text
from library.values import Chunk, Document, DocumentState, Extracted, Section
from library.watermark import Watermark


class Entrance:
    def __init__(
        self, place: Path, *, watch: Literal["auto", "events", "polling"] = "auto", poll_s: float = 600
    ) -> None:
        self.library = place / "library"
        self.library.mkdir(exist_ok=True)
        self.record = Record.open(place / "record.sqlite3")
        self.catalogue, self.arrivals, self.queue = (
            Catalogue(self.record),
            Arrivals(self.record),
            Queue(self.record),
        )
        self.inbox = Inbox(
            LibraryFolder(self.library, max_file_mib=1),
            self.arrivals,
            Jobs(self.record),
            settle_s=0.2,
            on_received=lambda: None,
            watch=watch,
            poll_s=poll_s,
        )

    def open(self) -> "Entrance":
        self.inbox.start()
        assert self.inbox.scanned.wait(30)
        return self

    def close(self) -> None:
        self.inbox.stop()
        self.record.close()

    def drop(self, path: str, text: str = "some words") -> Path:
        target = self.library / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def documents(self) -> dict[str, Document]:
        return {item.path: item for item in self.catalogue.documents(limit=500).items}

    def states(self) -> dict[str, str]:
        return {path: item.state.value for path, item in self.documents().items()}

    def until(self, states: dict[str, str]) -> dict[str, Document]:
        """Wait until these and no other documents are known, in these states, and nothing is under way."""
        until(lambda: self.states() == states and not self.inbox.unsettled, lambda: (self.states(), states))
        return self.documents()

    def received(self, *paths: str) -> dict[str, Document]:
        return self.until(dict.fromkeys(paths, "waiting"))

    def read_all(self) -> dict[str, Document]:
        """Do what the pipeline does for all that waits; each document is findable then."""
        while taken := self.queue.begin_reading(100):
            extracted = Extracted("T", (), None, None, (Section(0, 1, ("T",), "", "words"),))
            texts = [
                Text(one.document.id, one.digest, extracted, [Chunk(0, 0, 0, 5, "words")]) for one in taken
            ]
            everyone = {one.document.id: one.digest for one in taken}
            assert self.queue.store_texts(texts).keys() == everyone.keys()
            assert self.queue.advance(everyone, DocumentState.FINDABLE_WORDS) == everyone.keys()
            Watermark(self.record).raise_to(dict.fromkeys(everyone, 1))
            assert self.queue.advance(everyone, DocumentState.FINDABLE) == everyone.keys()
        return self.documents()

    def findable(self, *paths: str) -> dict[str, Document]:
        """Wait until exactly these are there, and have them read."""
        self.received(*paths)
        return self.read_all()

    def to_reshelve(self) -> set[str]:
        with self.record.reading() as session:
            return {row.path for row in session.query(DocumentRow).filter(DocumentRow.reshelve)}


def until(
    probe: Callable[[], object], seen: Callable[[], object] = lambda: "", timeout_s: float = 60
) -> None:
    ends = time.monotonic() + timeout_s
    while not probe():
        assert time.monotonic() < ends, f"it did not come about in time: {seen()}"
        time.sleep(0.02)
