"""Embedding models: which one serves, and which one an index is being built for.

The same for where its vectors live, see `appliance.vector_places`. The record
says which generation of the vector index serves, and by which model it was made;
the configuration says which model is wanted. Where the two differ, the old index
goes on serving until the new one is whole; where the old model's files are gone,
nobody could embed a query for its index, and the new one serves from the start.
An index of this process that is gone or damaged is replaced by an empty one; one
on a server is only opened here, and asked later.
"""

import logging
from contextlib import suppress
from pathlib import Path

import msgspec

from appliance.config import Config
from appliance.vector_places import HERE, index_folder, open_index, wanted_address
from library.errors import IndexUnavailable
from library.facts import Facts
from library.record import Record
from library.watermark import (
    BUILDING_ADDRESS,
    BUILDING_VECTORS,
    SERVING_ADDRESS,
    SERVING_VECTORS,
    Watermark,
    begin_anew,
)
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
from search.vectors import SCHEMA

log = logging.getLogger(__name__)

_NO_MODEL = "none"
_SCHEMA_WITHOUT_A_MARK = "1"  # of indexes from before they said so


class Wanted(msgspec.Struct, frozen=True):
    """The indexes to open, with their models' folders: the serving one, and the one being built."""

    serving: str  # a generation
    serving_folder: Path
    serving_address: str
    building: str | None
    building_folder: Path
    building_address: str = HERE


def embedding_model_folder(config: Config) -> Path:
    """Of the configured model."""
    return config.models / "embedding" / config.search.embedding_model


def open_meaning(config: Config, record: Record, facts: Facts) -> Meaning:
    """The vector indexes that the record names. Raises OSError and IndexUnavailable when none can be made."""
    wanted = _decide(config, record, facts)
    embedder = LazyEmbedder(wanted.serving_folder, threads=config.search.query_threads)
    lost, building = None, None
    serving, trouble = _opened(config, facts, wanted.serving, wanted.serving_address, embedder)
    if serving is None:
        # Before the first start there is none to be lost; and one that never held anything is no loss.
        lost = trouble if Watermark(record).total() else None
        discard(index_folder(config, wanted.serving))
        serving = new_vectors(config, facts, stem_of(wanted.serving), HERE, embedder)
        if lost is not None:
            log.error("the vector index is lost; everything is embedded again: %s", lost)
        begin_anew(record, serving.generation)
    if wanted.building is not None:
        same = wanted.building_folder == wanted.serving_folder
        beside = (
            embedder if same else LazyEmbedder(wanted.building_folder, threads=config.search.query_threads)
        )
        building, _ = _opened(config, facts, wanted.building, wanted.building_address, beside)
        if building is None:
            discard(index_folder(config, wanted.building))
            building = new_vectors(config, facts, stem_of(wanted.building), wanted.building_address, beside)
            note_building(record, facts, building)
    return Meaning(serving, building, lost=lost)


def new_vectors(config: Config, facts: Facts, model: str, address: str, embedder: LazyEmbedder) -> VectorSide:
    """An index for that model that nobody has yet, here or on a server. Raises OSError and IndexUnavailable."""
    generation = new_generation(model)
    if address == HERE:
        mark_schema(index_folder(config, generation), SCHEMA)
    return _side(config, facts, generation, address, embedder, SCHEMA)


def note_building(record: Record, facts: Facts, side: VectorSide) -> None:
    """Note in the record that this index is being built beside the serving one, and holds nothing yet."""
    Watermark(record, beside=True).reset()
    facts.put_all({BUILDING_VECTORS: side.generation, BUILDING_ADDRESS: side.vectors.address})


def remove_vectors(config: Config, side: VectorSide) -> None:
    """What an index leaves on this machine when it was erased, or could not be."""
    if side.vectors.address == HERE:
        discard(index_folder(config, side.generation))


def _side(
    config: Config, facts: Facts, generation: str, address: str, embedder: LazyEmbedder, schema: str
) -> VectorSide:
    vectors = open_index(config, facts, address, generation=generation, dimensions=embedder.dimensions)
    return VectorSide(stem_of(generation), vectors, embedder, generation, schema)


