"""Embedding models: which one serves, and which one an index is being built for.

The same for where its vectors live, see `appliance.vector_places`.

The record says which model made the vectors that serve; the configuration says
which one is wanted. Where the two differ, the old index goes on serving until
the new one is whole; where the old model's files are gone, nobody could embed
a query for its index, and the new one serves from the start.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from appliance.config import Config
from appliance.vector_places import HERE, index_folder, open_index, wanted_address
from library.errors import IndexUnavailable
from library.facts import Facts
from library.record import Record
from library.watermark import SERVING_ADDRESS, SERVING_MODEL, Watermark
from search.embedder import LazyEmbedder, model_card
from search.meaning import VectorSide

BUILDING = "vectors.building"  # the fact that names the model that an index is being built for, and where
_NO_MODEL = "none"


class Wanted(msgspec.Struct, frozen=True):
    """What to open: the models' folders and the vectors' addresses, serving and to be built."""

    serving: str
    serving_folder: Path
    serving_address: str
    building: str | None
    building_folder: Path
    building_address: str = HERE


def embedding_model_folder(config: Config) -> Path:
    """Of the configured model."""
    return config.models / "embedding" / config.search.embedding_model


def decide(config: Config, record: Record, facts: Facts) -> Wanted:
    """Compare the record with the configuration, and put in order what no model needs any more."""
    folder = embedding_model_folder(config)
    wanted = _id_of(folder)
    serving, address = facts.get(SERVING_MODEL), facts.get(SERVING_ADDRESS) or HERE
    if wanted is None:  # no model is there; an index may be
        return Wanted(serving or _NO_MODEL, folder, address, None, folder)
    goal = wanted_address(config, facts)
    if serving is None:
        _adopt_unnamed(config, wanted)
    old_folder = folder if serving == wanted else _folder_of(config, serving)
    if serving is not None and old_folder is None:
        Watermark(record).reset()
    if serving is None or old_folder is None or not Watermark(record).total():
        # Nothing that could serve: what is wanted serves from the start.
        choice = Wanted(wanted, folder, goal, None, folder)
    elif (serving, address) == (wanted, goal):
        choice = Wanted(wanted, folder, address, None, folder)
    else:
        choice = Wanted(serving, old_folder, address, wanted, folder, goal)
    _keep_only(config, record, facts, choice)
    return choice


def open_side(
    config: Config,
    facts: Facts,
    model: str,
    folder: Path,
    address: str,
    closing: Callable[[Callable[[], None]], object],
) -> VectorSide:
    """The index and the embedder of a model. Raises IndexUnavailable when the index is damaged."""
    embedder = LazyEmbedder(folder, threads=config.search.query_threads)
    vectors = open_index(config, facts, address, model=model, dimensions=embedder.dimensions)
    closing(vectors.close)
    return VectorSide(model, vectors, embedder)


def building_fact(model: str, address: str) -> str:
    return f"{model} {address}".rstrip()


def _keep_only(config: Config, record: Record, facts: Facts, choice: Wanted) -> None:
    for name, value in ((SERVING_MODEL, choice.serving), (SERVING_ADDRESS, choice.serving_address)):
        if (facts.get(name) or "") != value:
            facts.put(name, value)
    kept = {choice.serving} if choice.serving_address == HERE else set()
    building = choice.building and building_fact(choice.building, choice.building_address)
    if facts.get(BUILDING) != building:
        Watermark(record, beside=True).reset()
        facts.put(BUILDING, building)
    if choice.building is not None and choice.building_address == HERE:
        kept.add(choice.building)
    root = index_folder(config, choice.serving).parent
    for folder in root.iterdir() if root.exists() else ():
        if folder.is_dir() and folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _adopt_unnamed(config: Config, model: str) -> None:
    """An index from before there were several lies where the folders of all of them lie now."""
    root = index_folder(config, model).parent
    if (root / "edge_config.json").exists():
        aside = root.with_name("vectors-unnamed")
        root.rename(aside)
        root.mkdir()
        aside.rename(root / model)


def _id_of(folder: Path) -> str | None:
    with suppress(IndexUnavailable):
        return model_card(folder).id
    return None


def _folder_of(config: Config, model: str | None) -> Path | None:
    models = config.models / "embedding"
    folders = sorted(models.iterdir()) if models.is_dir() else []
    return next((folder for folder in folders if _id_of(folder) == model), None)
