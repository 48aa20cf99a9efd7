"""The models of /v1: which there are, and which of them a request means.

Not every model answers at every endpoint. Its hard rule: whoever asks a model
at the wrong one is told the right one.
"""

import enum
from collections.abc import Sequence
from typing import Any

from litestar import get
from litestar.datastructures import State
from litestar.params import FromPath

from library.errors import InvalidRequest, ModelNotFound
from llm.model_files.card import Kind
from llm.serving.served import ServedModel
from web.house import House
from web.openai.described import described
from web.openai.shapes import Model, ModelList

LIBRARIAN = "almanac"
_SHELF_PREFIX = "almanac:"


class ModelKind(enum.StrEnum):
    LIBRARY = "answers from the library; ask it at /v1/chat/completions or /v1/responses"
    CHAT = "is a chat model; ask it at /v1/chat/completions, /v1/responses or /v1/completions"
    EMBEDDING = "is an embedding model; ask it at /v1/embeddings"
    RERANKING = "is a reranker; ask it at /v1/rerank"


_KINDS = {
    ModelKind.LIBRARY: "library",
    ModelKind.CHAT: Kind.CHAT.value,
    ModelKind.EMBEDDING: Kind.EMBEDDING.value,
    ModelKind.RERANKING: Kind.RERANK.value,
}
_OF_FILES = {Kind.CHAT: ModelKind.CHAT, Kind.EMBEDDING: ModelKind.EMBEDDING, Kind.RERANK: ModelKind.RERANKING}


@get("/v1/models", sync_to_thread=True, operation_class=described(None, ModelList))
def models(state: State) -> dict[str, Any]:
    """The library as a model, each shelf as a model, the models themselves, and those of the library's search."""
    house: House = state.house
    seeing = house.models.seeing()
    return {
        "object": "list",
        "data": [_model_shape(house, id_, kind, seeing) for id_, kind in _listed(house).items()],
    }


@get("/v1/models/{model_id:path}", sync_to_thread=True, operation_class=described(None, Model))
def model(state: State, model_id: FromPath[str]) -> dict[str, Any]:
    """One model. 404 when there is none of that id."""
    house: House = state.house
    wanted, known = model_id.lstrip("/"), _listed(house)
    if wanted not in known:
        raise ModelNotFound(wanted, tuple(known))
    return _model_shape(house, wanted, known[wanted], house.models.seeing())


async def asked_model(house: House, wanted: str, *kinds: ModelKind) -> ModelKind:
    """The kind of the model that a request names: one of `kinds`.

    For a name that nothing has, the models folder is looked through again.

    Raises ModelNotFound for a name that nothing has, InvalidRequest for a
    model of another kind.
    """
    kind = _kind(house, wanted)
    if kind is None:
        await house.models.look_again()
        kind = _kind(house, wanted)
    if kind is None and (of_file := house.models.kind_of(wanted)) is not None:
        kind = _OF_FILES[of_file]
    if kind is None:
        known = tuple(id_ for id_, kind in _listed(house).items() if kind in kinds)
        raise ModelNotFound(wanted, known, house.models.why_not(wanted))
    if kind not in kinds:
        raise InvalidRequest("model", f"cannot be {wanted!r} here: that {kind}.")
    return kind


def asked_file(house: House, wanted: str, own: str | None) -> ServedModel | None:
    """The model of the models folder that a request means; None for the library's `own`, which has the name first."""
    return None if wanted == own else house.models.named(wanted)


def shelf_of(model_id: str) -> str | None:
    """The shelf that a library model answers from; None for the whole library."""
    return model_id.removeprefix(_SHELF_PREFIX) if model_id.startswith(_SHELF_PREFIX) else None


def embedding_model_id(house: House) -> str | None:
    return house.embedder.card.id if house.embedder.card else None


def reranker_id(house: House) -> str | None:
    return house.retriever.reranker.folder.name if house.retriever.reranker else None


def _kind(house: House, wanted: str) -> ModelKind | None:
    """Without a look into the record for all but shelves: a token of chat is not to wait for one."""
    if wanted == house.models.default.id:
        return ModelKind.CHAT
    return (_listed(house) if wanted.startswith(_SHELF_PREFIX) else _unshelved(house)).get(wanted)


def _unshelved(house: House) -> dict[str, ModelKind]:
    named: dict[str | None, ModelKind] = {
        LIBRARIAN: ModelKind.LIBRARY,
        **dict.fromkeys(house.models.ids(), ModelKind.CHAT),
        embedding_model_id(house): ModelKind.EMBEDDING,
        reranker_id(house): ModelKind.RERANKING,
    }
    for of_file in (Kind.EMBEDDING, Kind.RERANK):
        for id_ in house.models.ids(of_file):
            named.setdefault(id_, _OF_FILES[of_file])
    return {id_: kind for id_, kind in named.items() if id_}


def _listed(house: House) -> dict[str, ModelKind]:
    """Every model with its kind, the library first, its shelves next."""
    shelves = {f"{_SHELF_PREFIX}{shelf.name}": ModelKind.LIBRARY for shelf in house.catalogue.shelves()}
    return {LIBRARIAN: ModelKind.LIBRARY} | shelves | _unshelved(house)


def _model_shape(house: House, id_: str, kind: ModelKind, seeing: Sequence[str]) -> dict[str, Any]:
    told = {
        "id": id_,
        "object": "model",
        "created": int(house.started_at.timestamp()),
        "owned_by": "almanac",
        "kind": _KINDS[kind],
    }
    if house.models.is_remote(id_):
        return told
    return told | {"input_modalities": ["text", "image"] if id_ in seeing else ["text"]}
