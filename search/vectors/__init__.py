"""The vector index: unit vectors in, chunk ids out. One contract, two places where it can live.

    index.py       the contract, and what an index says of itself
    payload.py     what each vector carries, and how filters ask for it
    edge.py        in this process, on the disk (Qdrant Edge); the default
    edge_shard.py  how one of its shards is made, asked and optimised
    shards.py      the shards that an index in this process has on the disk
    optimising.py  a shard's graph, built by a child process
    server.py      on a Qdrant server or cluster (qdrant-client)

Nothing here is imported before an index is opened: neither vendor is small.
"""

from search.vectors.index import SCHEMA, IndexState, VectorIndex

__all__ = ["SCHEMA", "IndexState", "VectorIndex"]
