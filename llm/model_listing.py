"""Listings: a model file as it is told to people and programs.

One shape for the API and the command, whether the appliance runs or not.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from llm.card import IN_WORDS, Kind
from llm.footprint import Verdict
from llm.registry import ModelFile, Registry

NO_TEMPLATE = "It brings no chat template: the engine's general one is used, and answers may be odd."


class Serving(msgspec.Struct, frozen=True):
    """What is being done with a model."""

    state: str
    reason: str | None
    loaded: bool  # its memory is taken already, or is being taken
    chosen: bool = False  # it is the default
    device: str | None = None


_NOTHING: Mapping[Path, Serving] = MappingProxyType({})


class ListedModel(msgspec.Struct, frozen=True):
    id: str
    path: str
    kind: str | None  # null where it is unusable, as most of what follows
    state: str
    reason: str | None
    notes: tuple[str, ...]  # sentences: what to know before using it
    chosen: bool
    device: str | None  # what it computes on, while it is loaded
    name: str
    architecture: str
    parameters: int | None
    context_tokens: int | None
    quantisation: str | None
    template: bool
    licence: str
    size_bytes: int
    parts: int
    digest: str | None
    duplicate_of: str | None
    memory: Verdict | None


def listed(registry: Registry, serving: Mapping[Path, Serving] = _NOTHING) -> list[ListedModel]:
    """Every model file, by path."""
    duplicates = registry.duplicates()
    return [_listed(registry, model, serving.get(model.file), duplicates) for model in registry.files()]


def listed_one(
    registry: Registry, name: str, serving: Mapping[Path, Serving] = _NOTHING, *, digest: bool = True
) -> ListedModel:
    """One, with its digest, which may take seconds for each gigabyte. Raises ModelNotFound, ModelFileInvalid."""
    model = registry.find(name)
    if model.card and digest:
        registry.digest(model)
    return _listed(registry, model, serving.get(model.file), registry.duplicates())


def listed_remote(name: str, url: str, context_tokens: int, serving: Serving) -> ListedModel:
    """One on another machine, of which only that is known."""
    return ListedModel(
        id=name,
        path=url,
        kind=Kind.CHAT.value,
        state=serving.state,
        reason=serving.reason,
        notes=(),
        chosen=serving.chosen,
        device=serving.device,
        name=name,
        architecture="",
        parameters=None,
        context_tokens=context_tokens,
        quantisation=None,
        template=True,
        licence="",
        size_bytes=0,
        parts=0,
        digest=None,
        duplicate_of=None,
        memory=None,
    )


def _listed(
    registry: Registry, model: ModelFile, serving: Serving | None, duplicates: dict[str, str]
) -> ListedModel:
    card = model.card
    told = ListedModel(
        id=model.id,
        path=model.path,
        kind=card.kind.value if card else None,
        state=model.state.value,
        reason=model.reason,
        notes=_notes(model, duplicates),
        chosen=serving is not None and serving.chosen,
        device=serving.device if serving else None,
        name=card.name if card else "",
        architecture=card.architecture if card else "",
        parameters=card.parameters if card else None,
        context_tokens=(card.context_tokens or None) if card else None,
        quantisation=card.quantisation if card else None,
        template=card.template if card else False,
        licence=card.licence if card else "",
        size_bytes=model.size_bytes,
        parts=card.parts if card else 1,
        digest=registry.known_digest(model) if card else None,
        duplicate_of=duplicates.get(model.path),
        memory=registry.estimate(card, loaded=serving is not None and serving.loaded) if card else None,
    )
    if serving is None or card is None:
        return told
    return msgspec.structs.replace(told, state=serving.state, reason=serving.reason)


def _notes(model: ModelFile, duplicates: dict[str, str]) -> tuple[str, ...]:
    notes = []
    if model.card and model.card.kind is not Kind.CHAT:
        notes.append(f"It is {IN_WORDS[model.card.kind]}.")
    elif model.card and not model.card.template:
        notes.append(NO_TEMPLATE)
    if same := duplicates.get(model.path):
        notes.append(f"It has the same content as {same}.")
    return tuple(notes)
