"""Moves: having the vectors elsewhere from now on, because a reader or the configuration says so.

Opens the place they go to and hands the work to `ingest.moving`. Its hard
rule: what is written down first is what a restart needs to go on.
"""

from appliance.config import Config
from appliance.embedding_models import new_vectors, note_building, remove_vectors
from appliance.stacks import Stacks
from appliance.vector_places import HERE, checked_address, choose, open_index
from ingest.indexes import Indexes
from ingest.moving import KIND, Move
from ingest.pipeline import Pipeline
from library.errors import Busy, InvalidRequest
from library.values import Job
from library.watermark import BUILDING_ADDRESS, BUILDING_VECTORS, Watermark, swap
from search.meaning import VectorSide
from search.vectors import SCHEMA


class Moves:
    """One at a time; it goes on after a restart, and the choice holds until the configuration changes."""

    def __init__(self, config: Config, stacks: Stacks, indexes: Indexes, pipeline: Pipeline) -> None:
        self._config, self._stacks, self._indexes, self._pipeline = config, stacks, indexes, pipeline

    @property
    def under_way(self) -> bool:
        return isinstance(self._pipeline.successor, Move)

    def share(self) -> float | None:
        """How much of the move is done, 0..1; None while there is none."""
        successor = self._pipeline.successor
        return successor.share() if isinstance(successor, Move) else None

    def latest(self) -> Job | None:
        """The job of the newest move."""
        return self._stacks.jobs.latest(KIND)

    def begin(self, to: str | None) -> None:
        """Move the vectors to the server at that address, or with None into this process; it serves meanwhile.

        To where they are serving already: gives up the move that is under way.
        Raises InvalidRequest for an address that is none or the one they have,
        Busy while another move or another model's index is being built, and
        IndexUnavailable when the server does not answer.
        """
        address = HERE if to is None else checked_address(to)
        stacks, serving = self._stacks, self._stacks.meaning.serving
        if address == serving.vectors.address:
            if not self.give_up():
                raise InvalidRequest("to", "names the place where the vectors are already.")
            return
        if stacks.meaning.building is not None:
            raise Busy("Another vector index is being built; wait until it serves, see `almanac status`.")
        side = self._opened(address)
        try:
            side.vectors.clear()  # what a move of long ago left there is not of this library as it is now
        except BaseException:
            side.vectors.close()
            raise
        note_building(stacks.record, stacks.facts, side)
        choose(self._config, stacks.facts, address)
        with self._indexes.changing:
            stacks.meaning.building = side
        self._pipeline.succeed_by(open_move(stacks, self._indexes, self._pipeline))

    def _opened(self, address: str) -> VectorSide:
        """Here in a folder of its own; on a server in the one collection of its model, so that none is left behind."""
        config, facts, serving = self._config, self._stacks.facts, self._stacks.meaning.serving
        if address == HERE:
            return new_vectors(config, facts, serving.model, HERE, serving.embedder)
        dimensions = serving.vectors.dimensions
        vectors = open_index(config, facts, address, generation=serving.model, dimensions=dimensions)
        return VectorSide(serving.model, vectors, serving.embedder, serving.model, SCHEMA)

    def give_up(self, reason: str = "") -> bool:
        """End the move that is under way, for that reason if there is one, and keep what serves.

        False when there is none.
        """
        move, stacks = self._pipeline.successor, self._stacks
        if not isinstance(move, Move):
            return False
        choose(self._config, stacks.facts, stacks.meaning.serving.vectors.address)
        stacks.facts.put_all({BUILDING_VECTORS: None, BUILDING_ADDRESS: None})
        with self._indexes.changing:
            building, stacks.meaning.building = stacks.meaning.building, None
        self._pipeline.succeed_by(None)
        move.give_up(reason)
        Watermark(stacks.record, beside=True).reset()
        if building is not None:
            building.vectors.close()  # what a server holds is cleared when it is moved to again
            remove_vectors(self._config, building)
        return True


def open_move(stacks: Stacks, indexes: Indexes, pipeline: Pipeline) -> Move:
    """To where `stacks.meaning.building` is."""
    return Move(
        stacks.catalogue,
        stacks.queue,
        Watermark(stacks.record),
        Watermark(stacks.record, beside=True),
        indexes,
        stacks.jobs,
        may_work=pipeline.may_work,
        on_swap=lambda side: swap(stacks.record, side.generation, side.vectors.address),
    )
