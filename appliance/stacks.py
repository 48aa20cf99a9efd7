"""The stacks: the library opened for searching, every store once and in order.

The composition root's first half; `appliance.reading_room` is the other. Nothing
else in the code builds a store or an index. Its hard rule: what was opened is
closed in reverse order, also when opening stops half way.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from appliance.config import Config
from appliance.embedding_models import open_meaning
from appliance.memory import give_memory_back, take_for_granted
from appliance.word_indexes import open_words
from library.arrivals import Arrivals
from library.catalogue import Catalogue
from library.errors import IndexUnavailable, SetupError
from library.excerpts import Excerpts
from library.facts import Facts
from library.holdings import Holdings
from library.jobs import Jobs
from library.queue import Queue
from library.record import Record
from search.earlier import EarlierLexicalIndex
from search.embedder import LazyEmbedder
from search.lexical import LexicalIndex
from search.meaning import Meaning
from search.precedence import Precedence
from search.reranker import Reranker
from search.retriever import Retriever
from search.values import Mode
from search.vectors import VectorIndex
from search.words import Words


class Stacks(msgspec.Struct, frozen=True):
    """The library opened for searching: record, both indexes, the retriever over them."""

    record: Record
    catalogue: Catalogue
    holdings: Holdings
    arrivals: Arrivals
    queue: Queue
    facts: Facts
    excerpts: Excerpts
    jobs: Jobs
    words: Words
    meaning: Meaning
    precedence: Precedence
    retriever: Retriever

    @property
    def lexical(self) -> LexicalIndex | EarlierLexicalIndex:
        return self.words.serving.lexical

    @property
    def vectors(self) -> VectorIndex:
        return self.meaning.serving.vectors

    @property
    def embedder(self) -> LazyEmbedder:
        return self.meaning.serving.embedder


@contextmanager
def open_stacks(
    config: Config, *, on_searched: Callable[[Mode, float], None] = lambda _mode, _took_s: None
) -> Iterator[Stacks]:
    """Open the stores under the data folder, as their only owner.

    Raises SetupError when the folder cannot be written or belongs to a running
    Almanac; RecordError when the record cannot be opened. An index that cannot
    be is replaced by an empty one. `on_searched` is the retriever's.
    """
    with ExitStack() as opened:
        opened.enter_context(_owned(config.data))
        record = Record.open(config.data / "record.sqlite3")
        opened.callback(record.close)
        facts = Facts(record)
        try:
            words = open_words(config, facts)
            opened.callback(words.close)
            meaning = open_meaning(config, record, facts)
            opened.callback(meaning.close)
        except OSError as error:
            raise SetupError(
                f"The indexes in {config.data / 'index'} can be neither read nor made anew: {error}. "
                "Give Almanac's user permission to write there, and check that the disk is not full."
            ) from error
        excerpts, precedence = Excerpts(record), Precedence()
        retriever = Retriever(
            words,
            meaning,
            excerpts,
            precedence=precedence,
            reranker=reranker_of(config),
            on_searched=on_searched,
        )
        opened.callback(retriever.close)
        yield Stacks(
            record=record,
            catalogue=Catalogue(record),
            holdings=Holdings(record),
            arrivals=Arrivals(record),
            queue=Queue(record),
            facts=facts,
            excerpts=excerpts,
            jobs=Jobs(record),
            words=words,
            meaning=meaning,
            precedence=precedence,
            retriever=retriever,
        )


def reranker_of(config: Config) -> Reranker | None:
    """The configured one, not opened yet; None where none is."""
    if not config.search.reranker:
        return None
    folder = config.models / "rerank" / config.search.reranker
    return Reranker(folder, threads=config.search.query_threads)


def open_embedder_in_background(stacks: Stacks) -> threading.Thread:
    """Load the query embedder while the first pages are already served."""

    def load() -> None:
        # A failure is kept in embedder.error, which /readyz and /status show.
        with suppress(IndexUnavailable):
            stacks.embedder.open()
        if stacks.retriever.reranker is not None:
            with suppress(IndexUnavailable):
                stacks.retriever.reranker.open()
        take_for_granted()
        give_memory_back()

    thread = threading.Thread(target=load, name="embedder", daemon=True)
    thread.start()
    return thread


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
