"""Reindexing: an index built anew while the house serves, because a reader or an upgrade wants it.

One at a time; its job is a row in the record. Words are filled here, vectors by
the embedding loop (`ingest.rebuild`). Its hard rule: what serves is left in
peace until its successor is whole and proven, and is not missed if that never
comes about.
"""

import enum
import logging
import threading
from collections.abc import Callable

import msgspec

from ingest.indexes import Indexes
from ingest.moving import KIND, MOVING, Move
from ingest.pipeline import Pipeline
from ingest.rebuild import Outcome, Rebuild
from ingest.refill import NotWhole, refill
from library.errors import Busy, IndexUnavailable, NotRunning
from library.jobs import Jobs
from library.queue import Queue
from library.values import Job
from search.lexical import LexicalIndex
from search.meaning import VectorSide
from search.words import LexicalSide

log = logging.getLogger(__name__)

_BUSY = (
    "Indexes are being rebuilt already. Wait for the end (`almanac reindex` shows how far it "
    "is), or cancel it with `almanac reindex --cancel`."
)
_AFTERWARDS_S = 2.0  # for searches that still ask the index that served before


class What(enum.StrEnum):
    LEXICAL = "lexical"
    VECTORS = "vectors"
    ALL = "all"


class Makers(msgspec.Struct, frozen=True):
    """How indexes come about and go; given by the composition root, which knows folders and models."""

    new_words: Callable[[], LexicalSide]
    note_words: Callable[[str, str | None], None]  # into the record: the serving generation, and the next
    remove_words: Callable[[LexicalSide], None]
    new_vectors: Callable[[], VectorSide]  # empty, of the model that serves
    note_vectors: Callable[[str], None]  # into the record: it serves, and holds nothing yet
    remove_vectors: Callable[[VectorSide], None]
    rebuild: Callable[[VectorSide], Rebuild]  # for the side that `begin_beside` made
    begin_beside: Callable[[], VectorSide]  # empty, of the model that serves, and noted in the record
    move: Callable[[str | None], None]  # begin to; None: into this process
    end_move: Callable[[str], object]  # for that reason, or "" when a reader wants it


class Reindexing(msgspec.Struct, frozen=True):
    """How far it has come."""

    job_id: str
    what: What
    cause: str  # a sentence
    lexical: float | None  # 0..1; None when the words are not its matter, or no longer
    vectors: float | None
    cancellable: bool

    @property
    def share(self) -> float:
        """Of all of it; computing the vectors takes nearly all of the time."""
        return self.vectors if self.vectors is not None else self.lexical if self.lexical is not None else 1.0


