"""Embedding: windows, lost workers, and what is proven. The worker is a stand-in that dies on command."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ingest.embedding import Embedding
from ingest.indexes import Indexes
from ingest.link import WorkerLost
from ingest.wire import Embed, Embedded, Reply
from library.arrivals import Arrivals
from library.catalogue import Catalogue
from library.errors import IndexUnavailable
from library.queue import Queue
from library.record import Record
from library.texts import Text
from library.values import Chunk, DocumentState, Extracted, FileSeen, Section
from library.watermark import Watermark
from search.lexical import SCHEMA, LexicalIndex
from search.meaning import Meaning, VectorSide
from search.soundness import WordFiles
from search.vectors.edge import EdgeIndex
from search.words import LexicalSide, Words

D = 8


def vector_of(text: str) -> np.ndarray:
    vector = np.random.default_rng(abs(hash(text)) % 2**32).normal(size=D).astype(np.float32)
    unit: np.ndarray = vector / np.linalg.norm(vector)
    return unit


class Link:
    """Answers like a worker, unless `dies` says that a text kills it."""

    def __init__(self, dies: Callable[[list[str]], bool] = lambda _: False, *, killed: bool = False) -> None:
        self.dies, self.killed = dies, killed
        self.requests: list[Embed] = []
        self.sizes: list[int] = []

    def send(self, request: Embed) -> None:
        self.requests.append(request)
        self.sizes.append(len(request.texts))

    def receive(self) -> Reply:
        request = self.requests.pop(0)
        if self.dies(request.texts):
            raise WorkerLost("it crashed the reader (SIGSEGV)", killed=self.killed)
        return Embedded(np.array([vector_of(text) for text in request.texts]).tobytes(), 0.01)

    def call(self, request: Embed) -> Reply:
        self.send(request)
        return self.receive()

    def restart(self) -> None:
        self.requests.clear()

    close = restart


class Room:
    def __init__(self, folder: Path) -> None:
        self.record = Record.open(folder / "record.sqlite3")
        self.arrivals, self.queue = Arrivals(self.record), Queue(self.record)
        self.catalogue, self.mark = Catalogue(self.record), Watermark(self.record)
        self.lexical = LexicalIndex(folder / "lexical")
        self.vectors = EdgeIndex(folder / "vectors", dimensions=D)
        embedder: Any = SimpleNamespace(dimensions=D)
        self.side = VectorSide("model", self.vectors, embedder)
        words = Words(LexicalSide("words", SCHEMA, self.lexical, WordFiles(folder / "lexical")))
        self.indexes = Indexes(self.queue, words, Meaning(self.side))
        self.may_work = True

    def close(self) -> None:
        self.lexical.close()
        self.vectors.close()
        self.record.close()

    def add(self, name: str, chunks: int) -> str:
        """A document that is findable by words; returns its id."""
        self.arrivals.receive(FileSeen(f"s/{name}.md", 10, 1, name, "markdown"), is_gone=lambda _: False)
        [(document, digest, _)] = self.queue.begin_reading()
        parts = [f"{name} part {n}" for n in range(chunks)]
        sections = tuple(Section(n, 1, (name,), "", part) for n, part in enumerate(parts))
        text = Text(
            document.id,
            digest,
            Extracted(name, (), "en", None, sections),
            [Chunk(n, n, 0, len(part), part) for n, part in enumerate(parts)],
        )
        self.lexical.add(self.queue.store_texts([text])[document.id])
        self.lexical.commit()
        self.queue.advance({document.id: digest}, DocumentState.FINDABLE_WORDS)
        return document.id

    def embedding(self, link: Link) -> Embedding:
        links: Any = [link]
        return Embedding(
            self.queue,
            self.mark,
            self.indexes,
            self.side,
            links,
            proves=True,
            may_work=lambda: self.may_work,
            rest=lambda _: None,
        )

    def states(self) -> dict[str, DocumentState]:
        return {item.title: item.state for item in self.catalogue.documents(limit=500).items}


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.close()


def test_every_chunk_gets_its_vector_once_and_the_documents_are_findable(room: Room) -> None:
    for n in range(30):
        room.add(f"book{n}", 7)
    link = Link()
    room.embedding(link).work()
    assert set(room.states().values()) == {DocumentState.FINDABLE}
    assert sum(link.sizes) == room.vectors.count() == 210


def test_a_passage_that_kills_its_worker_fails_its_document_alone(room: Room) -> None:
    for n in range(5):
        room.add(f"book{n}", 40)
    link = Link(lambda texts: any("book2 part 17" in text for text in texts))
    room.embedding(link).work()
    states = room.states()
    assert states.pop("book2") is DocumentState.FAILED
    assert set(states.values()) == {DocumentState.FINDABLE}
    [failed] = room.catalogue.documents(state=DocumentState.FAILED).items
    assert failed.reason
    assert "same passage" in failed.reason
    assert room.vectors.count() == room.lexical.count() == 160


def test_a_worker_that_dies_of_any_text_fails_no_document(room: Room) -> None:
    room.add("book", 3)
    with pytest.raises(IndexUnavailable, match="whatever the text"):
        room.embedding(Link(lambda _: True)).work()
    assert room.states() == {"book": DocumentState.FINDABLE_WORDS}


def test_a_worker_that_is_killed_now_and_then_costs_a_window_each_time(room: Room) -> None:
    room.add("book", 300)
    count = iter(range(10_000))
    link = Link(lambda _: next(count) % 3 == 2, killed=True)
    room.embedding(link).work()
    assert room.states() == {"book": DocumentState.FINDABLE}
    assert room.vectors.count() == 300


def test_what_the_index_did_not_keep_is_read_once_more_and_then_said_to_be_lost(room: Room) -> None:
    id_ = room.add("book", 3)
    really = room.vectors.upsert
    room.vectors.upsert = lambda chunks, vectors: really(chunks[:1], vectors[:1])  # type: ignore[method-assign]
    embedding = room.embedding(Link())
    embedding.work()
    assert room.states() == {"book": DocumentState.WAITING}
    [(document, digest, _)] = room.queue.begin_reading()
    sections, chunks = room.queue.text(id_)
    texts = [Chunk(c.ordinal, c.section, c.start, c.end, sections[c.section].text) for c in chunks]
    room.queue.store_texts([Text(id_, digest, Extracted("book", (), None, None, tuple(sections)), texts)])
    room.queue.advance({document.id: digest}, DocumentState.FINDABLE_WORDS)
    embedding.work()
    failed = room.catalogue.document(id_)
    assert failed.state is DocumentState.FAILED
    assert "did not find it" in str(failed.reason)
    assert room.vectors.count() == room.lexical.count() == 0


def test_nothing_is_sent_while_work_may_not_be_done(room: Room) -> None:
    room.add("book", 3)
    room.may_work = False
    link = Link()
    room.embedding(link).work()
    assert link.sizes == []
    assert room.states() == {"book": DocumentState.FINDABLE_WORDS}


def test_a_document_that_was_embedded_but_not_proven_before_a_crash_is_proven_now(room: Room) -> None:
    id_ = room.add("book", 3)
    document = room.catalogue.document(id_)
    chunks = list(room.queue.indexed_chunks(document))
    room.vectors.upsert(chunks, [vector_of(chunk.indexed_text).tolist() for chunk in chunks])
    room.mark.raise_to({id_: 3})
    link = Link()
    room.embedding(link).work()
    assert room.states() == {"book": DocumentState.FINDABLE}
    assert link.sizes == []


def test_the_newest_document_is_embedded_first(room: Room) -> None:
    room.add("old", 500)
    link = Link()
    embedding = room.embedding(link)
    really = link.receive
    seen: list[str] = []

    def receive() -> Reply:
        if not seen:
            room.add("new", 3)
        seen.extend(text.split("\n")[1].split()[0] for text in link.requests[0].texts)
        return really()

    link.receive = receive  # type: ignore[method-assign]
    embedding.work()
    assert set(room.states().values()) == {DocumentState.FINDABLE}
    assert seen.index("new") < len(seen) - 250


def test_a_note_need_not_wait_for_the_end_of_a_long_book_that_came_after_it(room: Room) -> None:
    room.add("note", 2)
    room.add("long book", 500)
    link = Link()
    seen: list[str] = []
    really = link.send

    def send(request: Embed) -> None:
        seen.extend(text.split("\n")[1].split()[0] for text in request.texts)
        really(request)

    link.send = send  # type: ignore[method-assign]
    room.embedding(link).work()
    assert set(room.states().values()) == {DocumentState.FINDABLE}
    assert seen.index("note") < 40
    assert len(seen) == room.vectors.count() == 502
