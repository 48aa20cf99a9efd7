"""The vector index on a Qdrant server or cluster, through qdrant-client.

Its hard rules: nothing is sent anywhere but to the address that the reader's
own configuration names, proxies of the environment included; and building the
index asks nothing of the server, so that a house opens while it is away.

One collection for each embedding model, made when it is first written to, with
the version of its payload in the collection's metadata. After the server did
not answer, it is left alone for some seconds: a search says at once that it
goes by words, instead of waiting for the time limit each time.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from library.errors import IndexUnavailable
from library.values import IndexedChunk, Labels
from search.query import Filters
from search.soundness import VectorFiles
from search.values import Candidate
from search.vectors.index import EVERYTHING, IndexState
from search.vectors.optimising import Optimiser
from search.vectors.payload import INTEGERS, KEYWORDS, VERSION, AnyOf, Between, conditions_for, payload
from search.vectors.troubles import explained, shown

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_LEFT_ALONE_S, _LONGEST_ALONE_S = 5.0, 60.0
_A_REQUEST = 256  # points; 384 float32 as JSON are about 8 KiB each
# Keys of the collection's metadata.
_LABELS = "almanac_labels"
_OWNER = "almanac_house"


class ServerSettings(msgspec.Struct, frozen=True):
    """How to reach a server, and how it is to keep what it is given."""

    url: str
    key: str = ""
    ca_file: str = ""  # of a certificate authority of the house's own
    timeout_s: float = 10.0
    collection: str = "almanac"  # the beginning of the collections' names
    shards: int = 1
    replicas: int = 1
    write_replicas: int = 1  # that must have a change before it counts as made
    on_disk: bool = True  # vectors memory mapped
    quantised: bool = True  # and their 8-bit copy in memory

    def __repr__(self) -> str:
        return f"ServerSettings({shown(self.url)})"  # never the key

    def connect(self) -> "QdrantClient":
        """Asks nothing of the server yet."""
        from qdrant_client import QdrantClient  # noqa: PLC0415 - a house without a server never loads it

        return QdrantClient(
            url=self.url,
            # As a header: given as a key, it makes the library warn of plain HTTP on every start.
            headers={"api-key": self.key} if self.key else None,
            timeout=max(1, round(self.timeout_s)),
            check_compatibility=False,  # would ask the server, in a thread of its own
            trust_env=False,
            verify=ssl.create_default_context(cafile=self.ca_file) if self.ca_file else True,
        )


class ServerIndex:
    """One collection. Safe from several threads."""

    optimiser: Optimiser | None = None
    damage: str | None = None
    files: VectorFiles | None = None

    def __init__(
        self,
        settings: ServerSettings,
        *,
        model: str,
        dimensions: int,
        owner: str,
        connect: Callable[[], "QdrantClient"] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`model` is the embedding model's id, or one generation of its vectors; `owner` this library's id.

        `connect` opens the client on first use.
        """
        self.dimensions, self._settings, self._owner = dimensions, settings, owner
        self._connect, self._clock = connect or settings.connect, clock
        self._collection = f"{settings.collection}-{model}"
        self._opening = threading.Lock()
        self._client: QdrantClient | None = None
        self._labels: int | None = None  # of the collection; None before it was looked at
        self._alone_until, self._trouble, self._failures = 0.0, "", 0
        self._closed = False

    @property
    def address(self) -> str:
        return self._settings.url

    def upsert(self, chunks: Sequence[IndexedChunk], vectors: Sequence[Sequence[float]]) -> None:
        for vector in vectors:
            if len(vector) != self.dimensions:
                raise IndexUnavailable(
                    f"A vector of {len(vector)} dimensions was refused: the index has {self.dimensions}."
                )
        pairs = list(zip(chunks, vectors, strict=True))
        with self._asking() as client:
            from qdrant_client import models  # noqa: PLC0415

            for first in range(0, len(pairs), _A_REQUEST):
                points = [
                    models.PointStruct(id=chunk.id, vector=list(vector), payload=dict(payload(chunk.labels)))
                    for chunk, vector in pairs[first : first + _A_REQUEST]
                ]
                client.upsert(self._collection, points=points, wait=True)

    def remove(self, chunk_ids: Iterable[str]) -> None:
        ids = list(chunk_ids)
        if not ids:
            return
        with self._asking() as client:
            from qdrant_client import models  # noqa: PLC0415

            for some in _batches(ids):
                client.delete(self._collection, points_selector=models.PointIdsList(points=some), wait=True)

    def relabel(self, chunk_ids: Sequence[str], labels: Labels) -> None:
        ids = list(self.held(chunk_ids))
        if not ids:
            return
        with self._asking() as client:
            for some in _batches(ids):
                client.overwrite_payload(
                    self._collection, payload=dict(payload(labels)), points=some, wait=True
                )

    def search(
        self, vector: Sequence[float], *, limit: int, filters: Filters = EVERYTHING
    ) -> list[Candidate]:
        with self._asking() as client:
            wanted = conditions_for(filters, labelled=self._labels == VERSION)
            found = client.query_points(
                self._collection,
                query=list(vector),
                query_filter=_filter(wanted) if wanted else None,
                limit=limit,
                with_payload=False,
            )
            return [Candidate(str(point.id), point.score) for point in found.points]

    def contains(self, vector: Sequence[float], chunk_id: str) -> bool:
        with self._asking() as client:
            from qdrant_client import models  # noqa: PLC0415

            only_it = models.Filter(must=[models.HasIdCondition(has_id=[chunk_id])])
            found = client.query_points(
                self._collection, query=list(vector), query_filter=only_it, limit=1, with_payload=False
            )
            return bool(found.points) and found.points[0].score > 0.95

    def held(self, chunk_ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        if not chunk_ids:
            return found
        with self._asking() as client:
            for some in _batches(list(chunk_ids)):
                points = client.retrieve(self._collection, some, with_payload=False, with_vectors=False)
                found |= {str(point.id) for point in points}
        return found

    def vectors_of(self, chunk_ids: Sequence[str]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        if not chunk_ids:
            return found
        with self._asking() as client:
            for some in _batches(list(chunk_ids)):
                points = client.retrieve(self._collection, some, with_payload=False, with_vectors=True)
                found |= {str(point.id): _plain(point.vector) for point in points}
        return found

    def count(self) -> int:
        with self._asking() as client:
            return client.count(self._collection, exact=True).count

    def labelled(self) -> bool:
        with self._asking():
            return self._labels == VERSION

    def note_labelled(self) -> None:
        with self._asking() as client:
            client.update_collection(self._collection, metadata={_LABELS: VERSION})
            self._labels = VERSION

    def state(self) -> IndexState:
        return IndexState(place=shown(self.address), trouble=self._trouble or None)

    def close(self) -> None:
        with self._opening:
            self._closed = True
            if self._client is not None:
                self._client.close()
                self._client = None

    def clear(self) -> None:
        with self._asking() as client:
            client.delete_collection(self._collection)
            self._labels = None
        with self._asking():
            pass  # whoever asks makes what is not there

    def erase(self) -> None:
        """Raises IndexUnavailable when the server is away; the collection is then left there."""
        try:
            with self._asking() as client:
                client.delete_collection(self._collection)
        finally:
            self.close()

    # --- the server ------------------------------------------------------------------------------

    @contextmanager
    def _asking(self) -> Iterator["QdrantClient"]:
        """The client, its collection there. Raises IndexUnavailable for whatever goes wrong in the block."""
        try:
            yield self._opened()
        except IndexUnavailable:
            raise
        except Exception as error:
            raise self._noted(error) from error
        self._trouble, self._failures = "", 0

    def _opened(self) -> "QdrantClient":
        with self._opening:
            if self._closed:
                raise IndexUnavailable("The vector index is closed.")
            if self._clock() < self._alone_until:
                raise IndexUnavailable(self._trouble)
            try:
                if self._client is None:
                    self._client = self._connect()
                if self._labels is None:
                    self._labels = self._look_at_collection(self._client)
            except IndexUnavailable:
                raise
            except Exception as error:  # noted inside the lock: who waits for it need not find out again
                raise self._noted(error) from error
            return self._client

    def _noted(self, error: Exception) -> IndexUnavailable:
        """The sentence for a reader; where the server is away, it is left alone for a while, longer each time."""
        away, sentence = explained(error, shown(self.address), self._collection)
        if away:
            self._trouble = sentence
            self._alone_until = self._clock() + min(_LONGEST_ALONE_S, _LEFT_ALONE_S * 2**self._failures)
            self._failures = min(self._failures + 1, 10)
        return IndexUnavailable(sentence)

    def _look_at_collection(self, client: "QdrantClient") -> int:
        """The version of its payload; made when it is not there.

        Raises IndexUnavailable for other dimensions, and for a collection that is not ours to change.
        """
        if not client.collection_exists(self._collection):
            self._create_collection(client)
        collection = client.get_collection(self._collection)
        config = collection.config
        size = getattr(config.params.vectors, "size", None)
        if size != self.dimensions:
            raise IndexUnavailable(
                f"The collection {self._collection!r} on {shown(self.address)} holds vectors of {size} dimensions, "
                f"and this embedding model makes {self.dimensions}. Delete it there, or choose another name with "
                "`search.vector_server.collection`."
            )
        metadata = config.metadata or {}
        if metadata.get(_OWNER) != self._owner:
            raise IndexUnavailable(
                f"The collection {self._collection!r} on {shown(self.address)} belongs to another library, or to "
                "this one before its record was made anew. Choose another name with "
                "`search.vector_server.collection`, or delete it there if nobody needs it."
            )
        self._create_field_indexes(client, set(collection.payload_schema or ()))
        return int(metadata.get(_LABELS, 0))

    def _create_collection(self, client: "QdrantClient") -> None:
        from qdrant_client import models  # noqa: PLC0415

        settings = self._settings
        int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        client.create_collection(
            self._collection,
            vectors_config=models.VectorParams(
                size=self.dimensions, distance=models.Distance.COSINE, on_disk=settings.on_disk
            ),
            shard_number=settings.shards,
            replication_factor=settings.replicas,
            write_consistency_factor=settings.write_replicas,
            on_disk_payload=settings.on_disk,
            quantization_config=models.ScalarQuantization(scalar=int8) if settings.quantised else None,
            metadata={_LABELS: VERSION, _OWNER: self._owner},
        )

    def _create_field_indexes(self, client: "QdrantClient", there: set[str]) -> None:
        """Those that are not there: none in a new collection, some after a start that was cut short."""
        from qdrant_client import models  # noqa: PLC0415

        kinds = dict.fromkeys(KEYWORDS, models.PayloadSchemaType.KEYWORD)
        kinds |= dict.fromkeys(INTEGERS, models.PayloadSchemaType.INTEGER)
        for field, kind in kinds.items():
            if field not in there:
                client.create_payload_index(self._collection, field, kind)


def reach(settings: ServerSettings) -> None:
    """Ask a server whether it is there. Raises IndexUnavailable, which says why it cannot be used."""
    try:
        client = settings.connect()
        try:
            client.get_collections()
        finally:
            client.close()
    except Exception as error:
        raise IndexUnavailable(explained(error, shown(settings.url), settings.collection)[1]) from error


def _filter(wanted: Sequence[AnyOf | Between]) -> Any:
    from qdrant_client import models  # noqa: PLC0415

    return models.Filter(
        must=[
            models.FieldCondition(key=condition.field, match=models.MatchAny(any=list(condition.values)))
            if isinstance(condition, AnyOf)
            else models.FieldCondition(
                key=condition.field, range=models.Range(gte=condition.lowest, lte=condition.highest)
            )
            for condition in wanted
        ]
    )


def _plain(vector: Any) -> list[float]:
    return [float(value) for value in vector]


def _batches(ids: list[str]) -> Iterator[list[Any]]:
    for first in range(0, len(ids), _A_REQUEST):
        yield ids[first : first + _A_REQUEST]
