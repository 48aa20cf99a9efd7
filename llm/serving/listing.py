"""Listings: a model file as it is told to people and programs.

One shape for the API and the command, whether the appliance runs or not.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from library.errors import ModelNotFound
from llm.engines.ctransformers.preflight import available
from llm.model_files.card import IN_WORDS, Kind
from llm.model_files.eyes import Eyes
from llm.model_files.footprint import Verdict
from llm.model_files.registry import ModelFile, Registry

# Where programs ask those that do not chat.
_ASKED_AT = {Kind.EMBEDDING: "/v1/embeddings", Kind.RERANK: "/v1/rerank"}
ROUGH = (
    "Its scores are rough: the engine leaves out the marks by which it tells the query from the passage. "
    "As an ONNX model it has them (`search.reranker`)."
)
NO_TEMPLATE = "It brings no chat template: the engine's general one is used, and answers may be odd."


class Serving(msgspec.Struct, frozen=True):
    """What is being done with a model."""

    state: str
    reason: str | None
    loaded: bool  # its memory is taken already, or is being taken
    chosen: bool = False  # it is the default
    device: str | None = None
    kind: Kind = Kind.CHAT
    eyes: Eyes | None = None  # what it was loaded with; None: what lies beside it now


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
    projector: str | None  # the path of what a model that sees sees with
    licence: str
    size_bytes: int
    parts: int
    digest: str | None
    duplicate_of: str | None
    memory: Verdict | None


def listed(registry: Registry, serving: Mapping[Path, Serving] = _NOTHING) -> list[ListedModel]:
    """Every model file, by path; then those that lie elsewhere, or have gone while they are loaded."""
    duplicates = registry.duplicates()
    files = [*registry.files(), *_elsewhere(registry, serving)]
    return [_listed(registry, model, serving.get(model.file), duplicates) for model in files]


def listed_one(registry: Registry, name: str, serving: Mapping[Path, Serving] = _NOTHING) -> ListedModel:
    """One, with its digest, which may take seconds for each gigabyte. Raises ModelNotFound, ModelFileInvalid."""
    others = {
        key: model
        for model in _elsewhere(registry, serving)
        for key in (model.id, model.path, model.path[1:])
    }
    try:
        model = registry.find(name)
    except ModelNotFound:
        if name not in others:
            raise
        model = others[name]
    if model.card:
        registry.digest(model)
    return _listed(registry, model, serving.get(model.file), registry.duplicates())


def listed_file(registry: Registry, file: Path, serving: Serving) -> ListedModel:
    """The one that is kept from a file, wherever that lies, and if it is there no more."""
    return _listed(registry, registry.of_file(file), serving, registry.duplicates())


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
        projector=None,
        licence="",
        size_bytes=0,
        parts=0,
        digest=None,
        duplicate_of=None,
        memory=None,
    )


def _elsewhere(registry: Registry, serving: Mapping[Path, Serving]) -> list[ModelFile]:
    """Those that are served and that no look through the folder finds."""
    found = {model.file for model in registry.files()}
    gone = [file for file, at in serving.items() if file not in found and (at.loaded or at.chosen)]
    return [registry.of_file(file) for file in gone]


def _listed(
    registry: Registry, model: ModelFile, serving: Serving | None, duplicates: dict[str, str]
) -> ListedModel:
    card = model.card
    eyes = (serving.eyes if serving else None) or registry.eyes(model.file)
    told = ListedModel(
        id=model.id,
        path=model.path,
        kind=(Kind.VISION if eyes.see else card.kind).value if card else None,
        state=model.state.value,
        reason=model.reason,
        notes=_notes(model, duplicates, eyes, registry),
        chosen=serving is not None and serving.chosen,
        device=serving.device if serving else None,
        name=card.name if card else "",
        architecture=card.architecture if card else "",
        parameters=card.parameters if card else None,
        context_tokens=(card.context_tokens or None) if card else None,
        quantisation=card.quantisation if card else None,
        template=card.template if card else False,
        projector=eyes.projector.path if eyes.projector and eyes.see else None,
        licence=card.licence if card else "",
        size_bytes=model.size_bytes,
        parts=card.parts if card else 1,
        digest=registry.known_digest(model) if card else None,
        duplicate_of=duplicates.get(model.path),
        memory=registry.estimate(model.file, card, loaded=serving is not None and serving.loaded, eyes=eyes)
        if card
        else None,
    )
    if serving is None or (card is None and not serving.loaded):
        return told
    if card is None:
        reason = f"It answers still, but its file cannot be loaded again. {model.reason}"
        return msgspec.structs.replace(told, kind=serving.kind.value, state=serving.state, reason=reason)
    return msgspec.structs.replace(told, state=serving.state, reason=serving.reason)


def _notes(model: ModelFile, duplicates: dict[str, str], eyes: Eyes, registry: Registry) -> tuple[str, ...]:
    notes = []
    if model.card and model.card.kind is not Kind.CHAT:
        notes.append(f"It is {IN_WORDS[model.card.kind]}.")
        if asked_at := _ASKED_AT.get(model.card.kind):
            notes.append(f"It is served: programs ask it at {asked_at}.")
        if model.card.kind is Kind.RERANK and model.card.marks_pairs:
            notes.append(ROUGH)
    elif model.card and not model.card.template:
        notes.append(NO_TEMPLATE)
    if eyes.says:
        notes.append(eyes.says)
    if model.card and model.card.kind is Kind.PROJECTOR:
        notes.append(_whose(model, registry))
    if model.card and model.card.engine:
        notes.append(f"It is written for {model.card.engine}. {available() or ''}".rstrip())
    if same := duplicates.get(model.path):
        notes.append(f"It has the same content as {same}.")
    return tuple(notes)


def _whose(projector: ModelFile, registry: Registry) -> str:
    """Which models see with a projector, or why none does."""
    if projector.card is None or projector.card.sight is None:
        return "It has no part that sees, and is not used."
    seeing = [
        model.path for model in registry.chat_models() if registry.eyes(model.file).projector is projector
    ]
    if seeing:
        return f"It belongs to {', '.join(seeing)}."
    return (
        "No chat model beside it sees with it: it needs one, in the same folder, "
        f"of the width {projector.card.width}."
    )
