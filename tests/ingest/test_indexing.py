"""From a file in the folder to a findable document: inbox, pipeline, both indexes and the record together.

The real parts, wired as the appliance wires them, without HTTP.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.config import Config, IngestConfig, PathsConfig
from appliance.reading_room import ReadingRoom, open_reading_room
from appliance.stacks import open_stacks
from ingest.link import WorkerLink
from library.values import Document, DocumentState
from search.embedder import TokenCounter
from search.query import parse
from tests.places import MODELS, embedding_model

pytestmark = pytest.mark.models

BEES = "# Keeping bees\n\n## The smoker\n\nLight the smoker with dry sumac bobs.\n\n## Inspection\n\nThe colony is called Marigold.\n"


class House:
    """A reading room that can be closed and opened again on the same data."""

    def __init__(self, folder: Path) -> None:
        embedding_model()
        self.library = folder / "library"
        self.library.mkdir(parents=True)
        (folder / "data").mkdir()
        (folder / "data" / ".furnished").touch()  # these tests bring their own books
        paths = PathsConfig(data=str(folder / "data"), library=str(self.library), models=str(MODELS))
        self.config = Config(paths=paths, ingest=IngestConfig(settle_s=0.2))
        self._opened = ExitStack()

    def open(self) -> "House":
        stacks = self._opened.enter_context(open_stacks(self.config))
        stacks.embedder.open()
        self.room: ReadingRoom = self._opened.enter_context(open_reading_room(self.config, stacks))
        self.catalogue, self.retriever = stacks.catalogue, stacks.retriever
        return self

    def close(self) -> None:
        self._opened.close()

    @property
    def embedding_worker(self) -> WorkerLink:
        return self.room.pipeline._embedding.links[0]

    def drop(self, path: str, text: str = BEES) -> Path:
        target = self.library / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def document(self, path: str) -> Document | None:
        return next((item for item in self.catalogue.documents(limit=500).items if item.path == path), None)

    def until(self, path: str, *states: DocumentState) -> Document:
        found: Document = until(
            lambda: (document := self.document(path)) and document.state in states and document
        )
        return found

    def findable(self, path: str) -> Document:
        return self.until(path, DocumentState.FINDABLE)

    def found(self, query: str) -> list[str]:
        return [passage.excerpt.document.path for passage in self.retriever.search(query, limit=5).passages]


def until(probe: Callable[[], object], timeout_s: float = 60) -> object:
    ends = time.monotonic() + timeout_s
    while not (found := probe()):
        assert time.monotonic() < ends, "it did not come about in time"
        time.sleep(0.05)
    return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house.open()
    house.close()


def test_a_dropped_file_becomes_findable_by_words_and_by_meaning(house: House) -> None:
    house.drop("garden/bees.md")
    document = house.findable("garden/bees.md")
    assert (document.title, document.shelf, document.format) == ("Keeping bees", "garden", "markdown")
    assert document.chunks == document.embedded == 2
    best = house.retriever.search("What is the name of the insects' home?", limit=1).passages[0]
    assert best.excerpt.text == "The colony is called Marigold."
    assert best.excerpt.heading_path == ("Keeping bees", "Inspection")
    assert best.similarity


def test_a_file_that_is_there_before_the_start_is_found_by_the_scan(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.drop("garden/bees.md")
    house.open()
    house.findable("garden/bees.md")
    house.close()


def test_a_changed_file_is_found_by_its_new_words_and_not_by_its_old(house: House) -> None:
    house.drop("garden/bees.md")
    before = house.findable("garden/bees.md")
    house.drop("garden/bees.md", "# Keeping goats\n\nThe goat is called Petronella.\n")
    until(
        lambda: (
            (d := house.document("garden/bees.md")) and d.title == "Keeping goats" and d.state == "findable"
        )
    )
    assert house.findable("garden/bees.md").id == before.id
    assert house.found("Petronella") == ["garden/bees.md"]
    texts = [passage.excerpt.text for passage in house.retriever.search("Marigold colony", limit=10).passages]
    assert texts == ["The goat is called Petronella."]
    assert house.room.stacks.vectors.count() == house.room.stacks.lexical.count() == 1


def test_a_deleted_file_is_missing_and_no_longer_found_and_comes_back_at_once(house: House) -> None:
    path = house.drop("garden/bees.md")
    house.findable("garden/bees.md")
    kept = path.read_bytes()
    path.unlink()
    house.until("garden/bees.md", DocumentState.MISSING)
    assert house.found("Marigold") == []
    embedded_by = house.embedding_worker.pid
    path.write_bytes(kept)
    house.findable("garden/bees.md")
    assert house.found("Marigold colony")[0] == "garden/bees.md"
    assert house.embedding_worker.pid == embedded_by


def test_a_renamed_file_keeps_its_id(house: House) -> None:
    path = house.drop("garden/bees.md")
    before = house.findable("garden/bees.md")
    path.rename(path.with_name("hives.md"))
    assert house.findable("garden/hives.md").id == before.id
    until(lambda: house.document("garden/bees.md") is None)


def test_a_folder_moved_in_as_a_whole_is_read(house: House, tmp_path: Path) -> None:
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "deep" / "bees.md").write_text(BEES)
    (tmp_path / "outside").rename(house.library / "shelf")
    assert house.findable("shelf/deep/bees.md").shelf == "shelf"


def test_a_folder_that_is_removed_takes_its_documents(house: House) -> None:
    house.drop("garden/bees.md")
    house.drop("garden/deep/goats.md", "# Goats\n\nA goat.\n")
    house.findable("garden/bees.md")
    house.findable("garden/deep/goats.md")
    shutil.rmtree(house.library / "garden")
    house.until("garden/bees.md", DocumentState.MISSING)
    house.until("garden/deep/goats.md", DocumentState.MISSING)


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("film.mp4", "not really a film", "cannot be read"),
        ("empty.md", "", "empty"),
        ("blank.txt", " \n\n\t ", "empty"),
        ("broken.epub", "PK\x03\x04 nothing behind it", "."),
    ],
)
def test_a_bad_file_fails_with_a_sentence_and_the_next_is_read(
    house: House, path: str, content: str, says: str
) -> None:
    house.drop(f"a/{path}", content)
    house.drop("b/bees.md")
    failed = house.until(f"a/{path}", DocumentState.FAILED)
    assert failed.reason
    assert says in failed.reason
    assert failed.reason.endswith(".")
    house.findable("b/bees.md")


def test_a_file_that_failed_is_read_again_once_it_has_changed(house: House) -> None:
    house.drop("a/note.md", "")
    house.until("a/note.md", DocumentState.FAILED)
    house.drop("a/note.md")
    document = house.findable("a/note.md")
    assert document.reason is None


def test_a_file_still_being_written_is_not_read_before_it_is_whole(house: House) -> None:
    path = house.library / "slow.md"
    with path.open("w") as writing:
        for n in range(8):
            writing.write(f"# Part {n}\n\nThe word of part {n} is zebra{n}.\n\n")
            writing.flush()
            time.sleep(0.1)
    assert house.findable("slow.md").chunks == 8


def test_a_killed_worker_costs_nothing_but_time(house: House) -> None:
    for n in range(6):
        house.drop(f"s/{n}.md", f"# Note {n}\n\n" + f"The colony number {n} is inspected. " * 40)
    until(lambda: house.embedding_worker.pid)
    pid = house.embedding_worker.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    for n in range(6):
        house.findable(f"s/{n}.md")
    chunks, vectors = house.catalogue.indexed_totals()
    assert chunks == vectors == house.room.stacks.vectors.count() == house.room.stacks.lexical.count()


def test_both_indexes_can_be_deleted_and_are_rebuilt_from_the_record(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.drop("garden/bees.md")
    house.open()
    before = house.findable("garden/bees.md")
    house.close()
    shutil.rmtree(tmp_path / "data" / "index")
    house.open()
    until(lambda: house.room.stacks.vectors.count() == before.chunks)
    house.findable("garden/bees.md")
    assert house.found("Marigold colony") == ["garden/bees.md"] * 2
    house.close()


def test_a_document_is_not_called_findable_when_an_index_does_not_hold_it(house: House) -> None:
    really = house.room.stacks.vectors.upsert
    house.room.stacks.vectors.upsert = lambda chunks, vectors: really(chunks[:1], vectors[:1])  # type: ignore[method-assign]
    house.drop("garden/bees.md")
    failed = house.until("garden/bees.md", DocumentState.FAILED)
    assert failed.reason
    assert "did not find it" in failed.reason
    assert house.found("Marigold") == []


def test_an_unplugged_folder_is_said_to_be_and_its_documents_are_kept(house: House, tmp_path: Path) -> None:
    house.drop("garden/bees.md")
    house.findable("garden/bees.md")
    house.library.rename(tmp_path / "unplugged")
    house.room.inbox.scan()
    assert house.room.inbox.trouble
    assert "cannot be seen" in house.room.inbox.trouble
    (tmp_path / "unplugged").rename(house.library)
    house.room.inbox.scan()
    assert house.room.inbox.trouble is None
    house.findable("garden/bees.md")
    assert house.found("Marigold colony")[0] == "garden/bees.md"


def test_an_emptied_folder_keeps_its_documents_as_missing_and_warns(tmp_path: Path) -> None:
    house = House(tmp_path)
    path = house.drop("garden/bees.md")
    house.open()
    house.findable("garden/bees.md")
    house.close()
    kept = path.read_bytes()
    path.unlink()
    house.open()
    house.until("garden/bees.md", DocumentState.MISSING)
    assert house.room.inbox.trouble
    assert "not mounted" in house.room.inbox.trouble
    path.write_bytes(kept)
    house.findable("garden/bees.md")
    house.close()


def test_a_second_almanac_on_the_same_data_is_refused(house: House) -> None:
    from library.errors import SetupError

    with pytest.raises(SetupError, match="already running"), open_stacks(house.config):
        pass


def test_no_chunk_is_longer_than_what_the_embedder_takes(house: House) -> None:
    house.drop(
        "long.md", "# A rather long title for a book\n\n" + "Antidisestablishmentarianism prevails. " * 400
    )
    document = house.findable("long.md")
    counter = TokenCounter(embedding_model())
    chunks = list(house.room.stacks.queue.indexed_chunks(document))
    assert len(chunks) > 5
    assert max(counter([chunk.indexed_text for chunk in chunks])) <= 254


def test_odd_names_links_and_dates_stop_nothing(house: House, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("The plughword is outside of the library.")
    (house.library / "self.txt").symlink_to("self.txt")
    (house.library / "linked").symlink_to(outside)
    (house.library / "through").mkdir()
    (house.library / "through" / "loop").symlink_to(house.library)
    Path(os.fsdecode(os.fsencode(house.library) + b"/caf\xe9.txt")).write_text("latin name")
    os.mkfifo(house.library / "pipe.txt")
    late = house.drop("late.md", BEES)
    os.utime(late, (10**10, 10**10))
    house.drop("garden/fine.md", BEES.replace("Marigold", "Petunia"))
    house.findable("garden/fine.md")
    house.findable("late.md")
    time.sleep(0.5)
    house.room.inbox.scan()
    assert {item.path for item in house.catalogue.documents().items} == {"garden/fine.md", "late.md"}
    assert house.room.stacks.lexical.search(parse("plughword"), limit=5) == []
    assert house.room.inbox.alive
    assert house.room.inbox.trouble
    assert "not valid text" in house.room.inbox.trouble


def test_a_book_moved_to_another_shelf_while_it_is_embedded_ends_findable_there(house: House) -> None:
    text = "# Long\n\n" + "\n\n".join(f"Paragraph {n} tells of the zebra. " * 12 for n in range(200))
    path = house.drop("first/long.md", text)
    until(lambda: (d := house.document("first/long.md")) and d.embedded > 0)
    (house.library / "second").mkdir()
    path.rename(house.library / "second" / "long.md")
    document = house.findable("second/long.md")
    assert document.embedded == document.chunks
    assert house.room.stacks.vectors.count() == house.room.stacks.lexical.count() == document.chunks
    # The record says at once where the book is; in the indexes its shelf is told a moment later.
    found = until(lambda: house.retriever.search("zebra shelf:second").passages)
    assert found[0].found_by == ("words", "meaning")


def test_a_book_mended_by_its_right_ending_is_read_again(house: House) -> None:
    path = house.drop("a/notes.epub", "# Not a zip\n\nThe goat is called Petronella.\n")
    house.until("a/notes.epub", DocumentState.FAILED)
    path.rename(path.with_suffix(".md"))
    assert house.findable("a/notes.md").format == "markdown"


def test_a_failed_file_saved_again_is_tried_again(house: House) -> None:
    path = house.drop("a/broken.epub", "PK\x03\x04 no book")
    before = house.until("a/broken.epub", DocumentState.FAILED)
    path.write_text("PK\x03\x04 no book")
    until(
        lambda: (
            (d := house.document("a/broken.epub"))
            and d.updated_at > before.updated_at
            and d.state == "failed"
        )
    )


def test_a_shelf_renamed_as_a_whole_is_found_under_its_new_name_and_nothing_is_embedded_again(
    house: House,
) -> None:
    for n in range(12):
        house.drop(f"first/{n}.md", f"# Note {n}\n\nThe zebra number {n} is striped.\n")
    before = {f"second/{n}.md": house.findable(f"first/{n}.md").id for n in range(12)}
    embedded = house.room.pipeline.progress().embedded_since_start
    (house.library / "first").rename(house.library / "second")
    until(lambda: {item.path: item.id for item in house.catalogue.documents().items} == before)

    def found_by() -> list[tuple[str, ...]]:
        found = house.retriever.search("zebra shelf:second", limit=20).passages
        return [passage.found_by for passage in found]

    until(lambda: found_by() == [("words", "meaning")] * 12)
    assert house.retriever.search("zebra shelf:first").total == 0
    assert house.room.pipeline.progress().embedded_since_start == embedded
    assert house.catalogue.counts()[DocumentState.FINDABLE] == 12


def test_a_file_copied_over_itself_while_it_is_read_is_found_whole(house: House) -> None:
    whole = "\n\n".join(
        f"# Part {n}\n\nThe lighthouse keeper noted sighting{n} in his log." for n in range(400)
    )
    house.room.pipeline.pause()
    target = house.drop("log.md", whole)
    house.until("log.md", DocumentState.WAITING)
    with target.open("w") as copy:
        copy.write(whole[: len(whole) // 2])
        copy.flush()
        house.room.pipeline.resume()
        house.until("log.md", DocumentState.READING)
        time.sleep(1)
        copy.write(whole[len(whole) // 2 :])
    assert house.findable("log.md").chunks >= 400
    best = house.retriever.search("sighting399", limit=1).passages[0]
    assert "sighting399" in best.excerpt.text


def test_a_file_that_could_not_be_received_is_held_to_its_limits_when_it_is_retried(house: House) -> None:
    target = house.drop("large.txt", "")
    with target.open("w") as content:
        content.truncate(house.config.ingest.max_file_mib * 1024 * 1024 + 1)
    failed = house.until("large.txt", DocumentState.FAILED)
    assert failed.reason
    assert "max_file_mib" in failed.reason
    assert house.room.pipeline.retry([failed.id]) == 1
    again = house.until("large.txt", DocumentState.FAILED)
    assert again.reason == failed.reason


def test_of_a_file_that_was_emptied_nothing_stays_in_the_indexes(house: House) -> None:
    target = house.drop("bees.md")
    house.findable("bees.md")
    target.write_text("")
    house.until("bees.md", DocumentState.FAILED)
    indexes = house.room.pipeline._indexes
    until(lambda: indexes.lexical.count() == 0 == indexes.meaning.serving.vectors.count())


def test_of_a_changed_book_that_is_cancelled_nothing_stays_in_the_indexes(house: House) -> None:
    target = house.drop("bees.md")
    house.findable("bees.md")
    house.room.pipeline.pause()
    target.write_text("# Wasps\n\nThey make paper.\n")
    house.until("bees.md", DocumentState.WAITING)
    assert house.room.pipeline.cancel() == 1
    indexes = house.room.pipeline._indexes
    assert indexes.lexical.count() == 0 == indexes.meaning.serving.vectors.count()


def test_a_document_sent_back_to_be_read_is_not_findable_because_its_file_went_and_came(house: House) -> None:
    target = house.drop("bees.md")
    document = house.findable("bees.md")
    house.room.pipeline.pause()
    assert house.room.stacks.queue.read_again(document)
    aside = target.rename(house.library.parent / "aside.md")
    house.until("bees.md", DocumentState.MISSING)
    aside.rename(target)
    house.until("bees.md", DocumentState.WAITING)
    house.room.pipeline.resume()
    house.findable("bees.md")


def test_indexes_restored_from_before_an_edit_are_brought_up_to_date(tmp_path: Path) -> None:
    house = House(tmp_path).open()
    target = house.drop("hint.md", "# Hint\n\nThe word is aardvark.\n")
    house.findable("hint.md")
    house.close()
    shutil.copytree(tmp_path / "data" / "index", tmp_path / "backup")
    house.open()
    target.write_text("# Hint\n\nThe word is pangolin.\n")
    until(lambda: house.found("pangolin") == ["hint.md"])
    house.findable("hint.md")
    house.close()
    shutil.rmtree(tmp_path / "data" / "index")
    shutil.copytree(tmp_path / "backup", tmp_path / "data" / "index")
    house.open()
    try:
        until(lambda: house.found("pangolin") == ["hint.md"])
        house.findable("hint.md")
        assert [checked.lost for checked in house.room.verification.run()] == [None]
    finally:
        house.close()


def test_verification_goes_on_when_a_document_changes_while_it_is_looked_at(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.drop("bees.md")
    document = house.findable("bees.md")
    house.room.pipeline.pause()
    queue = house.room.stacks.queue
    look = queue.chunk_ids

    def a_moment_later(ids: Sequence[str]) -> dict[str, list[str]]:
        assert queue.read_again(document)
        return {id_: of_one[:-1] for id_, of_one in look(ids).items()}

    monkeypatch.setattr(queue, "chunk_ids", a_moment_later)
    assert [checked.lost for checked in house.room.verification.run()] == [None]
