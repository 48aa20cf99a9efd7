"""Moving: the same vectors to another place, without a moment in which search by meaning is gone.

Copied document by document from the index that serves into the one that is to
serve, below a watermark of its own, so that it may be interrupted at any time;
nothing is embedded again. What changes meanwhile is changed in both. When the
new one holds every chunk, the two are swapped in one transaction.

Its hard rule: the serving index is given up last. Dying anywhere before that
leaves it serving, and the move goes on from its watermark at the next start.
"""

import logging
import time
from collections.abc import Callable

from ingest.embedding import Embedding
from ingest.indexes import Indexes
from library.catalogue import Catalogue
from library.errors import IndexUnavailable
from library.jobs import Jobs
from library.queue import Queue
from library.watermark import Watermark
from search.meaning import VectorSide

log = logging.getLogger(__name__)

_AT_ONCE = 256  # vectors copied under the indexes' lock
_SLICE_S = 2.0  # then a document that has just come in has its turn
_AFTERWARDS_S = 2.0  # for searches that still ask the index that served before
MOVING = "The vectors are moved to another place."
KIND = "reindex"  # the job, told among the other ways to another index


class Move:
    """One move, from whatever serves to `indexes.meaning.building`."""

    def __init__(
        self,
        catalogue: Catalogue,
        queue: Queue,
        serving: Watermark,
        beside: Watermark,
        indexes: Indexes,
        jobs: Jobs,
        *,
        may_work: Callable[[], bool],
        on_swap: Callable[[VectorSide], None],
    ) -> None:
        """`on_swap` writes into the record where the vectors are from now on.

        The move is a job in the record from here on.
        """
        self._catalogue, self._queue, self._indexes, self._jobs = catalogue, queue, indexes, jobs
        self._serving, self._beside = serving, beside
        self._may_work, self._on_swap = may_work, on_swap
        self.more = True  # the last `work` ended only to let others have their turn
        self._begun = False
        self.job_id = jobs.begin(KIND, MOVING)

    def share(self) -> float:
        """How much is there already, 0..1."""
        chunks = self._catalogue.amount().chunks
        return round(self._beside.total() / chunks, 4) if chunks else 1.0

    def work(self) -> bool:
        """Copy for some seconds; True when the new index serves.

        Raises IndexUnavailable while either place cannot answer; it goes on
        from there another time.
        """
        self.more = False
        building = self._indexes.meaning.building
        if building is None:
            return False
        self._begin(building)
        began = time.monotonic()
        while self._may_work():
            if time.monotonic() - began > _SLICE_S:
                self.more = True
                return False
            if not self._copy_some(building):
                return self._swap(building)
        return False

    def hand_over(self, embedding: Embedding) -> None:
        """The workers go on as they were, into the other index."""
        embedding.side = self._indexes.meaning.serving

    def send_home(self) -> None:
        """No workers of its own."""

    def close(self) -> None:
        """No workers of its own; the job stays open, and the next start says that it was stopped."""

    def give_up(self, reason: str = "") -> None:
        """What was copied is not needed: end the job saying so, and the reason if it was no reader's."""
        said = "Given up: the vectors stay where they are."
        self._jobs.end(self.job_id, "failed" if reason else "cancelled", f"{reason} {said}".strip())

    def _begin(self, building: VectorSide) -> None:
        if self._begun:
            return
        # Left there by somebody, or by a move of long ago: not of this library as it is now.
        if not self._beside.total() and building.vectors.count():
            building.vectors.clear()
        self._begun = True

    def _copy_some(self, building: VectorSide) -> bool:
        """Copy the next vectors; False when there are no more."""
        with self._indexes.changing:
            if self._indexes.meaning.building is not building:
                return False  # it was given up meanwhile
            lacking = self._beside.lacking(_AT_ONCE)
            if not lacking:
                return False
            ranges, room = [], _AT_ONCE
            for document, _, mark in lacking:
                stop = min(document.chunks, mark + room)
                if mark < stop:
                    ranges.append((document, mark, stop))
                    room -= stop - mark
            chunks = self._queue.chunks_in(ranges)
            vectors = self._indexes.meaning.serving.vectors.vectors_of([chunk.id for chunk in chunks])
            lost = {chunk.document_id for chunk in chunks if chunk.id not in vectors}
            kept = [chunk for chunk in chunks if chunk.document_id not in lost]
            building.vectors.upsert(kept, [vectors[chunk.id] for chunk in kept])
            upto = {document.id: stop for document, _, stop in ranges if document.id not in lost}
            self._beside.raise_to(upto)
            if lost:
                log.warning(
                    "the serving index lacks vectors of %d documents; embedding them again", len(lost)
                )
                self._serving.reset(list(lost))
        return True

    def _swap(self, building: VectorSide) -> bool:
        with self._indexes.changing:
            if self._indexes.meaning.building is not building or self._beside.lacking(1):
                return False
            held, needed = building.vectors.count(), self._beside.total()
            if held < needed:
                self._beside.reset()
                raise IndexUnavailable(
                    f"the index that the vectors are moved to holds {held} of {needed}; they are copied again."
                )
            # The record first: dying between the two, the next start opens the new index.
            self._on_swap(building)
            before = self._indexes.meaning.swap()
        place = building.vectors.state().place
        log.info("the vectors are served from %s now", place)
        time.sleep(_AFTERWARDS_S)
        told = f"{held} vectors were moved; they are {place} now."
        try:
            before.vectors.erase()
        except IndexUnavailable as error:
            told += f" What was left behind could not be deleted: {error}"
        self._jobs.end(self.job_id, "done", told)
        return True
