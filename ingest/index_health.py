"""Index health: how each of the two indexes is, in figures and a sentence."""

import enum
from collections.abc import Callable
from pathlib import Path

import msgspec

from ingest.upkeep import VECTORS, WORDS, Upkeep
from library.catalogue import Catalogue
from library.errors import IndexUnavailable
from search.generations import schema_of
from search.meaning import Meaning
from search.soundness import size_bytes
from search.words import Words


class IndexState(enum.StrEnum):
    READY = "ready"
    REBUILDING = "rebuilding"  # what is there answers meanwhile
    LOST = "lost"  # it cannot be asked, and is not rebuilt by itself


class IndexHealth(msgspec.Struct, frozen=True):
    state: IndexState
    schema: str  # of the index that serves
    entries: int | None  # chunks, or vectors; None where counting would cost a question to a server
    size_bytes: int | None  # on the disk, without what is being built beside; None on a server
    share: float | None  # 0..1, of the rebuild
    reason: str | None  # a sentence, where the state is not `ready`


def words_health(upkeep: Upkeep, words: Words, folder: Path) -> IndexHealth:
    serving, current = words.serving, upkeep.reindexer.current
    share = words.share if words.lost is not None else current.lexical if current is not None else None
    reason = words.shortfall or (current.cause if current is not None and share is not None else None)
    return _health(serving.schema, folder, share, reason, upkeep.given_up.get(WORDS), serving.lexical.count)


def vector_health(upkeep: Upkeep, meaning: Meaning, catalogue: Catalogue, folder: Path) -> IndexHealth:
    serving, current = meaning.serving, upkeep.reindexer.current
    share = current.vectors if current is not None else None
    if meaning.lost is not None:
        chunks, embedded = catalogue.indexed_totals()
        share = round(embedded / chunks, 4) if chunks else 1.0
    reason = meaning.shortfall or (current.cause if current is not None and share is not None else None)
    schema = serving.schema or schema_of(folder) or ""
    of_server = serving.vectors.files is None
    return _health(
        schema,
        None if of_server else folder,
        share,
        reason,
        upkeep.given_up.get(VECTORS),
        (lambda: None) if of_server else serving.vectors.count,
    )


def _health(
    schema: str,
    folder: Path | None,
    share: float | None,
    reason: str | None,
    given_up: str | None,
    count: Callable[[], int | None],
) -> IndexHealth:
    entries: int | None
    try:
        entries = count()
        state = IndexState.READY if share is None else IndexState.REBUILDING
    except IndexUnavailable as error:
        entries, state, reason = 0, IndexState.LOST, str(error)
    if given_up is not None:
        state, reason, share = IndexState.LOST, given_up, None
    size = None if folder is None else size_bytes(folder)
    return IndexHealth(state, schema, entries, size, share, reason)
