"""Room: what fits into memory beside what is loaded already.

Counts by estimate, since a model takes its memory little by little; decides
nothing about who has to go, which is `llm.serving.models`'. Its hard rule: what
others may still take counts as taken.
"""

from collections.abc import Sequence

import msgspec

from library.errors import ModelFileInvalid
from llm.model_files.card import inspect_served
from llm.model_files.footprint import Footprint, footprint, verdict
from llm.model_files.free_memory import free_memory, own_memory
from llm.model_files.registry import Registry
from llm.serving.served import ServedModel


class Residence(msgspec.Struct, frozen=True, kw_only=True):
    """Which models may be in memory, and for how long."""

    on_demand: bool = True  # whether a request may have a model loaded
    at_once: int = 2
    memory_bytes: int = 0  # for all of them together; 0: what is free
    idle_s: float = 1800  # 0: never unloaded for that; the default model never is
    gpu_free_bytes: int = 0  # what GPUs can take besides


class Room:
    def __init__(self, registry: Registry, residence: Residence) -> None:
        self._registry, self._residence = registry, residence

    def lacking(
        self, model: ServedModel, loaded: Sequence[ServedModel], *, alone: bool = False
    ) -> str | None:
        """None if there is room for it, beside those that are loaded or `alone`; else what is lacking, in words."""
        loaded = [other for other in loaded if other is not model]
        others = [] if alone else loaded
        needs, limit = self.needs(model), self._residence.memory_bytes
        if limit:
            free: int | None = limit - sum(self.needs(other).total for other in others)
        elif (free := free_memory()) is not None:
            # What the others have not taken yet of what they may take.
            promised = sum(max(0, self.needs(other).total - own_memory(other.host.pid)) for other in others)
            given_back = sum(own_memory(other.host.pid) for other in loaded) if alone else 0
            free += self._residence.gpu_free_bytes - promised + given_back
        if free is not None and needs.total > free:
            says = verdict(needs, max(0, free)).says
            return (
                f"{says} All models together may take {limit >> 20:,} MiB (`llm.memory_mib`)."
                if limit
                else says
            )
        return "" if len(others) >= self._residence.at_once else None

    def needs(self, model: ServedModel) -> Footprint:
        """By estimate; nothing of a file that is broken or gone."""
        assert model.file is not None
        # A large vocabulary takes a tenth of a second to be read, and everybody waits for it.
        known = (listed.card for listed in self._registry.files() if listed.file == model.file)
        eyes = (model.host.eyes if model.loaded else None) or self._registry.eyes(model.file)
        try:
            card = next(known, None) or inspect_served(model.file)
            return footprint(card, self._registry.slots_of(model.file), eyes.card)
        except ModelFileInvalid:  # said when it is started
            return Footprint(0, 0, 0)
