"""The vector index in this process: Qdrant Edge, on the disk.

Its hard rules: `optimize()` is never called in the house's own process, since
it holds the interpreter for as long as it runs; and what a change has returned
from survives a `kill -9`.

On disk: one Edge shard. Vectors are stored in Qdrant's 8-bit Turbo encoding
(384 bytes each, a quarter of the memory and of the time of float32), memory
mapped. Edge's write-ahead log is off: it costs 100 MB of disk and 60 MB of
resident memory, and the record already knows which chunks still lack their
vector, so each batch is flushed instead, and redone when that was cut short.

New vectors are looked through one by one. When OPTIMISE_FROM of them have come
together, or fewer and then nothing for a while, a thread has a graph built, and searches and changes go on:

    copy the shard              under the write lock, so that the copy is of one moment
    a child builds the graph    in the copy; ids that change meanwhile are kept in mind
    catch up                    those ids are brought over as they are in the serving shard now
    swap                        the last of them under the write lock, then `index.json`

The serving shard is the truth until the swap. Dying anywhere before it leaves
a folder that the next start deletes; nothing that was removed can come back.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge

from library.errors import IndexUnavailable
from library.values import IndexedChunk, Labels
from search.query import Filters
from search.soundness import VectorFiles, size_bytes
from search.values import Candidate
from search.vectors.edge_shard import (
    condition_of,
    configuration,
    create_field_indexes,
    plain,
    translated,
    without_graph,
)
from search.vectors.index import EVERYTHING, IndexState
from search.vectors.optimising import Optimiser
from search.vectors.payload import VERSION, conditions_for, payload
from search.vectors.shards import Shards

log = logging.getLogger(__name__)

# Vectors without a graph that are worth building one for. At 100,000 a search that filters
# takes 2.3 times one that does not when there is none, 1.2 times with it: docs/decisions/0016.
OPTIMISE_FROM = 50_000
_STILL_S = 60.0  # without a change: then a fifth of that is worth a graph too
_RETRY_S = 600.0  # after a graph could not be built
_AT_ONCE = 512  # ids brought over in one step
_FEW = 2_000  # changes that are brought over while others wait

# A page of a memory map that the disk has no room for ends the process (SIGBUS), without a word.
_ROOM_BYTES = 64 * 1024 * 1024
_SPARE_BYTES = 1024 * 1024 * 1024  # left free while a graph is built: ingest goes on beside


class EdgeIndex:
    """An open index of `dimensions`-long unit vectors. One per process and path."""

    address = ""

    def __init__(self, path: Path, *, dimensions: int, optimise_from: int = OPTIMISE_FROM) -> None:
        """Open or create. Raises IndexUnavailable when it is damaged or of other dimensions."""
        self.dimensions, self._path, self._optimise_from = dimensions, path, optimise_from
        self._writing = threading.Lock()
        self.damage: str | None = None
        self._files = VectorFiles(path)
        self.files: VectorFiles | None = self._files
        self.optimiser: Optimiser = Optimiser()
        self._touched: set[str] | None = None  # ids that changed since the shard was copied
        self._wanted, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble: str | None = None
        self._graph_from = (
            0  # vectors without a graph that the last optimisation left: Edge spares small ones
        )
        # Loading already folds its journals into its other files.
        told = translated(f"The vector index {path} cannot be opened; delete that folder and it is rebuilt.")
        with told, self._files.writing():
            self._shards = Shards(path)
            self._shards.tidy()
            self._shard: qdrant_edge.EdgeShard | None = self._opened()
        self._changed_at = time.monotonic()
        self._consider_optimising()

    def upsert(self, chunks: Sequence[IndexedChunk], vectors: Sequence[Sequence[float]]) -> None:
        points = [
            qdrant_edge.Point(chunk.id, list(vector), dict(payload(chunk.labels)))
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]
        ids = [chunk.id for chunk in chunks]
        self._update(ids, lambda: qdrant_edge.UpdateOperation.upsert_points(points))
        self._consider_optimising()

    def remove(self, chunk_ids: Iterable[str]) -> None:
        ids = list(chunk_ids)
        self._update(ids, lambda: qdrant_edge.UpdateOperation.delete_points(list(ids)))

    def relabel(self, chunk_ids: Sequence[str], labels: Labels) -> None:
        ids = list(self.held(chunk_ids))
        fields = dict(payload(labels))
        self._update(ids, lambda: qdrant_edge.UpdateOperation.overwrite_payload(list(ids), fields))

    def search(
        self, vector: Sequence[float], *, limit: int, filters: Filters = EVERYTHING
    ) -> list[Candidate]:
        wanted = conditions_for(filters, labelled=self.labelled())
        only = qdrant_edge.Filter(must=[condition_of(condition) for condition in wanted]) if wanted else None
        nearest = qdrant_edge.Query.Nearest(list(vector))
        request = qdrant_edge.QueryRequest(limit=limit, query=nearest, filter=only)
        with self._reads():
            return [Candidate(str(point.id), point.score) for point in self._open_shard().query(request)]

    def contains(self, vector: Sequence[float], chunk_id: str) -> bool:
        only_it = qdrant_edge.Filter(must=[qdrant_edge.HasIdCondition({chunk_id})])
        nearest = qdrant_edge.Query.Nearest(list(vector))
        request = qdrant_edge.QueryRequest(limit=1, query=nearest, filter=only_it)
        with self._reads():
            found = self._open_shard().query(request)
        # The stored vector is the same but for its 8-bit encoding.
        return bool(found) and found[0].score > 0.95

    def held(self, chunk_ids: Sequence[str]) -> set[str]:
        if not chunk_ids:
            return set()
        with self._reads():
            found = self._open_shard().retrieve(list(chunk_ids), with_payload=False, with_vector=False)
        return {str(point.id) for point in found}

    def vectors_of(self, chunk_ids: Sequence[str]) -> dict[str, list[float]]:
        if not chunk_ids:
            return {}
        with self._reads():
            found = self._open_shard().retrieve(list(chunk_ids), with_payload=False, with_vector=True)
        return {str(point.id): plain(point.vector) for point in found}

    def count(self) -> int:
        with self._reads():
            return int(self._open_shard().info().points_count)

    def labelled(self) -> bool:
        return self._shards.labels == VERSION

    def note_labelled(self) -> None:
        told = translated("The vector index could not be written; is the disk full?")
        with self._writing, told, self._files.writing():
            self._shards.note_labels(VERSION)

    def state(self) -> IndexState:
        with self._reads():
            info = self._open_shard().info()
        return IndexState(
            place="in this process",
            trouble=self._trouble,
            vectors=int(info.points_count),
            in_graph=int(info.indexed_vectors_count),
            optimising=self.optimiser.pid is not None,
        )

    def close(self) -> None:
        self._closing.set()
        self._wanted.set()
        self.optimiser.close()
        if self._thread is not None:
            self._thread.join()
        with self._writing:
            shard, self._shard = self._shard, None
            if shard is not None:
                # It tidies its files up on that occasion, also when nothing was written.
                with translated("The vector index could not be closed."), self._files.writing():
                    shard.flush()
                    shard.close()

    def clear(self) -> None:
        told = translated("The vector index could not be emptied; is the disk full?")
        with told, self._files.writing():
            with self._writing:
                self._open_shard()
                self._shard = self._created()
                self._touched = None  # a graph that is being built is of what was
            self._shards.tidy()

    def erase(self) -> None:
        try:
            self.close()
        finally:  # also of one that is damaged
            self._shards.erase()

    # --- the shard -------------------------------------------------------------------------------

    def _opened(self) -> qdrant_edge.EdgeShard:
        current = self._shards.current
        if current is not None:
            shard = qdrant_edge.EdgeShard.load(str(current), self._configuration())
            if not self.labelled():
                create_field_indexes(shard)
            return shard
        return self._created()

    def _created(self) -> qdrant_edge.EdgeShard:
        created = self._shards.begin()
        created.mkdir(parents=True)
        shard = qdrant_edge.EdgeShard.create(str(created), self._configuration())
        create_field_indexes(shard)
        self._shards.count_on(created, labels=VERSION)
        return shard

    def _update(self, ids: Sequence[str], operation: Callable[[], qdrant_edge.UpdateOperation]) -> None:
        if not ids:
            return
        with self._writing:
            shard = self._open_shard()
            self._look_for_room(_ROOM_BYTES)
            if self._touched is not None:
                self._touched.update(ids)
            told = translated("The vector index could not be written; is the disk full?")
            with self._damages(), told, self._files.writing():
                shard.update(operation())
                shard.flush()
            self._changed_at = time.monotonic()

    def _look_for_room(self, needed_bytes: int) -> None:
        free = shutil.disk_usage(self._path).free
        if free < needed_bytes:
            raise IndexUnavailable(
                f"The vector index could not be written: the disk is full. {needed_bytes // 2**20} MiB are needed "
                f"and {free // 2**20} MiB are free. Make room."
            )

    @contextmanager
    def _damages(self) -> Iterator[None]:
        """What an engine cannot read or write of its own files is damage, whatever it says of it."""
        try:
            yield
        except IndexUnavailable as error:
            if error.__cause__ is not None:
                self.damage = self.damage or f"it could not be read or written ({error.__cause__})"
            raise

    @contextmanager
    def _reads(self) -> Iterator[None]:
        with self._damages(), translated("The vector index could not be read."):
            yield

    def _open_shard(self) -> qdrant_edge.EdgeShard:
        if self._shard is None:
            raise IndexUnavailable("The vector index is closed.")
        return self._shard

    def _configuration(self) -> qdrant_edge.EdgeConfig:
        return configuration(self.dimensions, self._optimise_from)

    # --- its graph -------------------------------------------------------------------------------

    def _consider_optimising(self) -> None:
        """Have the thread look, if enough has come together; once the index is large, there is one."""
        if self.count() < self._optimise_from or self._closing.is_set():
            return
        with self._writing:
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_optimised, name="optimising")
                self._thread.start()
        if self._pays():
            self._wanted.set()

    def _pays(self) -> bool:
        """Whether a graph is worth its price: a large index is not copied for every small shelf."""
        count, without = self.count(), without_graph(self._open_shard()) - self._graph_from
        enough = max(self._optimise_from, count // 10)
        still = time.monotonic() - self._changed_at >= _STILL_S
        return count >= self._optimise_from and without >= (enough // 5 if still else enough)

    def _keep_optimised(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait(_STILL_S)
            self._wanted.clear()
            try:
                if not self._closing.is_set() and self._pays():
                    with self._files.writing():
                        self._optimise()
                self._trouble = None
            except Exception as error:  # the outermost loop of a thread: it must not end unseen
                if self._closing.is_set():
                    return
                self._trouble = (
                    f"The vector index finds everything, but more slowly: its graph could not be built: {error} "
                    "It is tried again by itself."
                )
                log.exception("the vector index could not be optimised")
                self._closing.wait(_RETRY_S)
                self._wanted.set()

    def _optimise(self) -> None:
        """Build the graph beside, catch up, swap. Raises IndexUnavailable and OSError; nothing is lost then."""
        current = self._shards.current
        if current is None:
            return
        # The copy, and the graph's segment before the one it replaces is dropped.
        self._look_for_room(3 * size_bytes(current) + _SPARE_BYTES)
        built, began = self._shards.begin(), time.monotonic()
        try:
            with self._writing:
                self._shards.copy(built)
                self._touched = set()
            copied = time.monotonic()
            self.optimiser.run(built)
            with translated("The optimised vector index cannot be opened."):
                shard = qdrant_edge.EdgeShard.load(str(built), self._configuration())
                left = without_graph(shard)
                self._catch_up(shard)
                self._swap(shard, built)
        except BaseException:
            with self._writing:
                self._touched = None
            shutil.rmtree(built, ignore_errors=True)
            raise
        self._shards.tidy()
        # Not what came meanwhile: that is worth a graph of its own, and is looked at right away.
        self._graph_from = left
        self._wanted.set()
        log.info(
            "the vector index was optimised in %.0f s, %.1f s of it copying",
            time.monotonic() - began,
            copied - began,
        )

    def _catch_up(self, shard: qdrant_edge.EdgeShard) -> None:
        """Bring over what has changed meanwhile, until little enough is left for `_swap`."""
        while not self._closing.is_set():
            with self._writing:
                if self._touched is None or len(self._touched) <= _FEW:
                    return
                touched, self._touched = self._touched, set()
            self._bring_over(shard, touched)

    def _swap(self, shard: qdrant_edge.EdgeShard, built: Path) -> None:
        with self._writing:
            if self._closing.is_set() or self._touched is None:
                raise IndexUnavailable("the index was closed or emptied meanwhile.")
            self._bring_over(shard, self._touched)
            shard.flush()
            self._shards.count_on(built, labels=self._shards.labels)
            # Not closed: a search may be in it. It goes with the last of them.
            self._shard, self._touched = shard, None

    def _bring_over(self, shard: qdrant_edge.EdgeShard, ids: Iterable[str]) -> None:
        """Have these ids in that shard as they are in the serving one: as they are now, or not at all."""
        left = list(ids)
        while left:
            some, left = left[:_AT_ONCE], left[_AT_ONCE:]
            self._look_for_room(_ROOM_BYTES)
            records = self._open_shard().retrieve(list(some), with_payload=True, with_vector=True)
            here = {str(record.id) for record in records}
            points = [qdrant_edge.Point(r.id, plain(r.vector), r.payload) for r in records]
            gone: list[qdrant_edge.PointId] = [id_ for id_ in some if id_ not in here]
            if points:
                shard.update(qdrant_edge.UpdateOperation.upsert_points(points))
            if gone:
                shard.update(qdrant_edge.UpdateOperation.delete_points(gone))
        shard.flush()
