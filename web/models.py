"""The models: which there are, what each is, whether it can be used, and what is done with it."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.datastructures import State
from litestar.params import Body, FromPath

from library.errors import OnlyFromHere
from llm.engines.model_state import ModelState
from llm.engines.remote import RemoteModel
from llm.serving.listing import ListedModel, Serving, listed, listed_file, listed_one, listed_remote
from llm.serving.models import Models
from llm.serving.served import ServedModel
from web.api import require_json
from web.guards import LOOPBACK
from web.house import House


class ModelList(msgspec.Struct, frozen=True):
    folder: str
    items: list[ListedModel]


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str  # its id, or its path below the models folder


class ToLoad(Named, frozen=True):
    insist: bool = False  # also if it seems too large for what is free


class ToUnload(Named, frozen=True):
    now: bool = False  # answers under way are broken off


@get("/api/models", sync_to_thread=True)
def model_list(state: State) -> ModelList:
    """Every model file, as a look through the folder finds it now, and every remote model."""
    house: House = state.house
    registry = house.model_files
    if registry.look():
        registry.compare_in_background()
    remotes = [_told(house, model) for model in house.models.served() if isinstance(model.host, RemoteModel)]
    return ModelList(str(registry.folder), listed(registry, _served_files(house.models)) + remotes)


@get("/api/models/{name:path}", sync_to_thread=True)
def model(state: State, name: FromPath[str]) -> ListedModel:
    """One of them, by id or path; a file with its digest, which takes seconds for each gigabyte, once."""
    house: House = state.house
    house.model_files.look()
    name = name.removeprefix("/")
    for served in house.models.served():
        if isinstance(served.host, RemoteModel) and name in {served.id, served.host.settings.shown}:
            return _told(house, served)
    return listed_one(house.model_files, name, _served_files(house.models))


@post("/api/models/load", status_code=202)
async def load(
    request: Request[Any, Any, State], state: State, data: Annotated[ToLoad, Body()]
) -> ListedModel:
    """Begin to load a model; it will be loaded at the next start, too. 404 when there is none of that name."""
    _only_from_here(request)
    house: House = state.house
    await asyncio.to_thread(house.model_files.look)
    return _told(house, house.models.bring(data.model, insisted=data.insist))


@post("/api/models/unload", status_code=202)
async def unload(
    request: Request[Any, Any, State], state: State, data: Annotated[ToUnload, Body()]
) -> ListedModel:
    """Begin to unload a model, once the answers under way have ended."""
    _only_from_here(request)
    house: House = state.house
    await asyncio.to_thread(house.model_files.look)
    return _told(house, house.models.let_go(data.model, now=data.now))


@post("/api/models/default", status_code=202)
async def choose(
    request: Request[Any, Any, State], state: State, data: Annotated[Named, Body()]
) -> ListedModel:
    """Begin to make a model the one that answers, now and after every start; the former is unloaded after it."""
    _only_from_here(request)
    house: House = state.house
    await asyncio.to_thread(house.model_files.look)
    return _told(house, house.models.use(data.model))


ROUTES = (model_list, model, load, unload, choose)


def _only_from_here(request: Request[Any, Any, State]) -> None:
    require_json(request)
    if (request.client.host if request.client else "") not in LOOPBACK:
        raise OnlyFromHere(
            "Models are loaded and unloaded at the machine that Almanac runs on: type `almanac models` there."
        )


def _told(house: House, model: ServedModel) -> ListedModel:
    serving, host = _serving(house.models, model), model.host
    if isinstance(host, RemoteModel):
        return listed_remote(host.model_id, host.settings.shown, host.settings.context_tokens, serving)
    assert model.file is not None
    return listed_file(house.model_files, model.file, serving)


def _served_files(models: Models) -> dict[Path, Serving]:
    return {model.file: _serving(models, model) for model in models.served() if model.file is not None}


def _serving(models: Models, model: ServedModel) -> Serving:
    at_rest = model.state in {ModelState.REGISTERED, ModelState.UNLOADED}
    return Serving(
        model.state.value,
        model.problem if at_rest else model.reason,
        loaded=model.loaded,
        chosen=model is models.default,
        device=model.host.device,
        kind=model.kind,
        eyes=model.host.eyes if model.loaded else None,
    )
