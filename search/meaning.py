"""Meaning: the vector side that serves, and the one that is being built beside it.

A vector index and the embedder of the same model belong together: a query
embedded by another model finds nonsense without an error. Its hard rule: the
two are replaced as one.
"""

from contextlib import suppress
from typing import NamedTuple

from search.embedder import LazyEmbedder
from search.vectors import VectorIndex


class VectorSide(NamedTuple):
    model: str  # the embedding model's id, see `search.embedder.ModelCard`
    vectors: VectorIndex
    embedder: LazyEmbedder
    generation: str = ""  # the name of its folder, see `search.generations`
    schema: str = ""


class Meaning:
    def __init__(
        self, serving: VectorSide, building: VectorSide | None = None, *, lost: str | None = None
    ) -> None:
        """`lost`: why what served before is gone, when `serving` has to be filled anew."""
        self.serving = serving
        self.building = building
        self.lost = lost

    @property
    def shortfall(self) -> str | None:
        """A sentence while a search by meaning does not find everything because an index was lost."""
        return None if self.lost is None else f"The index of vectors is being rebuilt, since {self.lost}."

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
        self.serving, self.building, self.lost = building, None, None
        return before

    def begin_anew(self, empty: VectorSide, lost: str) -> VectorSide:
        """An empty index serves, for what was lost; returns that, to be closed when nobody uses it."""
        before, self.serving, self.lost = self.serving, empty, lost
        return before

    def close(self) -> None:
        """Close both, and note what their files are, so that the next start knows damage when it sees it."""
        for side in (self.building, self.serving):
            if side is not None:
                side.vectors.close()
                with suppress(OSError):
                    if side.vectors.files is not None:
                        side.vectors.files.seal()