class Reindexer:
    """Owns the job at hand. `work` is called by one thread, the rest by any."""

    def __init__(
        self,
        queue: Queue,
        jobs: Jobs,
        indexes: Indexes,
        pipeline: Pipeline,
        makers: Makers,
        *,
        on_change: Callable[[], None],
        stopping: threading.Event,
    ) -> None:
        """`on_change` is called when another index serves."""
        self._queue, self._jobs, self._indexes, self._pipeline = queue, jobs, indexes, pipeline
        self._makers, self._on_change, self._stopping = makers, on_change, stopping
        self._lock = threading.Lock()
        self._moving = threading.Lock()  # for what may wait for a server, which nobody else should wait for
        self._current: Reindexing | None = None
        self._cancelled = threading.Event()
        self._rebuild: Rebuild | None = None
        self._said: list[str] = []  # sentences for the job's end
        self._closely = False

    @property
    def current(self) -> Reindexing | None:
        """The job at hand, as far as it has come."""
        with self._lock:
            current, rebuild = self._current, self._rebuild
        if current is None and isinstance(move := self._pipeline.successor, Move):
            return Reindexing(move.job_id, What.VECTORS, MOVING, None, min(1.0, move.share()), True)
        if current is None or current.vectors is None or rebuild is None:
            return current
        # Once it serves, its watermark is no longer the one beside.
        share = 1.0 if self._indexes.meaning.building is None else min(1.0, rebuild.share())
        return msgspec.structs.replace(current, vectors=share)

    def adopt(
        self,
        rebuild: Rebuild | None,
        *,
        is_other_model: bool = False,
        cause: str = "It was begun before the last start.",
    ) -> None:
        """After a start: go on with what an earlier process began, or another version."""
        is_words = self._indexes.words.building is not None
        if rebuild is None and not is_words:
            return
        what = What.LEXICAL if rebuild is None else What.ALL if is_words else What.VECTORS
        building = self._indexes.words.building
        # What an earlier process left may be older than the record: a backup, say.
        self._closely = building is not None and building.lexical.count() > 0
        if is_other_model:
            cause = "Another embedding model was configured."
        with self._lock:
            self._rebuild = rebuild
            is_needed = is_other_model or not isinstance(self._indexes.words.serving.lexical, LexicalIndex)
            self._begin(what, cause, cancellable=not is_needed)

    def move(self, to: str | None) -> None:
        """Have the vectors on the server at that address from now on, or with None in this process.

        They are copied, not computed. Raises Busy while an index is being built, InvalidRequest and IndexUnavailable.
        """
        with self._moving:
            if self._current is not None:
                raise Busy(_BUSY)
            self._makers.move(to)

    def request(self, what: What, *, cause: str = "A reader asked for it.") -> Job:
        """Begin to build these indexes anew, where they are.

        Raises Busy while that is being done, and IndexUnavailable.
        """
        with self._moving:
            return self._request(what, cause)

    def _request(self, what: What, cause: str) -> Job:
        with self._lock:
            if self._current is not None or self._indexes.meaning.building is not None:
                raise Busy(_BUSY)
            if self._indexes.words.lost is not None and what is not What.VECTORS:
                raise Busy(f"{self._indexes.words.shortfall} Wait for that.")
            self._closely = False
            if what is not What.LEXICAL:
                self._indexes.meaning.serving.embedder.open()  # without a model there is nothing to compute
            try:
                if what is not What.VECTORS:
                    side = self._makers.new_words()
                    with self._indexes.changing:
                        self._makers.note_words(self._indexes.words.serving.generation, side.generation)
                        self._indexes.words.building = side
                if what is not What.LEXICAL:
                    with self._indexes.changing:
                        beside = self._makers.begin_beside()
                        self._indexes.meaning.building = beside
                    self._rebuild = self._makers.rebuild(beside)
                    self._pipeline.succeed_by(self._rebuild)
            except OSError as error:
                raise IndexUnavailable(
                    f"A new index cannot be made: {error.strerror or error}. Is the disk full?"
                ) from error
            finally:
                # Of what was begun before a failure, too: it is gone on with, and then whole.
                if self._indexes.words.building is not None or self._rebuild is not None:
                    is_needed = not isinstance(self._indexes.words.serving.lexical, LexicalIndex)
                    job = self._begin(what, cause, cancellable=not is_needed)
        return job

    def cancel(self) -> Job | None:
        """Give the job at hand up; what serves goes on. Raises NotRunning."""
        if isinstance(move := self._pipeline.successor, Move):
            self._makers.end_move("")
            return self._jobs.one(move.job_id)
        with self._lock:
            if self._current is None:
                raise NotRunning("No index is being rebuilt.")
            if not self._current.cancellable:
                raise NotRunning(
                    f"{self._current.cause} That cannot be given up while Almanac serves: configure or install "
                    "the earlier one again, and restart it."
                )
            self._cancelled.set()
            if self._rebuild is not None:
                self._rebuild.cancel()
                self._pipeline.wake()
            return self._jobs.one(self._current.job_id)

    def work(self) -> None:
        """Do what is due now; returns soon when that is nothing. Raises RecordError."""
        with self._lock:
            current, rebuild = self._current, self._rebuild
        if current is None:
            return
        if current.lexical is not None:
            self._fill_words()
        if self._stopping.is_set():
            return
        if rebuild is not None and rebuild.outcome is not Outcome.BUILDING:
            if rebuild.outcome is Outcome.SERVING:
                self._said.append("A new index of vectors serves.")
                self._on_change()
            elif rebuild.reason:
                self._said.append(rebuild.reason)
            with self._lock:
                self._rebuild = rebuild = None
        if rebuild is None:
            self._end()

    def fail_vectors(self, reason: str) -> None:
        """The index of vectors that is being built is damaged."""
        if isinstance(self._pipeline.successor, Move):
            self._makers.end_move(reason)
            return
        with self._lock:
            if self._rebuild is not None:
                self._rebuild.cancel(reason)
                self._pipeline.wake()

    def _begin(self, what: What, cause: str, *, cancellable: bool) -> Job:
        self._cancelled.clear()
        self._said.clear()
        id_ = self._jobs.begin(KIND, cause)
        self._current = Reindexing(
            id_,
            what,
            cause,
            0.0 if self._indexes.words.building is not None else None,
            0.0 if self._rebuild is not None else None,
            cancellable,
        )
        log.info("reindexing %s: %s", what, cause)
        job = self._jobs.one(id_)
        if job is None:
            raise RuntimeError("a job that was just begun is not there")
        return job

    def _fill_words(self) -> None:
        building = self._indexes.words.building
        if building is not None:
            problem = self._filled(building)
            if problem is None and not self._stopping.is_set():
                self._serve(building)
                self._said.append("A new index of words serves.")
            elif problem is not None:
                self._said.append(problem)
                self._drop(building)
        if not self._stopping.is_set():
            with self._lock:
                self._current = self._current and msgspec.structs.replace(self._current, lexical=None)

    def _filled(self, building: LexicalSide) -> str | None:
        """Fill it; a sentence when it will not be whole."""
        try:
            if refill(
                self._queue,
                self._indexes,
                building.lexical,  # type: ignore[arg-type] # what is built is of this version
                go_on=lambda: not self._stopping.is_set() and not self._cancelled.is_set(),
                on_share=self._tell,
                closely=self._closely,
            ):
                return None
        except (NotWhole, IndexUnavailable) as error:
            return f"The new index of words could not be built: {error}. The old one goes on."
        return None if self._stopping.is_set() else "It was cancelled."

    def _tell(self, share: float) -> None:
        with self._lock:
            self._current = self._current and msgspec.structs.replace(self._current, lexical=round(share, 4))

    def _serve(self, building: LexicalSide) -> None:
        with self._indexes.changing:
            # The record first: dying between the two, the next start opens the new index.
            self._makers.note_words(building.generation, None)
            before = self._indexes.words.swap()
        self._on_change()
        log.info("the lexical index %s serves now", building.generation)
        self._leave(before)

    def _drop(self, building: LexicalSide) -> None:
        with self._indexes.changing:
            self._makers.note_words(self._indexes.words.serving.generation, None)
            self._indexes.words.building = None
        self._leave(building)

    def _leave(self, side: LexicalSide) -> None:
        self._stopping.wait(_AFTERWARDS_S)
        try:
            side.lexical.close()
        except IndexUnavailable as error:
            log.warning("%s", error)  # it is removed in any case
        self._makers.remove_words(side)

    def _end(self) -> None:
        with self._lock:
            current = self._current
            cancelled = self._cancelled.is_set()
        if current is None:
            return
        served = [sentence for sentence in self._said if sentence.endswith("serves.")]
        if cancelled:
            state, detail = "cancelled", " ".join([*served, "It was cancelled; what serves goes on."])
        elif len(served) == (2 if current.what is What.ALL else 1):
            state, detail = "done", " ".join(served)
        else:
            state, detail = "failed", " ".join(self._said)
        # Before it is no longer at hand: whoever sees that may look how it ended.
        self._jobs.end(current.job_id, state, detail)
        with self._lock:
            self._current = None
        log.info("reindexing %s: %s", state, detail)
