"""A shard of Qdrant Edge: how it is made, asked and optimised, in Edge's own terms.

Knows the vendor's values and nothing of when they are used. Its hard rule is
that of `edge`: `optimise` is only ever called in a process of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import qdrant_edge

from library.errors import IndexUnavailable
from search.soundness import is_panic
from search.vectors.payload import INTEGERS, KEYWORDS, AnyOf, Between


def without_graph(shard: qdrant_edge.EdgeShard) -> int:
    """How many of its vectors are looked through one by one."""
    info = shard.info()
    return int(info.points_count) - int(info.indexed_vectors_count)


def plain(vector: Any) -> list[float]:
    """The one vector of a point; Edge's type allows for several, and for none."""
    return list(vector)


def optimise(path: Path) -> None:
    """Build the graph of a shard that is open nowhere. Only ever called in a child, see `optimising`."""
    shard = qdrant_edge.EdgeShard.load(str(path))
    shard.optimize()
    shard.flush()
    shard.close()


def read_through(path: Path) -> None:
    """Look at every vector of a shard that is open nowhere. Raises IndexUnavailable when that cannot be done.

    An engine that maps a file which was cut short ends its process, so only ever called in a child, see `search.trial`.
    """
    with translated("The shard cannot be read."):
        described = msgspec.json.decode((path / "edge_config.json").read_bytes())
        size = int(described["vectors"][""]["size"])
        shard = qdrant_edge.EdgeShard.load(str(path))
        nearest = qdrant_edge.Query.Nearest([size**-0.5] * size)
        every_one = qdrant_edge.SearchParams(exact=True)  # whatever graph there is
        shard.query(qdrant_edge.QueryRequest(limit=10, query=nearest, params=every_one))
        shard.flush()
        shard.close()


def configuration(dimensions: int, optimise_from: int) -> qdrant_edge.EdgeConfig:
    on_disk = qdrant_edge.Memory.Cold  # memory mapped; the kernel keeps what is used
    vectors = qdrant_edge.EdgeVectorParams(
        dimensions,
        qdrant_edge.Distance.Cosine,
        datatype=qdrant_edge.VectorStorageDatatype.Turbo8,
        memory=on_disk,
    )
    kib = max(1, optimise_from * dimensions // 1024 // 6)
    return qdrant_edge.EdgeConfig(
        vectors={"": vectors},
        payload_memory=on_disk,
        id_tracker_memory=on_disk,
        wal_enabled=False,
        hnsw_config=qdrant_edge.HnswIndexConfig(
            m=16, ef_construct=100, full_scan_threshold=kib, memory=on_disk
        ),
        optimizers=qdrant_edge.EdgeOptimizersConfig(indexing_threshold=kib),
    )


def create_field_indexes(shard: qdrant_edge.EdgeShard) -> None:
    kinds = dict.fromkeys(KEYWORDS, qdrant_edge.PayloadSchemaType.Keyword)
    kinds |= dict.fromkeys(INTEGERS, qdrant_edge.PayloadSchemaType.Integer)
    for field, kind in kinds.items():
        shard.update(qdrant_edge.UpdateOperation.create_field_index(field, kind))
    shard.flush()


def condition_of(condition: AnyOf | Between) -> qdrant_edge.FieldCondition:
    if isinstance(condition, Between):
        span = qdrant_edge.RangeFloat(gte=condition.lowest, lte=condition.highest)
        return qdrant_edge.FieldCondition(key=condition.field, range=span)
    # One value is asked for at half the price of a list of one.
    one = len(condition.values) == 1
    match = (
        qdrant_edge.MatchValue(condition.values[0]) if one else qdrant_edge.MatchAny(list(condition.values))
    )
    return qdrant_edge.FieldCondition(key=condition.field, match=match)


@contextmanager
def translated(sentence: str) -> Iterator[None]:
    """Edge raises bare `Exception` for everything, or panics; this is the only place that catches it."""
    try:
        yield
    except IndexUnavailable:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise IndexUnavailable(f"{sentence} ({error})") from error
