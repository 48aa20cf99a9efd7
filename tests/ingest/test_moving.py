"""Vectors move from this process to a server and back while they serve.

qdrant-client's local mode stands in for the server.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from qdrant_client import QdrantClient

from appliance.vector_places import _library
from ingest.reindexing import What
from library.errors import Busy, IndexUnavailable, InvalidRequest
from library.values import DocumentState
from search.query import Filters
from search.values import Mode
from search.vectors.edge import EdgeIndex
from search.vectors.server import ServerIndex, ServerSettings
from tests.ingest.test_indexing import House, until

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
]

URL = "http://nas.lan:6333"


class Server:
    """Keeps what it is given while houses come and go; may be away."""

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self.client.close = lambda *_, **__: None  # type: ignore[method-assign]
        self.away = False

    @property
    def connecting(self) -> Callable[[ServerSettings], QdrantClient]:
        """What takes the place of `ServerSettings.connect`."""

        def connect(_: ServerSettings) -> QdrantClient:
            if self.away:
                raise ConnectionRefusedError("connection refused")
            return self.client

        return connect


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(ServerSettings, "connect", server.connecting)
    return server


@pytest.fixture
def house(tmp_path: Path, server: Server) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def filled(house: House, documents: int = 12) -> House:
    for n in range(documents):
        house.drop(f"s{n % 3}/{n}.md", f"# Note {n}\n\n" + f"The colony number {n} is inspected. " * 30)
    house.open()
    for n in range(documents):
        house.findable(f"s{n % 3}/{n}.md")
    return house


def configured(house: House, url: str) -> None:
    house.config = msgspec.structs.replace(
        house.config, search=msgspec.structs.replace(house.config.search, vector_url=url)
    )


def by_meaning(house: House) -> list[tuple[str, float]]:
    found = house.retriever.search("inspection of colony number 7", mode=Mode.VECTOR, limit=5)
    return [(p.excerpt.document.path, round(p.similarity or 0, 2)) for p in found.passages]


def folders(house: House) -> list[str]:
    return [folder.name for folder in (house.config.data / "index" / "vectors").iterdir()]


def moved(house: House) -> None:
    until(lambda: not house.room.moves.under_way and house.room.stacks.meaning.building is None)


def test_there_and_back_while_serving_and_the_choice_survives_restarts(house: House) -> None:
    filled(house)
    before, embedded = by_meaning(house), house.room.pipeline.progress().embedded_since_start
    ended, empty, states = threading.Event(), [], set()

    def watch() -> None:
        while not ended.is_set():
            states.update(state for state, count in house.catalogue.counts().items() if count)
            if not house.retriever.search("colony", mode=Mode.VECTOR).passages:
                empty.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    house.room.moves.begin(URL)
    moved(house)
    assert isinstance(house.room.stacks.vectors, ServerIndex)
    ended.set()
    watcher.join()
    assert not empty
    assert states == {DocumentState.FINDABLE}
    assert by_meaning(house) == before
    assert house.room.pipeline.progress().embedded_since_start == embedded  # nothing was embedded again
    job = house.room.moves.latest()
    assert job is not None
    assert job.state == "done"
    assert "http://nas.lan:6333" in job.detail
    until(lambda: folders(house) == [])
    assert house.room.stacks.vectors.search(
        [1.0] + [0.0] * 383, limit=50, filters=Filters(shelves=("s1",), formats=("markdown",))
    )

    house.close()
    house.open()
    assert isinstance(house.room.stacks.vectors, ServerIndex)
    assert by_meaning(house) == before
    house.drop("s1/late.md", "# Late\n\nA colony that came afterwards.\n")
    house.findable("s1/late.md")
    (house.library / "s0" / "0.md").unlink()
    house.room.inbox.scan()

    house.room.moves.begin(None)
    moved(house)
    assert isinstance(house.room.stacks.vectors, EdgeIndex)
    assert len(folders(house)) == 1
    house.close()
    house.open()
    assert isinstance(house.room.stacks.vectors, EdgeIndex)
    assert by_meaning(house) == before


def test_another_address_in_the_configuration_moves_them_too(house: House, server: Server) -> None:
    filled(house, 6)
    house.close()
    configured(house, URL)
    house.open()
    moved(house)
    assert isinstance(house.room.stacks.vectors, ServerIndex)
    assert house.room.stacks.vectors.count() == house.room.stacks.lexical.count()


def test_a_new_house_with_a_server_begins_there(house: House) -> None:
    configured(house, URL)
    filled(house, 3)
    assert isinstance(house.room.stacks.vectors, ServerIndex)
    assert house.room.stacks.meaning.building is None
    assert folders(house) == [] if (house.config.data / "index" / "vectors").exists() else True
    assert by_meaning(house)


def test_a_move_that_was_interrupted_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.moving._AT_ONCE", 2)
    filled(house)
    copied = threading.Event()
    upsert = ServerIndex.upsert

    def slow(self: ServerIndex, *args: object) -> None:
        upsert(self, *args)  # type: ignore[arg-type]
        copied.set()
        threading.Event().wait(0.3)

    monkeypatch.setattr(ServerIndex, "upsert", slow)
    house.room.moves.begin(URL)
    assert copied.wait(30)
    house.close()
    monkeypatch.setattr(ServerIndex, "upsert", upsert)
    house.open()
    assert isinstance(house.room.stacks.vectors, EdgeIndex)
    moved(house)
    assert isinstance(house.room.stacks.vectors, ServerIndex)
    assert house.room.stacks.vectors.count() == house.room.stacks.lexical.count()


def test_what_changes_during_a_move_is_changed_in_both(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.moving._AT_ONCE", 2)
    filled(house)
    upsert = ServerIndex.upsert

    def slow(self: ServerIndex, *args: object) -> None:
        upsert(self, *args)  # type: ignore[arg-type]
        threading.Event().wait(0.2)

    monkeypatch.setattr(ServerIndex, "upsert", slow)
    house.room.moves.begin(URL)
    until(lambda: (house.room.moves.share() or 0) > 0.2)
    house.drop("s0/0.md", "# Changed\n\nNow it tells of lighthouses.\n")
    (house.library / "s1" / "1.md").rename(house.library / "s2" / "moved.md")
    house.room.inbox.scan()
    moved(house)
    house.findable("s0/0.md")
    house.findable("s2/moved.md")
    until(lambda: house.room.stacks.vectors.count() == house.room.stacks.lexical.count())
    found = house.retriever.search("lighthouses", mode=Mode.VECTOR, limit=3)
    assert found.passages[0].excerpt.document.path == "s0/0.md"


def test_what_a_server_holds_of_long_ago_is_cleared(house: House, server: Server) -> None:
    filled(house, 3)
    model = house.room.stacks.meaning.serving.model
    owner = _library(house.room.stacks.facts)
    stale = ServerIndex(
        ServerSettings(URL), model=model, dimensions=384, owner=owner, connect=lambda: server.client
    )
    chunk = house.room.stacks.queue.chunks_in([(house.document("s0/0.md"), 0, 1)])[0]  # type: ignore[list-item]
    stale.upsert(
        [msgspec.structs.replace(chunk, id="00000000-0000-0000-0000-00000000dead")], [[1.0] + [0.0] * 383]
    )
    house.room.moves.begin(URL)
    moved(house)
    assert house.room.stacks.vectors.held(["00000000-0000-0000-0000-00000000dead"]) == set()


def test_mistakes_are_told_before_anything_is_begun(house: House, server: Server) -> None:
    filled(house, 2)
    for wrong in (
        "nas",
        "ftp://nas",
        "http://",
        "http://nas:99999",
        "http://nas.lan:6333 x",
        "http://" + "a" * 600,
    ):
        with pytest.raises(InvalidRequest, match="address"):
            house.room.moves.begin(wrong)
    with pytest.raises(InvalidRequest, match="already"):
        house.room.moves.begin(None)
    server.away = True
    with pytest.raises(IndexUnavailable, match="does not answer"):
        house.room.moves.begin(URL)
    assert house.room.stacks.meaning.building is None
    assert not house.room.moves.under_way
    house.close()
    house.open()
    assert isinstance(house.room.stacks.vectors, EdgeIndex)


def test_a_move_can_be_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(house)
    house.room.pipeline.pause()
    house.room.moves.begin(URL)
    with pytest.raises(Busy):
        house.room.moves.begin("http://other.lan:6333")
    house.room.moves.begin(None)
    assert not house.room.moves.under_way
    house.room.pipeline.resume()
    house.close()
    house.open()
    assert isinstance(house.room.stacks.vectors, EdgeIndex)
    assert house.room.stacks.meaning.building is None
    assert by_meaning(house)


def test_a_server_that_is_away_leaves_search_by_words_and_ingest_goes_on_by_itself(
    house: House, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.vectors.server._LEFT_ALONE_S", 0.2)
    monkeypatch.setattr("ingest.pipeline._PAUSE_AFTER_FAILURE_S", 0.3)
    configured(house, URL)
    filled(house, 3)
    house.close()
    server.away = True
    house.open()
    result = house.retriever.search("colony inspected", limit=3)
    assert len(result.passages) == 3
    assert "Searched by words only" in result.degraded[0]
    assert "does not answer" in result.degraded[0]
    house.drop("s1/new.md", "# New\n\nA colony of ants.\n")
    house.until("s1/new.md", DocumentState.FINDABLE_WORDS)
    trouble = until(lambda: house.room.pipeline.trouble)
    assert "does not answer" in str(trouble)
    server.away = False
    house.findable("s1/new.md")
    until(lambda: house.room.pipeline.trouble is None)
    assert house.retriever.search("colony inspected").degraded == ()


def test_an_index_of_an_earlier_version_is_relabelled_without_a_vector_computed(house: House) -> None:
    filled(house, 4)
    generation = house.room.stacks.meaning.serving.generation
    house.close()
    folder = house.config.data / "index" / "vectors" / generation
    for part in (folder / "shard-1").iterdir():
        part.rename(folder / part.name)
    (folder / "index.json").unlink()
    old = EdgeIndex(folder, dimensions=384)
    assert not old.labelled()
    old.close()
    house.open()
    vectors = house.room.stacks.vectors
    until(vectors.labelled)
    assert (
        len(vectors.search([1.0] + [0.0] * 383, limit=50, filters=Filters(formats=("markdown",))))
        == vectors.count()
    )
    assert house.room.pipeline.progress().embedded_since_start == 0


def test_reindexing_tells_of_a_move_and_gives_it_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(house, 3)
    reindexer = house.room.upkeep.reindexer
    house.room.pipeline.pause()
    reindexer.move(URL)
    current = reindexer.current
    assert current is not None
    assert (current.what, current.vectors, current.cancellable) == (What.VECTORS, 0.0, True)
    with pytest.raises(Busy):
        reindexer.request(What.VECTORS)
    given_up = reindexer.cancel()
    assert given_up is not None
    assert (given_up.id, given_up.state) == (current.job_id, "cancelled")
    assert reindexer.current is None
    house.room.pipeline.resume()
    reindexer.move(URL)
    moved(house)
    until(lambda: reindexer.current is None)
    assert isinstance(house.room.stacks.vectors, ServerIndex)


def test_vectors_on_a_server_are_computed_anew_in_a_collection_of_their_own(
    house: House, server: Server
) -> None:
    configured(house, URL)
    filled(house, 3)
    before = by_meaning(house)
    collections = {one.name for one in server.client.get_collections().collections}
    job = house.room.upkeep.reindexer.request(What.VECTORS)
    until(lambda: house.room.upkeep.reindexer.current is None)
    ended = house.room.stacks.jobs.one(job.id)
    assert ended is not None
    assert ended.state == "done", ended.detail
    until(lambda: not collections & {one.name for one in server.client.get_collections().collections})
    assert by_meaning(house) == before
    house.close()
    house.open()
    assert house.room.stacks.meaning.building is None
    assert by_meaning(house) == before
