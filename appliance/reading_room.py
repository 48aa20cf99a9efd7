"""The reading room: the stacks with their folder watched and their queue worked through.

The composition root's second half: builds the inbox, the workers and the
pipeline, and hands each its collaborators. Its hard rule is that of
`appliance.stacks`.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec

from appliance.config import Config
from appliance.embedding_models import (
    embedding_model_folder,
    new_vectors,
    note_building,
    remove_vectors,
)
from appliance.moves import Moves, open_move
from appliance.stacks import Stacks
from appliance.starter import furnish
from appliance.vector_places import HERE, index_folder
from appliance.word_indexes import BUILDING_WORDS, SERVING_WORDS, new_words, words_folder
from ingest.embedding import Embedding
from ingest.folder import LibraryFolder
from ingest.inbox import Inbox
from ingest.indexes import Indexes
from ingest.labelling import Labelling
from ingest.link import WorkerLink
from ingest.pacing import Held, Pacer
from ingest.pipeline import Pipeline
from ingest.reading import Reading
from ingest.rebuild import Rebuild
from ingest.reconcile import Seal
from ingest.reindexing import Makers
from ingest.rendering import TIMEOUT_S, Renderer
from ingest.upkeep import BESIDE, VECTORS, WORDS, Upkeep
from ingest.verification import Verification
from ingest.wire import WorkerOrders
from library.errors import AlmanacError, SetupError
from library.watermark import BUILDING_ADDRESS, BUILDING_VECTORS, Watermark, begin_anew, swap
from search.generations import discard
from search.meaning import VectorSide

log = logging.getLogger(__name__)

# A reader may wait for words to be found while somebody is answered; meaning can wait longer.
_READING_HELD_S, _READING_BREATH_S = 1.0, 0.25
_EMBEDDING_HELD_S, _EMBEDDING_BREATH_S = 10.0, 0.5
_THREADS_A_WORKER = 4  # one session gains little from more


class ReadingRoom(msgspec.Struct, frozen=True):
    """The stacks with their folder watched and their queue worked through."""

    stacks: Stacks
    folder: LibraryFolder
    inbox: Inbox
    pipeline: Pipeline
    verification: Verification
    renderer: Renderer
    moves: Moves
    upkeep: Upkeep


@contextmanager
def open_reading_room(config: Config, stacks: Stacks) -> Iterator[ReadingRoom]:
    """Furnish an empty folder, repair the indexes from the record, watch, and begin to read."""
    try:
        furnish(config.library, config.data)
        config.library.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"The library folder {config.library} cannot be created: {error.strerror}. "
            "Give Almanac's user permission to write there, or set `paths.library`."
        ) from error
    stacks.jobs.fail_interrupted()
    with ExitStack() as opened:
        folder = LibraryFolder(config.library, max_file_mib=config.ingest.max_file_mib)
        indexes = Indexes(stacks.queue, stacks.words, stacks.meaning)
        folders = partial(_folders, config, stacks)
        seal = Seal(stacks.facts, lambda: folders().values())
        labelling = _labelling(config, stacks, indexes, seal)
        pipeline, rebuild_of = _open_pipeline(config, stacks, folder, indexes, labelling)
        moves = Moves(config, stacks, indexes, pipeline)
        verification = Verification(stacks.catalogue, stacks.queue, indexes)
        inbox = Inbox(
            folder,
            stacks.arrivals,
            stacks.jobs,
            settle_s=config.ingest.settle_s,
            on_received=pipeline.wake,
            watch=config.ingest.watch,
            poll_s=config.ingest.poll_s,
        )
        renderer = Renderer(_rendering_worker(config), stacks.excerpts)
        opened.callback(renderer.close)
        opened.callback(pipeline.stop)
        opened.callback(inbox.stop)

        opened.callback(_sealed, seal, folders)
        upkeep = Upkeep(
            stacks.queue,
            stacks.catalogue,
            stacks.jobs,
            indexes,
            pipeline,
            seal,
            labelling,
            _makers(config, stacks, rebuild_of, moves),
            folders,
        )
        rebuild = None
        if _is_move(stacks):
            pipeline.succeed_by(open_move(stacks, indexes, pipeline))
        elif stacks.meaning.building is not None:
            rebuild = rebuild_of(stacks.meaning.building)
            pipeline.succeed_by(rebuild)
        opened.callback(upkeep.stop)

        def begin() -> None:
            try:
                upkeep.begin()
                upkeep.reindexer.adopt(rebuild, is_other_model=_is_other_model(stacks))
            except (AlmanacError, OSError) as error:
                # What is there goes on serving; the next start tries again.
                inbox.tell("indexes", f"The indexes could not be repaired: {error}")
                log.exception("the indexes could not be repaired")
            pipeline.start()
            inbox.start()
            upkeep.start()

        # Beside the server's start: a rebuild of the words takes seconds, and
        # pages should be there meanwhile.
        beginning = threading.Thread(target=begin, name="beginning")
        beginning.start()
        opened.callback(beginning.join)
        opened.callback(upkeep.interrupt)
        yield ReadingRoom(stacks, folder, inbox, pipeline, verification, renderer, moves, upkeep)


def _folders(config: Config, stacks: Stacks) -> dict[str, Path]:
    """Where the seal of every index that is open lies."""
    meaning = stacks.meaning
    serving, building = meaning.serving, meaning.building
    found = {
        WORDS: words_folder(config) / stacks.words.serving.generation,
        VECTORS: _folder_of(config, serving),
    }
    if building is not None:
        found[BESIDE] = _folder_of(config, building)
    return found


def _folder_of(config: Config, side: VectorSide) -> Path:
    """Its own; above all of them for an index on a server, which has none here."""
    here = side.vectors.address == HERE
    return index_folder(config, side.generation) if here else config.data / "index"


def _sealed(seal: Seal, folders: Callable[[], dict[str, Path]]) -> None:
    """At the end, if the indexes were whole at the start: a backup of before then has another seal."""
    with suppress(AlmanacError, OSError):
        if all(seal.is_whole(folder) for folder in folders().values()):
            seal.renew()


def _is_other_model(stacks: Stacks) -> bool:
    building = stacks.meaning.building
    return building is not None and building.model != stacks.meaning.serving.model


def _is_move(stacks: Stacks) -> bool:
    """Whether the same vectors are to be elsewhere; otherwise they are computed anew."""
    serving, building = stacks.meaning.serving, stacks.meaning.building
    return (
        building is not None
        and building.model == serving.model
        and building.vectors.address != serving.vectors.address
    )


def _labelling(config: Config, stacks: Stacks, indexes: Indexes, seal: Seal) -> Labelling:
    record, meaning = stacks.record, stacks.meaning
    return Labelling(
        stacks.queue,
        indexes,
        [
            (Watermark(record), lambda: meaning.serving),
            (Watermark(record, beside=True), lambda: meaning.building),
        ],
        closely=lambda side: not seal.is_whole(_folder_of(config, side)),
    )


def _makers(
    config: Config, stacks: Stacks, rebuild_of: Callable[[VectorSide], Rebuild], moves: Moves
) -> Makers:
    root = words_folder(config)

    def vectors(address: str) -> VectorSide:
        serving = stacks.meaning.serving
        return new_vectors(config, stacks.facts, serving.model, address, serving.embedder)

    def begin_beside() -> VectorSide:
        side = vectors(stacks.meaning.serving.vectors.address)
        note_building(stacks.record, stacks.facts, side)
        return side

    return Makers(
        new_words=lambda: new_words(root),
        note_words=lambda serves, next_: stacks.facts.put_all({SERVING_WORDS: serves, BUILDING_WORDS: next_}),
        remove_words=lambda side: discard(root / side.generation),
        new_vectors=lambda: vectors(HERE),
        note_vectors=lambda generation: begin_anew(stacks.record, generation),
        remove_vectors=partial(remove_vectors, config),
        rebuild=rebuild_of,
        begin_beside=begin_beside,
        move=moves.begin,
        end_move=moves.give_up,
    )


def _open_pipeline(
    config: Config, stacks: Stacks, folder: LibraryFolder, indexes: Indexes, labelling: Labelling
) -> tuple[Pipeline, Callable[[VectorSide], Rebuild]]:
    """The pipeline with all who work for it, and how one comes by who builds a vector index beside.

    No process is started yet.
    """
    pipeline = Pipeline(
        stacks.queue,
        stacks.catalogue,
        stacks.facts,
        indexes,
        data=config.data,
        min_free_mib=config.ingest.min_free_mib,
    )
    cores = config.ingest.threads or os.cpu_count() or 1
    readers = [
        _worker(config, embedding_model_folder(config), memory_mib=config.ingest.worker_memory_mib, n=n)
        for n in range(config.ingest.readers or max(2, min(4, cores // 2)))
    ]
    reading = Reading(folder, stacks.arrivals, stacks.queue, indexes, readers, may_work=pipeline.may_work)

    def embedding(side: VectorSide, may_work: Callable[[], bool], *, beside: bool) -> Embedding:
        count = max(1, cores // _THREADS_A_WORKER)
        links = [_worker(config, side.embedder.folder, threads=cores // count) for _ in range(count)]
        mark = Watermark(stacks.record, beside=beside)
        return Embedding(
            stacks.queue,
            mark,
            indexes,
            side,
            links,
            proves=not beside,
            may_work=may_work,
            rest=pipeline.rest,
        )

    serving = embedding(stacks.meaning.serving, pipeline.may_work, beside=False)
    held: list[Held] = list(serving.links)
    held += [index.optimiser for index in stacks.meaning.indexes if index.optimiser is not None]
    beside = Watermark(stacks.record, beside=True)

    def drop() -> None:
        stacks.facts.put_all({BUILDING_VECTORS: None, BUILDING_ADDRESS: None})
        beside.reset()

    def rebuild_of(side: VectorSide) -> Rebuild:
        cancelled = threading.Event()

        def may_work() -> bool:
            return pipeline.may_work() and not cancelled.is_set()

        building = embedding(side, may_work, beside=True)
        held.extend(building.links)  # the pacer holds them, too
        return Rebuild(
            stacks.catalogue,
            stacks.queue,
            beside,
            indexes,
            building,
            cancelled=cancelled,
            may_work=may_work,
            on_swap=lambda side: swap(stacks.record, side.generation, side.vectors.address),
            on_drop=drop,
            remove=partial(remove_vectors, config),
        )

    pacers = [
        Pacer(stacks.precedence, readers, longest_s=_READING_HELD_S, breath_s=_READING_BREATH_S),
        Pacer(stacks.precedence, held, longest_s=_EMBEDDING_HELD_S, breath_s=_EMBEDDING_BREATH_S),
    ]
    pipeline.employ(reading, serving, labelling, pacers)
    return pipeline, rebuild_of


def _worker(
    config: Config, model_folder: Path, *, threads: int = 1, memory_mib: int = 0, n: int = 0
) -> WorkerLink:
    orders = WorkerOrders(
        socket_fd=-1,
        model_folder=str(model_folder),
        threads=threads,
        memory_mib=memory_mib,
        library=str(config.library),
        limits=config.ingest.limits,
        scratch=str(config.data / "run" / f"reader-{n}"),
        nice=19,
    )
    return WorkerLink(orders, timeout_s=config.ingest.file_timeout_s)


def _rendering_worker(config: Config) -> WorkerLink:
    """Somebody waits for its pages: as quick as any other process, and held by no pacing."""
    orders = WorkerOrders(
        socket_fd=-1,
        model_folder="",
        threads=1,
        memory_mib=config.ingest.worker_memory_mib,
        library=str(config.library),
        limits=config.ingest.limits,
        scratch=str(config.data / "run" / "renderer"),
        nice=0,
    )
    return WorkerLink(orders, timeout_s=TIMEOUT_S, module="ingest.render.worker")
