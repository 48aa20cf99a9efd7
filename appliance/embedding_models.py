"""Embedding models: which one serves, and which one an index is being built for.

The record says which generation of the vector index serves, and by which model
it was made; the configuration says which model is wanted. Where the two differ,
the old index goes on serving until the new one is whole; where the old model's
files are gone, nobody could embed a query for its index, and the new one serves
from the start. An index that is gone or damaged is replaced by an empty one.
"""

import logging
from contextlib import suppress
from pathlib import Path

import msgspec

from appliance.config import Config
from library.errors import IndexUnavailable
from library.facts import Facts
from library.record import Record
from library.watermark import BUILDING_VECTORS, SERVING_VECTORS, Watermark, begin_anew
from search.embedder import LazyEmbedder, model_card
from search.generations import (
    discard,
    keep_only,
    make_usable,
    mark_schema,
    new_generation,
    schema_of,
    stem_of,
)
from search.meaning import Meaning, VectorSide
from search.soundness import VectorFiles
from search.trial import survives
from search.vectors import SCHEMA, VectorIndex

log = logging.getLogger(__name__)

_NO_MODEL = "none"
_SCHEMA_WITHOUT_A_MARK = "1"  # of indexes from before they said so


class Wanted(msgspec.Struct, frozen=True):
    """The generations to open, with their models' folders: the serving one, and the one being built."""

    serving: str
    serving_folder: Path
    building: str | None
    building_folder: Path


def embedding_model_folder(config: Config) -> Path:
    """Of the configured model."""
    return config.models / "embedding" / config.search.embedding_model


def index_folder(config: Config, generation: str) -> Path:
    return config.data / "index" / "vectors" / generation


def open_meaning(config: Config, record: Record, facts: Facts) -> Meaning:
    """The vector indexes that the record names. Raises OSError and IndexUnavailable when none can be made."""
    wanted = _decide(config, record, facts)
    embedder = LazyEmbedder(wanted.serving_folder, threads=config.search.query_threads)
    lost, building = None, None
    serving, trouble = _opened(config, wanted.serving, embedder)
    if serving is None:
        # Before the first start there is none to be lost; and one that never held anything is no loss.
        lost = trouble if Watermark(record).total() else None
        discard(index_folder(config, wanted.serving))
        serving = new_vectors(config, stem_of(wanted.serving), embedder)
        if lost is not None:
            log.error("the vector index is lost; everything is embedded again: %s", lost)
        begin_anew(record, serving.generation)
    if wanted.building is not None:
        same = wanted.building_folder == wanted.serving_folder
        beside = (
            embedder if same else LazyEmbedder(wanted.building_folder, threads=config.search.query_threads)
        )
        building, _ = _opened(config, wanted.building, beside)
        if building is None:
            discard(index_folder(config, wanted.building))
            building = begin_beside(config, record, facts, stem_of(wanted.building), beside)
    return Meaning(serving, building, lost=lost)


def new_vectors(config: Config, model: str, embedder: LazyEmbedder) -> VectorSide:
    """An empty index for that model, in a folder of its own. Raises OSError and IndexUnavailable."""
    generation = new_generation(model)
    folder = index_folder(config, generation)
    mark_schema(folder, SCHEMA)
    vectors = VectorIndex(folder, dimensions=embedder.dimensions)
    return VectorSide(model, vectors, embedder, generation, SCHEMA)


def begin_beside(
    config: Config, record: Record, facts: Facts, model: str, embedder: LazyEmbedder
) -> VectorSide:
    """An empty index that is to be built beside the serving one, noted in the record."""
    side = new_vectors(config, model, embedder)
    Watermark(record, beside=True).reset()
    facts.put(BUILDING_VECTORS, side.generation)
    return side


def _opened(config: Config, generation: str, embedder: LazyEmbedder) -> tuple[VectorSide | None, str]:
    """A generation, or why it cannot be had."""
    folder = index_folder(config, generation)
    files = VectorFiles(folder)
    if not files.is_there:
        return None, "its folder was gone"
    trouble = files.trouble()
    if trouble is not None:
        return None, f"it was damaged: {trouble}"
    if not files.is_sealed and not survives(folder):
        return None, "it was damaged"
    try:
        vectors = VectorIndex(folder, dimensions=embedder.dimensions)
        vectors.count()
    except IndexUnavailable as error:
        log.warning("%s", error)
        return None, "it could not be opened"
    schema = schema_of(folder) or _SCHEMA_WITHOUT_A_MARK
    return VectorSide(stem_of(generation), vectors, embedder, generation, schema), ""


def _decide(config: Config, record: Record, facts: Facts) -> Wanted:
    """Compare the record with the configuration, and put in order what no model needs any more."""
    for folder in (config.data / "index", index_folder(config, "")):
        make_usable(folder)
    folder = embedding_model_folder(config)
    model = _id_of(folder)
    serving, building = facts.get(SERVING_VECTORS), facts.get(BUILDING_VECTORS)
    if model is None:  # no model is there; an index may be
        return Wanted(serving or _NO_MODEL, folder, None, folder)
    if serving is None:
        _adopt_unnamed(config, model)
    old_folder = _folder_of(config, stem_of(serving)) if serving not in (None, model) else None
    if serving is not None and stem_of(serving) != model and old_folder is None:
        Watermark(record).reset()
        serving = None
    if serving is None or stem_of(serving) == model:
        serving = serving or model
        # What is being built of the same model was asked for by a reader, or by another schema.
        is_wanted = building is not None and stem_of(building) == model and building != serving
        schema = schema_of(index_folder(config, serving)) or _SCHEMA_WITHOUT_A_MARK
        if not is_wanted:
            is_old = index_folder(config, serving).exists() and schema != SCHEMA
            building = new_generation(model) if is_old else None
        old_folder = folder
    elif building is None or stem_of(building) != model:
        building = model
    _keep_only(config, record, facts, serving=serving, building=building)
    return Wanted(serving, old_folder or folder, building, folder)


def _keep_only(config: Config, record: Record, facts: Facts, *, serving: str, building: str | None) -> None:
    if facts.get(SERVING_VECTORS) != serving:
        facts.put(SERVING_VECTORS, serving)
    if facts.get(BUILDING_VECTORS) != building:
        Watermark(record, beside=True).reset()
        facts.put(BUILDING_VECTORS, building)
    keep_only(index_folder(config, ""), [serving, building])


def _adopt_unnamed(config: Config, model: str) -> None:
    """An index from before there were several lies where the folders of all of them lie now."""
    root = index_folder(config, "")
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
