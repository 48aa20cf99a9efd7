"""Word indexes: which generation of the lexical index serves, and which one is being built.

The record names both. One that is gone, damaged or cannot be opened is replaced
by an empty one, to be filled from the record; one of an earlier schema goes on
answering while its successor is built.
"""

import logging
from pathlib import Path

from appliance.config import Config
from library.errors import IndexUnavailable
from library.facts import Facts
from search.earlier import EarlierLexicalIndex
from search.generations import (
    keep_only,
    make_usable,
    mark_schema,
    new_generation,
    schema_of,
    stem_of,
)
from search.lexical import SCHEMA, LexicalIndex
from search.soundness import WordFiles
from search.words import LexicalSide, Words

log = logging.getLogger(__name__)

SERVING_WORDS, BUILDING_WORDS = "words.serving", "words.building"
_WITHOUT_GENERATIONS = "words"  # the folder of one from before there were any


def words_folder(config: Config) -> Path:
    return config.data / "index" / "lexical"


def open_words(config: Config, facts: Facts) -> Words:
    """The lexical indexes that the record names. Raises OSError and IndexUnavailable when none can be made."""
    root = words_folder(config)
    for folder in (config.data / "index", root):
        make_usable(folder)
    name, building_name = facts.get(SERVING_WORDS), facts.get(BUILDING_WORDS)
    if name is None:
        name = _adopted(root)
    lost, building = None, None
    serving, trouble = _opened(root, name)
    if serving is None:
        lost = trouble if name is not None else None
        if name is not None:
            log.error("the lexical index is lost, and is built anew from the record: %s", trouble)
        serving = new_words(root)
    elif isinstance(serving.lexical, EarlierLexicalIndex) or building_name is not None:
        building, _ = _opened(root, building_name)
        if building is None or not isinstance(building.lexical, LexicalIndex):
            building = new_words(root)
    facts.put_all(
        {
            SERVING_WORDS: serving.generation,
            BUILDING_WORDS: building.generation if building is not None else None,
        }
    )
    keep_only(root, [serving.generation, building.generation if building is not None else None])
    return Words(serving, building, lost=lost)


def new_words(root: Path) -> LexicalSide:
    """An empty index in a folder of its own."""
    generation = new_generation(SCHEMA)
    mark_schema(root / generation, SCHEMA)
    return LexicalSide(generation, SCHEMA, LexicalIndex(root / generation), WordFiles(root / generation))


def _opened(root: Path, generation: str | None) -> tuple[LexicalSide | None, str]:
    """A generation, or why it cannot be had."""
    if generation is None:
        return None, "there was none"
    folder = root / generation
    if not folder.is_dir():
        return None, "its folder was gone"
    files = WordFiles(folder)
    trouble = files.trouble()
    if trouble is not None:
        return None, f"it was damaged: {trouble}"
    schema = schema_of(folder) or stem_of(generation)
    try:
        index = LexicalIndex(folder) if schema == SCHEMA else EarlierLexicalIndex(folder)
    except IndexUnavailable as error:
        log.warning("%s", error)
        return None, "it could not be opened"
    return LexicalSide(generation, schema, index, files), ""


def _adopted(root: Path) -> str | None:
    """An index from before there were generations lies where the folders of all of them lie now."""
    if not (root / "meta.json").exists():
        return next((folder.name for folder in root.iterdir() if schema_of(folder) == SCHEMA), None)
    try:
        schema = (root / "analyser.txt").read_text().strip()
    except (OSError, ValueError):
        return None
    aside = root.with_name(_WITHOUT_GENERATIONS)
    root.rename(aside)
    root.mkdir()
    generation = f"{schema}~0"
    aside.rename(root / generation)
    mark_schema(root / generation, schema)
    return generation
