"""The composition root: opens every part once, in order, and hands each its collaborators.

Nothing else in the code builds a store, a worker or a model. Its hard rule:
what was opened is closed in reverse order, also when opening stops half way.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from appliance.config import Config
from appliance.memory import give_memory_back
from appliance.starter import furnish
from ingest.folder import LibraryFolder
from ingest.inbox import Inbox
from ingest.link import WorkerLink
from ingest.pipeline import Pipeline
from ingest.reconcile import reconcile
from ingest.wire import WorkerOrders
from library.arrivals import Arrivals
from library.catalogue import Catalogue
from library.errors import AlmanacError, IndexUnavailable, SetupError
from library.excerpts import Excerpts
from library.facts import Facts
from library.jobs import Jobs
from library.queue import Queue
from library.record import Record
from search.embedder import DIMENSIONS, LazyEmbedder
from search.lexical import LexicalIndex
from search.precedence import Precedence
from search.retriever import Retriever
from search.vectors import VectorIndex

log = logging.getLogger(__name__)

EMBEDDING_MODEL = "all-MiniLM-L6-v2"


class Stacks(msgspec.Struct, frozen=True):
    """The library opened for searching: record, both indexes, the retriever over them."""

    record: Record
    catalogue: Catalogue
    arrivals: Arrivals
    queue: Queue
    facts: Facts
    excerpts: Excerpts
    jobs: Jobs
    lexical: LexicalIndex
    vectors: VectorIndex
    embedder: LazyEmbedder
    precedence: Precedence
    retriever: Retriever


class ReadingRoom(msgspec.Struct, frozen=True):
    """The stacks with their folder watched and their queue worked through."""

    stacks: Stacks
    inbox: Inbox
    pipeline: Pipeline


def embedding_model_folder(config: Config) -> Path:
    return config.models / "embedding" / EMBEDDING_MODEL


@contextmanager
def open_stacks(config: Config) -> Iterator[Stacks]:
    """Open the stores under the data folder, as their only owner.

    Raises SetupError when the folder cannot be written or belongs to a running
    Almanac; RecordError and IndexUnavailable when a store cannot be opened.
    """
    with ExitStack() as opened:
        opened.enter_context(_owned(config.data))
        record = Record.open(config.data / "record.sqlite3")
        opened.callback(record.close)
        lexical = LexicalIndex(config.data / "index" / "lexical")
        opened.callback(lexical.close)
        vectors = VectorIndex(config.data / "index" / "vectors", dimensions=DIMENSIONS)
        opened.callback(vectors.close)
        embedder = LazyEmbedder(embedding_model_folder(config), threads=config.search.query_threads)
        excerpts, precedence = Excerpts(record), Precedence()
        retriever = Retriever(lexical, vectors, embedder, excerpts, precedence=precedence)
        opened.callback(retriever.close)
        yield Stacks(
            record=record,
            catalogue=Catalogue(record),
            arrivals=Arrivals(record),
            queue=Queue(record),
            facts=Facts(record),
            excerpts=excerpts,
            jobs=Jobs(record),
            lexical=lexical,
            vectors=vectors,
            embedder=embedder,
            precedence=precedence,
            retriever=retriever,
        )


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
        pipeline = Pipeline(
            folder,
            stacks.arrivals,
            stacks.queue,
            stacks.catalogue,
            stacks.lexical,
            stacks.vectors,
            reader=_worker(config, memory_mib=config.ingest.worker_memory_mib),
            embedder=_worker(config, memory_mib=0),
            precedence=stacks.precedence,
        )
        inbox = Inbox(
            folder,
            stacks.arrivals,
            stacks.jobs,
            settle_s=config.ingest.settle_s,
            on_received=pipeline.wake,
            watch=config.ingest.watch,
            poll_s=config.ingest.poll_s,
        )
        opened.callback(pipeline.stop)
        opened.callback(inbox.stop)

        def begin() -> None:
            try:
                reconcile(stacks.catalogue, stacks.queue, stacks.lexical, stacks.vectors)
            except AlmanacError as error:
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
        yield ReadingRoom(stacks, inbox, pipeline)


def open_embedder_in_background(stacks: Stacks) -> threading.Thread:
    """Load the query embedder while the first pages are already served."""

    def load() -> None:
        # A failure is kept in embedder.error, which /readyz and /status show.
        with suppress(IndexUnavailable):
            stacks.embedder.open()
        give_memory_back()

    thread = threading.Thread(target=load, name="embedder", daemon=True)
    thread.start()
    return thread


def _worker(config: Config, *, memory_mib: int) -> WorkerLink:
    orders = WorkerOrders(
        socket_fd=-1,
        model_folder=str(embedding_model_folder(config)),
        threads=config.ingest.threads or os.cpu_count() or 1,
        memory_mib=memory_mib,
        nice=19,
    )
    return WorkerLink(orders, timeout_s=config.ingest.file_timeout_s)


@contextmanager
def _owned(data: Path) -> Iterator[IO[str]]:
    """Lock the data folder: neither engine would notice a second process on its files."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "almanac.lock").open("a+")
    except OSError as error:
        raise SetupError(
            f"The data folder {data} cannot be written: {error.strerror}. "
            "Give Almanac's user permission to write there, or set `paths.data`."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SetupError(
                f"Another Almanac is already running on {data}. Stop it first, or set another `paths.data`."
            ) from error
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield lock
