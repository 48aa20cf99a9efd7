"""Meaning: the vector side that serves, and the one that is being built beside it.

A vector index and the embedder of the same model belong together: a query
embedded by another model finds nonsense without an error. Its hard rule: the
two are replaced as one.
"""

from typing import NamedTuple

from search.embedder import LazyEmbedder
from search.vectors import VectorIndex


class VectorSide(NamedTuple):
    model: str  # the embedding model's id, see `search.embedder.ModelCard`
    vectors: VectorIndex
    embedder: LazyEmbedder


class Meaning:
    def __init__(self, serving: VectorSide, building: VectorSide | None = None) -> None:
        self.serving = serving
        self.building = building

    @property
    def indexes(self) -> list[VectorIndex]:
        """Every vector index that is kept up to date."""
        building = self.building
        return [self.serving.vectors, *([building.vectors] if building is not None else [])]

    def swap(self) -> VectorSide:
        """What was built serves from now on; returns what served before, to be closed when nobody uses it."""
        before, building = self.serving, self.building
        if building is None:
            raise ValueError("nothing is being built")
        self.serving, self.building = building, None
        return before
