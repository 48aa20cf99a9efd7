"""The vector index: Qdrant Edge in this process, unit vectors in, chunk ids out.

Knows points and cosines; knows no text. Its hard rules: `optimize()` is never
called here, since it holds the interpreter for as long as it runs; and what
`upsert` has returned from survives a `kill -9`.

On disk: one Edge shard. Vectors are stored in Qdrant's 8-bit Turbo encoding
(384 bytes each, a quarter of the memory and of the time of float32), memory
mapped. Edge's write-ahead log is off: it costs 100 MB of disk and 60 MB of
resident memory, and the record already knows which chunks still lack their
vector, so each batch is flushed instead, and redone when that was cut short.
"""

import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import qdrant_edge

from library.errors import IndexUnavailable
from library.values import IndexedChunk
from search.soundness import VectorFiles, is_panic
from search.values import Candidate

# The name of what is stored with a vector. Change it with that: an index of
# another name is built anew beside the old one, which serves until then.
SCHEMA = "1"

# A page of a memory map that the disk has no room for ends the process (SIGBUS), without a word.
_ROOM_BYTES = 64 * 1024 * 1024


class VectorIndex:
    """An open shard of `dimensions`-long unit vectors. One per process and path."""

    def __init__(self, path: Path, *, dimensions: int) -> None:
        """Open or create. Raises IndexUnavailable when it is damaged or of other dimensions."""
        self._writing, self._path = threading.Lock(), path
        self.damage: str | None = None  # why it cannot be relied on any more
        self.files = VectorFiles(path)
        # Loading already folds its journals into its other files.
        told = _translated(f"The vector index {path} cannot be opened; delete that folder and it is rebuilt.")
        with told, self.files.writing():
            if (path / "edge_config.json").exists():
                shard = qdrant_edge.EdgeShard.load(str(path))
            else:
                path.mkdir(parents=True, exist_ok=True)
                shard = qdrant_edge.EdgeShard.create(str(path), _configuration(dimensions))
                by_keyword = qdrant_edge.PayloadSchemaType.Keyword
                shard.update(qdrant_edge.UpdateOperation.create_field_index("shelf", by_keyword))
        self._shard: qdrant_edge.EdgeShard | None = shard

    def upsert(self, chunks: Sequence[IndexedChunk], vectors: Sequence[Sequence[float]]) -> None:
        """Add or replace the chunks' vectors, one of length `dimensions` each; durable on return."""
        points = [
            qdrant_edge.Point(chunk.id, list(vector), {"shelf": chunk.labels.shelf or ""})
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]
        self._update(qdrant_edge.UpdateOperation.upsert_points(points))

    def remove(self, chunk_ids: Iterable[str]) -> None:
        """Remove those chunks' vectors; durable on return. Unknown ids are no error."""
        ids: list[qdrant_edge.PointId] = list(chunk_ids)
        if ids:
            self._update(qdrant_edge.UpdateOperation.delete_points(ids))

    def reshelve(self, chunk_ids: Sequence[str], shelf: str | None) -> None:
        """Note another shelf for those of the chunks that have their vector here; durable on return."""
        ids: list[qdrant_edge.PointId] = list(self.held(chunk_ids))
        if ids:
            self._update(qdrant_edge.UpdateOperation.set_payload(ids, {"shelf": shelf or ""}))

    def search(self, vector: Sequence[float], *, limit: int, shelf: str | None = None) -> list[Candidate]:
        """The `limit` nearest chunks to a unit vector [dimensions] by cosine, best first."""
        only_shelf = None
        if shelf is not None:
            match = qdrant_edge.MatchValue(shelf)
            only_shelf = qdrant_edge.Filter(must=[qdrant_edge.FieldCondition(key="shelf", match=match)])
        request = qdrant_edge.QueryRequest(
            limit=limit, query=qdrant_edge.Query.Nearest(list(vector)), filter=only_shelf
        )
        with self._reads():
            return [Candidate(str(point.id), point.score) for point in self._open_shard().query(request)]

    def contains(self, vector: Sequence[float], chunk_id: str) -> bool:
        """Whether a search for that vector finds that chunk: the proof behind *findable*."""
        only_it = qdrant_edge.Filter(must=[qdrant_edge.HasIdCondition({chunk_id})])
        request = qdrant_edge.QueryRequest(
            limit=1, query=qdrant_edge.Query.Nearest(list(vector)), filter=only_it
        )
        with self._reads():
            found = self._open_shard().query(request)
        # The stored vector is the same but for its 8-bit encoding.
        return bool(found) and found[0].score > 0.95

    def held(self, chunk_ids: Sequence[str]) -> set[str]:
        """Those of the chunks that have a vector here."""
        if not chunk_ids:
            return set()
        with self._reads():
            found = self._open_shard().retrieve(list(chunk_ids), with_payload=False, with_vector=False)
        return {str(point.id) for point in found}

    def count(self) -> int:
        with self._reads():
            return int(self._open_shard().info().points_count)

    def close(self) -> None:
        with self._writing:
            shard, self._shard = self._shard, None
            if shard is not None:
                # It tidies its files up on that occasion, also when nothing was written.
                with _translated("The vector index could not be closed."), self.files.writing():
                    shard.flush()
                    shard.close()

    def _update(self, operation: qdrant_edge.UpdateOperation) -> None:
        with self._writing:
            shard = self._open_shard()
            if shutil.disk_usage(self._path.parent).free < _ROOM_BYTES:
                raise IndexUnavailable("The vector index could not be written: the disk is full. Make room.")
            told = _translated("The vector index could not be written; is the disk full?")
            with self._damages(), told, self.files.writing():
                shard.update(operation)
                shard.flush()

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
        with self._damages(), _translated("The vector index could not be read."):
            yield

    def _open_shard(self) -> qdrant_edge.EdgeShard:
        if self._shard is None:
            raise IndexUnavailable("The vector index is closed.")
        return self._shard


@contextmanager
def _translated(sentence: str) -> Iterator[None]:
    """Edge raises bare `Exception` for everything, or panics; this is the only place that catches it."""
    try:
        yield
    except IndexUnavailable:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise IndexUnavailable(f"{sentence} ({error})") from error


def _configuration(dimensions: int) -> qdrant_edge.EdgeConfig:
    on_disk = qdrant_edge.Memory.Cold  # memory mapped; the kernel keeps what is used
    vectors = qdrant_edge.EdgeVectorParams(
        dimensions,
        qdrant_edge.Distance.Cosine,
        datatype=qdrant_edge.VectorStorageDatatype.Turbo8,
        memory=on_disk,
    )
    return qdrant_edge.EdgeConfig(
        vectors={"": vectors}, payload_memory=on_disk, id_tracker_memory=on_disk, wal_enabled=False
    )
