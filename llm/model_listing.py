"""Listings: a model file as it is told to people and programs.

One shape for the API and the command, whether the appliance runs or not.
"""

from pathlib import Path

import msgspec

from llm.card import IN_WORDS, Kind
from llm.footprint import Verdict
from llm.registry import ModelFile, Registry

NO_TEMPLATE = "It brings no chat template: the engine's general one is used, and answers may be odd."


class Worker(msgspec.Struct, frozen=True):
    """What is being done with one of the files."""

    file: Path
    state: str
    reason: str | None
    loaded: bool  # its memory is taken already, or is being taken


class ListedModel(msgspec.Struct, frozen=True):
    id: str
    path: str
    kind: str | None  # null where it is unusable, as most of what follows
    state: str
    reason: str | None
    notes: tuple[str, ...]  # sentences: what to know before using it
    chosen: bool
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


def listed(registry: Registry, worker: Worker | None = None) -> list[ListedModel]:
    """Every model file, by path."""
    duplicates = registry.duplicates()
    return [_listed(registry, model, worker, duplicates) for model in registry.files()]


def listed_one(registry: Registry, name: str, worker: Worker | None = None) -> ListedModel:
    """One, with its digest, which may take seconds for each gigabyte. Raises ModelNotFound, ModelFileInvalid."""
    model = registry.find(name)
    if model.card:
        registry.digest(model)
    return _listed(registry, model, worker, registry.duplicates())


def _listed(
    registry: Registry, model: ModelFile, worker: Worker | None, duplicates: dict[str, str]
) -> ListedModel:
    card, chosen = model.card, worker is not None and worker.file == model.file
    told = ListedModel(
        id=model.id,
        path=model.path,
        kind=card.kind.value if card else None,
        state=model.state.value,
        reason=model.reason,
        notes=_notes(model, duplicates),
        chosen=chosen,
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
        memory=registry.estimate(card, loaded=chosen and worker is not None and worker.loaded)
        if card
        else None,
    )
    if worker is None or not chosen or card is None:
        return told
    return msgspec.structs.replace(told, state=worker.state, reason=worker.reason)


def _notes(model: ModelFile, duplicates: dict[str, str]) -> tuple[str, ...]:
    notes = []
    if model.card and model.card.kind is not Kind.CHAT:
        notes.append(f"It is {IN_WORDS[model.card.kind]}.")
    elif model.card and not model.card.template:
        notes.append(NO_TEMPLATE)
    if same := duplicates.get(model.path):
        notes.append(f"It has the same content as {same}.")
    return tuple(notes)
