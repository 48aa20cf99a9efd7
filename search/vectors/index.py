"""The contract of a vector index, wherever it lives.

Points and cosines; no text. One suite, tests/contracts/test_vector_stores.py,
holds every index to what is promised here. Its hard rule: what a change has
returned from is durable, and every failure is an IndexUnavailable whose
sentence a reader can act upon.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from library.values import IndexedChunk, Labels
from search.query import Filters
from search.soundness import VectorFiles
from search.values import Candidate
from search.vectors.optimising import Optimiser

EVERYTHING = Filters()

# The name of how a vector is kept. Change it with that: an index of another name is built
# anew beside the old one, which serves until then. What a vector carries has a version of
# its own (`payload.VERSION`), and is told anew without a vector computed.
SCHEMA = "1"


class IndexState(msgspec.Struct, frozen=True):
    """How an index is, for /status. Nothing here takes a question to the network."""

    place: str  # "in this process", or the server's address
    trouble: str | None = None  # a sentence, while something is not as it should be
    vectors: int | None = None  # None where counting would cost a question to a server
    in_graph: int | None = None  # of these, found through a graph; the others are looked through one by one
    optimising: bool = False  # a graph is being built just now


class VectorIndex(Protocol):
    """Unit vectors of one embedding model, each under its chunk's id. Safe from several threads."""

    dimensions: int
    damage: str | None  # why it cannot be relied on any more; None of a server, which sees to itself

    @property
    def files(self) -> VectorFiles | None:
        """Its files, to be looked at for damage; None where another machine keeps them."""
        ...

    @property
    def optimiser(self) -> Optimiser | None:
        """Who builds its graph, to be held while somebody waits; None where another machine does it."""
        ...

    @property
    def address(self) -> str:
        """The server's URL, as the configuration has it; "" in this process."""
        ...

    def upsert(self, chunks: Sequence[IndexedChunk], vectors: Sequence[Sequence[float]]) -> None:
        """Add or replace the chunks' vectors, one of length `dimensions` each; durable on return."""
        ...

    def remove(self, chunk_ids: Iterable[str]) -> None:
        """Remove those chunks' vectors; durable on return. Unknown ids are no error."""
        ...

    def relabel(self, chunk_ids: Sequence[str], labels: Labels) -> None:
        """Note other labels for those of the chunks that have their vector here; durable on return."""
        ...

    def search(
        self, vector: Sequence[float], *, limit: int, filters: Filters = EVERYTHING
    ) -> list[Candidate]:
        """The `limit` nearest chunks to a unit vector [dimensions] by cosine, best first, that pass the filters."""
        ...

    def contains(self, vector: Sequence[float], chunk_id: str) -> bool:
        """Whether a search for that vector finds that chunk: the proof behind *findable*."""
        ...

    def held(self, chunk_ids: Sequence[str]) -> set[str]:
        """Those of the chunks that have a vector here."""
        ...

    def vectors_of(self, chunk_ids: Sequence[str]) -> dict[str, list[float]]:
        """The unit vectors of those of the chunks that are here, as precise as the index keeps them."""
        ...

    def count(self) -> int:
        """How many vectors are here."""
        ...

    def labelled(self) -> bool:
        """Whether every vector carries the labels that this version filters by."""
        ...

    def note_labelled(self) -> None:
        """Every vector has been relabelled by this version."""
        ...

    def state(self) -> IndexState: ...

    def close(self) -> None: ...

    def clear(self) -> None:
        """Hold nothing any more, labelled as this version labels."""
        ...

    def erase(self) -> None:
        """Close, and give back the room: nobody will ask this index again."""
        ...
