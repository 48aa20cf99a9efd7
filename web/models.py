"""The model files: what lies in the models folder, what each is, and whether it can be used."""

import msgspec
from litestar import get
from litestar.datastructures import State
from litestar.params import FromPath

from llm.model_listing import ListedModel, Worker, listed, listed_one
from llm.supervisor import ModelState
from web.house import House


class ModelFiles(msgspec.Struct, frozen=True):
    folder: str
    items: list[ListedModel]


@get("/api/models", sync_to_thread=True)
def model_files(state: State) -> ModelFiles:
    """Every model file, as a look through the folder finds it now."""
    house: House = state.house
    registry = house.model_files
    if registry.look():
        registry.compare_in_background()
    return ModelFiles(str(registry.folder), listed(registry, _worker(house)))


@get("/api/models/{name:path}", sync_to_thread=True)
def model_file(state: State, name: FromPath[str]) -> ListedModel:
    """One of them, by id or path, with its digest; taking that needs seconds for each gigabyte, once."""
    house: House = state.house
    house.model_files.look()
    return listed_one(house.model_files, name.removeprefix("/"), _worker(house))


def _worker(house: House) -> Worker | None:
    models = house.models
    if models.model_file is None:
        return None
    loaded = models.state in {ModelState.LOADING, ModelState.READY}
    return Worker(models.model_file, models.state.value, models.reason, loaded=loaded)