def _opened(
    config: Config, facts: Facts, generation: str, address: str, embedder: LazyEmbedder
) -> tuple[VectorSide | None, str]:
    """A generation, or why it cannot be had."""
    if address != HERE:
        return _side(config, facts, generation, address, embedder, SCHEMA), ""
    folder = index_folder(config, generation)
    files = VectorFiles(folder)
    if not files.is_there:
        return None, "its folder was gone"
    trouble = files.trouble()
    if trouble is not None:
        return None, f"it was damaged: {trouble}"
    if not files.is_sealed and not survives(folder):
        return None, "it was damaged"
    schema = schema_of(folder) or _SCHEMA_WITHOUT_A_MARK
    try:
        side = _side(config, facts, generation, HERE, embedder, schema)
        side.vectors.count()
    except IndexUnavailable as error:
        log.warning("%s", error)
        return None, "it could not be opened"
    return side, ""


def _decide(config: Config, record: Record, facts: Facts) -> Wanted:
    """Compare the record with the configuration, and put in order what no model needs any more."""
    for folder in (config.data / "index", index_folder(config, "")):
        make_usable(folder)
    folder = embedding_model_folder(config)
    model = _id_of(folder)
    serving, address = facts.get(SERVING_VECTORS), facts.get(SERVING_ADDRESS) or HERE
    if model is None:  # no model is there; an index may be
        return Wanted(serving or _NO_MODEL, folder, address, None, folder)
    goal = wanted_address(config, facts)
    if serving is None:
        _adopt_unnamed(config, model)
        choice = _served_by(model, folder, goal)
    else:
        old_folder = folder if stem_of(serving) == model else _folder_of(config, stem_of(serving))
        if old_folder is None:
            Watermark(record).reset()
        if old_folder is None or ((stem_of(serving), address) != (model, goal) and not _holds_any(record)):
            # Nothing that could serve: what is wanted serves from the start.
            choice = _served_by(model, folder, goal)
        elif (stem_of(serving), address) == (model, goal):
            building = _renewal(config, facts, serving, address)
            choice = Wanted(serving, folder, address, building, folder, address)
        else:
            building = facts.get(BUILDING_VECTORS)
            if building is None or (stem_of(building), facts.get(BUILDING_ADDRESS) or HERE) != (model, goal):
                building = model
            choice = Wanted(serving, old_folder, address, building, folder, goal)
    _keep_only(config, record, facts, choice)
    return choice


def _served_by(model: str, folder: Path, address: str) -> Wanted:
    return Wanted(model, folder, address, None, folder)


def _holds_any(record: Record) -> bool:
    return Watermark(record).total() > 0


def _renewal(config: Config, facts: Facts, serving: str, address: str) -> str | None:
    """What is being built of the same model at the same place: a reader asked for it, or another schema."""
    building, to = facts.get(BUILDING_VECTORS), facts.get(BUILDING_ADDRESS) or HERE
    is_here = building is not None and to == address and building != serving
    if building is not None and is_here and stem_of(building) == stem_of(serving):
        return building
    folder = index_folder(config, serving)
    schema = schema_of(folder) or _SCHEMA_WITHOUT_A_MARK
    is_old = address == HERE and folder.exists() and schema != SCHEMA
    return new_generation(stem_of(serving)) if is_old else None


def _keep_only(config: Config, record: Record, facts: Facts, choice: Wanted) -> None:
    building, to = choice.building, choice.building_address
    if facts.get(BUILDING_VECTORS) != building or (facts.get(BUILDING_ADDRESS) or HERE) != to:
        Watermark(record, beside=True).reset()
    facts.put_all(
        {
            SERVING_VECTORS: choice.serving,
            SERVING_ADDRESS: choice.serving_address,
            BUILDING_VECTORS: building,
            BUILDING_ADDRESS: to if building is not None else None,
        }
    )
    here = [(choice.serving, choice.serving_address), (building, to)]
    keep_only(index_folder(config, ""), [generation for generation, address in here if address == HERE])


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
