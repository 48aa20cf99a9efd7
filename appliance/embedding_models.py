"""Embedding models: which one serves, and which one an index is being built for.

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
from library.errors import IndexUnavailable
from library.facts import Facts
from library.record import Record
from library.watermark import SERVING_MODEL, Watermark
from search.embedder import LazyEmbedder, model_card
from search.meaning import VectorSide
from search.vectors import VectorIndex

BUILDING_MODEL = "vectors.building"  # the fact that names the model that an index is being built for
_NO_MODEL = "none"


class Wanted(msgspec.Struct, frozen=True):
    """The folders of the models to open: of the serving one, and of the one to build for."""

    serving: str
    serving_folder: Path
    building: str | None
    building_folder: Path


def embedding_model_folder(config: Config) -> Path:
    """Of the configured model."""
    return config.models / "embedding" / config.search.embedding_model


def index_folder(config: Config, model: str) -> Path:
    return config.data / "index" / "vectors" / model


def decide(config: Config, record: Record, facts: Facts) -> Wanted:
    """Compare the record with the configuration, and put in order what no model needs any more."""
    folder = embedding_model_folder(config)
    wanted = _id_of(folder)
    serving = facts.get(SERVING_MODEL)
    if wanted is None:  # no model is there; an index may be
        return Wanted(serving or _NO_MODEL, folder, None, folder)
    if serving is None:
        _adopt_unnamed(config, wanted)
    old_folder = _folder_of(config, serving) if serving not in (None, wanted) else None
    if serving is not None and serving != wanted and old_folder is None:
        Watermark(record).reset()
    if old_folder is None or serving is None:
        _keep_only(config, record, facts, serving=wanted, building=None)
        return Wanted(wanted, folder, None, folder)
    _keep_only(config, record, facts, serving=serving, building=wanted)
    return Wanted(serving, old_folder, wanted, folder)


def open_side(
    config: Config, model: str, folder: Path, closing: Callable[[Callable[[], None]], object]
) -> VectorSide:
    """The index and the embedder of a model. Raises IndexUnavailable when the index is damaged."""
    embedder = LazyEmbedder(folder, threads=config.search.query_threads)
    vectors = VectorIndex(index_folder(config, model), dimensions=embedder.dimensions)
    closing(vectors.close)
    return VectorSide(model, vectors, embedder)


def _keep_only(config: Config, record: Record, facts: Facts, *, serving: str, building: str | None) -> None:
    if facts.get(SERVING_MODEL) != serving:
        facts.put(SERVING_MODEL, serving)
    if facts.get(BUILDING_MODEL) != building:
        Watermark(record, beside=True).reset()
        facts.put(BUILDING_MODEL, building)
    root = index_folder(config, serving).parent
    for folder in root.iterdir() if root.exists() else ():
        if folder.is_dir() and folder.name not in (serving, building):
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
