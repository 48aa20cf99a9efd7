"""The reading room: the stacks with their folder watched and their queue worked through.

The composition root's second half: builds the inbox, the workers and the
pipeline, and hands each its collaborators. Its hard rule is that of
`appliance.stacks`.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec

from appliance.config import Config
from appliance.embedding_models import embedding_model_folder
from appliance.moves import Moves, open_move
from appliance.stacks import Stacks
from appliance.starter import furnish
from ingest.embedding import Embedding
from ingest.folder import LibraryFolder
from ingest.inbox import Inbox
from ingest.indexes import Indexes
from ingest.link import WorkerLink
from ingest.moving import Move
from ingest.pacing import Pacer
from ingest.pipeline import Pipeline
from ingest.reading import Reading
from ingest.rebuild import Rebuild
from ingest.reconcile import Seal, reconcile_words
from ingest.rendering import TIMEOUT_S, Renderer
from ingest.upkeep import Upkeep
from ingest.verification import Verification
from ingest.wire import WorkerOrders
from library.errors import AlmanacError, SetupError
from library.watermark import Watermark, swap
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
        indexes = Indexes(stacks.queue, stacks.lexical, stacks.meaning)
        seal = Seal(stacks.facts, config.data / "index")
        pipeline = _open_pipeline(config, stacks, folder, indexes, seal)
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

        opened.callback(_sealed, seal)

        def begin() -> None:
            try:
                # The vectors' turn comes in the embedding loop: their index may be on a server that is away.
                expected, _ = stacks.catalogue.indexed_totals()
                reconcile_words(stacks.queue, stacks.lexical, expected, closely=not seal.is_whole())
            except (AlmanacError, OSError) as error:
                # What is there goes on serving; the next start tries again.
                inbox.tell("indexes", f"The indexes could not be repaired: {error}")
                log.exception("the indexes could not be repaired")
            pipeline.start()
            inbox.start()

        # Beside the server's start: a rebuild of the words takes seconds, and
        # pages should be there meanwhile.
        beginning = threading.Thread(target=begin, name="beginning")
        beginning.start()
        opened.callback(beginning.join)
        moves = Moves(config, stacks, indexes, pipeline)
        yield ReadingRoom(stacks, folder, inbox, pipeline, verification, renderer, moves)


def _sealed(seal: Seal) -> None:
    """At the end, if the indexes were whole at the start: a backup of before then has another seal."""
    with suppress(AlmanacError, OSError):
        if seal.is_whole():
            seal.renew()


def _open_pipeline(
    config: Config, stacks: Stacks, folder: LibraryFolder, indexes: Indexes, seal: Seal
) -> Pipeline:
    """The pipeline with all who work for it; no process is started yet."""
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

    def embedding(side: VectorSide, *, beside: bool) -> Embedding:
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
            may_work=pipeline.may_work,
            rest=pipeline.rest,
        )

    serving = embedding(stacks.meaning.serving, beside=False)
    embedders = list(serving.links)
    mark, beside = Watermark(stacks.record), Watermark(stacks.record, beside=True)
    marks = [(mark, stacks.vectors)]
    successor: Rebuild | Move | None = None
    if (coming := stacks.meaning.building) is not None:
        marks.append((beside, coming.vectors))
        if coming.model == stacks.meaning.serving.model:
            successor = open_move(stacks, indexes, pipeline)
        else:
            building = embedding(coming, beside=True)
            embedders += building.links
            successor = Rebuild(
                stacks.catalogue,
                beside,
                indexes,
                building,
                may_work=pipeline.may_work,
                on_swap=lambda side: swap(stacks.record, side.model, side.vectors.address),
            )
    upkeep = Upkeep(
        stacks.queue,
        indexes,
        marks,
        closely=lambda: not seal.is_whole(),
        may_work=pipeline.may_work,
        on_done=seal.renew,
    )
    optimisers = [index.optimiser for index in stacks.meaning.indexes if index.optimiser is not None]
    pacers = [
        Pacer(stacks.precedence, readers, longest_s=_READING_HELD_S, breath_s=_READING_BREATH_S),
        Pacer(
            stacks.precedence,
            [*embedders, *optimisers],
            longest_s=_EMBEDDING_HELD_S,
            breath_s=_EMBEDDING_BREATH_S,
        ),
    ]
    pipeline.employ(reading, serving, upkeep, successor, pacers)
    return pipeline


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
