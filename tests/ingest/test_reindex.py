"""Indexes that are lost, damaged, of an earlier version or unwanted: search goes on, and they are whole again by themselves."""

import contextlib
import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tantivy

from ingest import reindexing
from ingest.index_health import IndexState, vector_health, words_health
from ingest.reindexing import What
from ingest.upkeep import VECTORS, WORDS
from library.errors import Busy, InvalidRequest, NotRunning
from library.values import DocumentState
from search.earlier import EarlierLexicalIndex, _almanac_1
from search.generations import mark_schema
from search.lexical import SCHEMA, LexicalIndex
from search.query import Filters, parse
from search.values import Mode, Side
from tests.ingest.test_indexing import BEES, House, until

pytestmark = pytest.mark.models

NOTES = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A house with a few notes, all of them findable; closed."""
    folder = tmp_path_factory.mktemp("whole")
    house = House(folder)
    house.drop("garden/bees.md")
    for n in range(1, NOTES):
        house.drop(
            f"garden/{n}.md", f"# Note {n}\n\n" + f"The colony number {n} is inspected on Sundays. " * 12
        )
    house.open()
    everything_findable(house)
    house.close()
    return folder


@pytest.fixture
def house(whole: Path, tmp_path: Path) -> Iterator[House]:
    """A copy of it, open."""
    house = House(tmp_path)
    for name in ("data", "library"):
        shutil.copytree(whole / name, tmp_path / name, dirs_exist_ok=True)
    yield house.open()
    house.close()


def everything_findable(house: House, notes: int = NOTES) -> None:
    until(lambda: house.catalogue.counts()[DocumentState.FINDABLE] == notes)


def everything_is_found_again(house: House, notes: int = NOTES) -> None:
    """By words and by meaning, as the proof has it, and nothing is said to be amiss."""
    everything_findable(house, notes)
    until(lambda: not house.room.upkeep.troubles() and house.room.upkeep.reindexer.current is None)
    assert [checked.lost for checked in house.room.verification.run()] == [None] * notes
    found = house.retriever.search("Marigold colony")
    assert not found.degraded
    assert found.passages[0].excerpt.text == "The colony is called Marigold."
    assert set(found.passages[0].found_by) == {Side.WORDS, Side.MEANING}
    chunks, vectors = house.catalogue.indexed_totals()
    assert chunks == vectors == house.room.stacks.lexical.count() == house.room.stacks.vectors.count()


def folder_of(house: House, side: str) -> Path:
    return house.room.upkeep.folders()[side]


def generation_of(house: House, side: str) -> str:
    stacks = house.room.stacks
    return stacks.words.serving.generation if side == WORDS else stacks.meaning.serving.generation


def engine_files(folder: Path) -> list[Path]:
    ours = {"schema.txt", "seal.txt", "sealed.json", ".tantivy-meta.lock", ".tantivy-writer.lock"}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ours)
    # What is listed nowhere and holds nothing may change without anybody's harm.
    return [path for path in files if path.stat().st_size and path.name != ".managed.json"]


def flipped(path: Path, seed: int = 1) -> None:
    content, draw = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(3):
        content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
    path.write_bytes(content)


def any_flipped(folder: Path, seed: int) -> None:
    flipped(random.Random(seed).choice(engine_files(folder)), seed)


def any_cut(folder: Path, seed: int) -> None:
    path = random.Random(seed).choice(engine_files(folder))
    os.truncate(path, path.stat().st_size // 2)


def any_deleted(folder: Path, seed: int) -> None:
    random.Random(seed).choice(engine_files(folder)).unlink()


def all_emptied(folder: Path, _: int) -> None:
    for path in engine_files(folder):
        os.truncate(path, 0)


def folder_deleted(folder: Path, _: int) -> None:
    shutil.rmtree(folder)


def folder_is_a_file(folder: Path, _: int) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


def root_is_a_file(folder: Path, _: int) -> None:
    shutil.rmtree(folder.parent)
    folder.parent.write_text("not a folder")


def unreadable(folder: Path, _: int) -> None:
    folder.chmod(0)


DAMAGES: list[tuple[Callable[[Path, int], None], int]] = [
    *[(any_flipped, seed) for seed in range(3)],
    *[(any_cut, seed) for seed in range(3)],
    *[(any_deleted, seed) for seed in range(3)],
    (all_emptied, 0),
    (folder_deleted, 0),
    (folder_is_a_file, 0),
    (root_is_a_file, 0),
    *([] if os.geteuid() == 0 else [(unreadable, 0)]),  # root may read what nobody may
]


@pytest.mark.parametrize("side", [WORDS, VECTORS])
def test_an_index_damaged_in_any_way_before_the_start_is_whole_again_by_itself(
    house: House, side: str
) -> None:
    for damage, seed in DAMAGES:
        folder, other = folder_of(house, side), generation_of(house, VECTORS if side == WORDS else WORDS)
        house.close()
        damage(folder, seed)
        house.open()
        everything_is_found_again(house)
        assert folder_of(house, side) != folder, f"{damage.__name__} {seed} was not noticed"
        assert generation_of(house, VECTORS if side == WORDS else WORDS) == other  # no harm to the other
        assert [found.name for found in folder_of(house, side).parent.iterdir()] == [
            generation_of(house, side)
        ]


def test_both_lost_at_once_are_whole_again_too(house: House) -> None:
    folders = [folder_of(house, WORDS), folder_of(house, VECTORS)]
    house.close()
    for folder in folders:
        all_emptied(folder, 0)
    house.open()
    everything_is_found_again(house)


def test_while_the_vectors_are_lost_words_are_found_and_it_is_said_so(house: House) -> None:
    folder = folder_of(house, VECTORS)
    house.room.pipeline.pause()
    house.close()
    shutil.rmtree(folder)
    house.open()
    until(house.room.upkeep.troubles)
    found = house.retriever.search("Marigold")
    assert [passage.found_by for passage in found.passages] == [(Side.WORDS,)]
    assert found.degraded == ("The index of vectors is being rebuilt, since its folder was gone.",)
    health = vector_health(
        house.room.upkeep, house.room.stacks.meaning, house.catalogue, folder_of(house, VECTORS)
    )
    assert (health.state, health.share, health.entries) == (IndexState.REBUILDING, 0.0, 0)
    house.room.pipeline.resume()
    everything_is_found_again(house)
    done = house.room.stacks.jobs.latest(reindexing.KIND)
    assert done
    assert (done.state, done.detail) == ("done", "A new index of vectors serves.")


def looked_at(house: House) -> None:
    house.room.upkeep._looked_at = float("-inf")


@pytest.mark.parametrize("side", [WORDS, VECTORS])
@pytest.mark.parametrize("damage", [any_flipped, any_deleted, folder_deleted])
def test_an_index_damaged_while_it_serves_is_replaced(
    house: House, side: str, damage: Callable[[Path, int], None]
) -> None:
    if side == VECTORS:
        until(lambda: not house.room.pipeline.progress().to_embed)
        house.room.stacks.vectors.files.seal()
    folder = folder_of(house, side)
    damage(folder, 4)
    looked_at(house)
    until(lambda: folder_of(house, side) != folder)
    everything_is_found_again(house)
    until(lambda: not folder.exists())
    house.drop("garden/late.md", "# Late\n\nA colony that came after the accident.\n")
    house.findable("garden/late.md")
    everything_is_found_again(house, NOTES + 1)


@pytest.mark.parametrize("side", [WORDS, VECTORS])
def test_what_an_engine_refuses_is_no_damage(house: House, side: str) -> None:
    stacks, before = house.room.stacks, generation_of(house, side)
    index: Any = stacks.lexical if side == WORDS else stacks.vectors
    index.damage = "a query that it did not understand"
    until(lambda: index.damage is None)
    assert generation_of(house, side) == before
    everything_is_found_again(house)


def test_what_is_damaged_again_and_again_is_left_alone_and_said_to_be(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep = house.room.upkeep
    monkeypatch.setattr(upkeep, "_confirmed_words", lambda: "the disk is broken")
    until(lambda: house.room.stacks.lexical.__setattr__("damage", "again") or upkeep.given_up)
    assert upkeep.troubles() == [
        (
            "The index of words was damaged 4 times within an hour (the disk is broken) and is left alone now. "
            "Check the disk, then restart Almanac."
        )
    ]
    health = words_health(upkeep, house.room.stacks.words, folder_of(house, WORDS))
    assert health.state is IndexState.LOST


@pytest.mark.parametrize("side", [WORDS, VECTORS])
def test_one_folder_restored_from_before_an_edit_is_noticed(house: House, side: str, tmp_path: Path) -> None:
    folder = folder_of(house, side)
    house.close()
    shutil.copytree(folder, tmp_path / "backup")
    house.open()
    house.drop("garden/bees.md", BEES.replace("Marigold", "Petronella"))
    until(lambda: house.found("Petronella")[:1] == ["garden/bees.md"])
    everything_findable(house)
    assert folder_of(house, side) == folder
    house.close()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    house.open()
    until(lambda: [checked.lost for checked in house.room.verification.run()] == [None] * NOTES)
    assert house.found("Petronella")[0] == "garden/bees.md"


# --- another version ---------------------------------------------------------------------------------


def gated(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have a refill wait until the event is set, or all is to end."""
    gate, really = threading.Event(), reindexing.refill

    def late(*given: Any, go_on: Callable[[], bool], **named: Any) -> bool:
        while go_on() and not gate.wait(0.05):
            pass
        return really(*given, go_on=go_on, **named)

    monkeypatch.setattr(reindexing, "refill", late)
    return gate


def as_almanac_0_1_left_it(house: House, folder: Path) -> None:
    """Close the house, and have in that folder the index that Almanac 0.1 would have made of its library."""
    queue = house.room.stacks.queue
    chunks = [chunk for document in queue.all_indexed() for chunk in queue.indexed_chunks(document)]
    house.close()
    shutil.rmtree(folder)
    folder.mkdir()
    schema = (
        tantivy.SchemaBuilder()
        .add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
        .add_text_field("document", tokenizer_name="raw", index_option="basic")
        .add_text_field("shelf", tokenizer_name="raw", index_option="basic")
        .add_text_field("text", tokenizer_name="almanac_1", index_option="position")
        .build()
    )
    index = tantivy.Index(schema, path=str(folder))
    index.register_tokenizer("almanac_1", _almanac_1())
    writer = index.writer(15_000_000, 1)
    for chunk in chunks:
        document = tantivy.Document()
        document.add_text("id", chunk.id)
        document.add_text("document", chunk.document_id)
        document.add_text("shelf", chunk.labels.shelf or "")
        document.add_text("text", chunk.indexed_text)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    mark_schema(folder, "almanac_1")


def test_an_index_of_an_unknown_version_is_replaced_and_filled(house: House) -> None:
    folder = folder_of(house, WORDS)
    house.close()
    mark_schema(folder, "almanac_0")
    house.open()
    assert isinstance(house.room.stacks.lexical, LexicalIndex)
    everything_is_found_again(house)


def test_an_index_of_an_earlier_version_answers_until_its_successor_is_whole(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(house, WORDS)
    as_almanac_0_1_left_it(house, folder)
    gate = gated(monkeypatch)
    house.drop("garden/late.md", "# Late\n\nA colony that came with the new version.\n")
    house.open()
    assert isinstance(house.room.stacks.lexical, EarlierLexicalIndex)
    found = house.retriever.search("the Marigolds", mode=Mode.LEXICAL)
    assert [passage.excerpt.text for passage in found.passages[:1]] == ["The colony is called Marigold."]
    elsewhere = msgspec.structs.replace(parse("Marigold"), filters=Filters(shelves=("elsewhere",)))
    assert house.retriever.search(elsewhere, mode=Mode.LEXICAL).passages == ()
    assert "earlier version" in found.degraded[0]
    health = words_health(house.room.upkeep, house.room.stacks.words, folder)
    assert (health.state, health.schema) == (IndexState.REBUILDING, "almanac_1")
    assert house.document("garden/late.md") is None  # nothing is read that could not be found
    gate.set()
    house.findable("garden/late.md")
    everything_is_found_again(house, NOTES + 1)
    assert house.room.stacks.words.serving.schema == SCHEMA
    until(lambda: not folder.exists())


def test_an_upgrade_finds_its_way_where_the_record_has_lost_texts(house: House) -> None:
    folder = folder_of(house, WORDS)
    as_almanac_0_1_left_it(house, folder)
    forget_texts_of(house, "garden/bees.md", "garden/1.md")
    house.open()
    until(lambda: house.room.stacks.words.serving.schema == SCHEMA)
    everything_is_found_again(house)


def test_a_half_embedded_document_whose_text_is_lost_is_read_again(house: House) -> None:
    house.close()
    forget_texts_of(house, "garden/1.md")
    with contextlib.closing(sqlite3.connect(house.config.data / "record.sqlite3")) as record, record:
        record.execute(
            "UPDATE documents SET embedded = 0, state = 'findable_words' WHERE path = 'garden/1.md'"
        )
    house.open()
    everything_is_found_again(house)


def forget_texts_of(house: House, *paths: str) -> None:
    """As a record is left that somebody repaired, or an upgrade harmed."""
    with contextlib.closing(sqlite3.connect(house.config.data / "record.sqlite3")) as record, record:
        for path in paths:
            of = "document_id = (SELECT id FROM documents WHERE path = ?)"
            assert record.execute(f"DELETE FROM chunks WHERE {of}", (path,)).rowcount
            assert record.execute(f"DELETE FROM sections WHERE {of}", (path,)).rowcount


def test_an_upgrade_that_is_interrupted_is_gone_on_with(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(house, WORDS)
    as_almanac_0_1_left_it(house, folder)
    gate = gated(monkeypatch)
    house.open()
    house.close()
    gate.set()
    house.open()
    everything_is_found_again(house)
    assert house.room.stacks.words.serving.schema == SCHEMA


def test_a_house_from_before_there_were_generations_keeps_its_indexes(house: House) -> None:
    words, vectors = folder_of(house, WORDS), folder_of(house, VECTORS)
    root, model = words.parent, house.room.stacks.meaning.serving.model
    facts, count = house.room.stacks.facts, house.room.stacks.vectors.count()
    facts.put_all({"words.serving": None, "vectors.serving": model})
    house.close()
    for name in ("schema.txt", "seal.txt"):
        (words / name).unlink()
    (vectors / "schema.txt").unlink()
    vectors.rename(vectors.with_name(model))
    words.rename(root.with_name("aside"))
    root.rmdir()
    root.with_name("aside").rename(root)
    (root / "analyser.txt").write_text(SCHEMA)
    house.open()
    assert house.room.stacks.vectors.count() == count
    assert house.room.stacks.words.lost is None
    everything_is_found_again(house)
    assert generation_of(house, WORDS) == f"{SCHEMA}~0"
    assert generation_of(house, VECTORS) == model


def test_vectors_of_an_earlier_schema_serve_until_they_are_computed_again(house: House) -> None:
    folder = folder_of(house, VECTORS)
    house.close()
    mark_schema(folder, "0")
    (folder / "sealed.json").unlink()
    house.open()
    until(lambda: folder_of(house, VECTORS) != folder)
    everything_is_found_again(house)
    until(lambda: not folder.exists())


# --- a reader asks for it ----------------------------------------------------------------------------


def test_everything_is_rebuilt_while_the_old_indexes_serve(house: House) -> None:
    before = {side: folder_of(house, side) for side in (WORDS, VECTORS)}
    watching, empty = threading.Event(), []

    def watch() -> None:
        while not watching.is_set():
            for mode in (Mode.LEXICAL, Mode.VECTOR):
                found = house.retriever.search("colony", mode=mode)
                if not found.passages or found.degraded:
                    empty.append((mode, found.degraded))

    watcher = threading.Thread(target=watch)
    watcher.start()
    job = house.room.upkeep.reindexer.request(What.ALL)
    assert (job.kind, job.state) == ("reindex", "running")
    with pytest.raises(Busy, match="rebuilt already"):
        house.room.upkeep.reindexer.request(What.LEXICAL)
    house.drop("garden/late.md", "# Late\n\nA colony that came while the indexes were being built.\n")
    house.findable("garden/late.md")
    until(lambda: house.room.upkeep.reindexer.current is None)
    watching.set()
    watcher.join()
    assert not empty
    ended = house.room.stacks.jobs.one(job.id)
    assert ended
    assert (ended.state, ended.detail) == (
        "done",
        "A new index of words serves. A new index of vectors serves.",
    )
    for side, folder in before.items():
        assert folder_of(house, side) != folder
        assert not folder.exists()
    everything_is_found_again(house, NOTES + 1)
    house.close()
    house.open()  # and it stays so
    everything_is_found_again(house, NOTES + 1)


def test_a_rebuild_can_be_given_up_and_nothing_is_lost(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    reindexer = house.room.upkeep.reindexer
    before = [generation_of(house, side) for side in (WORDS, VECTORS)]
    gated(monkeypatch)
    job = reindexer.request(What.ALL)
    reindexer.cancel()
    until(lambda: reindexer.current is None)
    ended = house.room.stacks.jobs.one(job.id)
    assert ended
    assert ended.state == "cancelled"
    assert [generation_of(house, side) for side in (WORDS, VECTORS)] == before
    assert house.room.stacks.words.building is None
    assert house.room.stacks.meaning.building is None
    everything_is_found_again(house)
    for side in (WORDS, VECTORS):
        only = [generation_of(house, side)]
        place = folder_of(house, side).parent
        until(lambda place=place, only=only: [found.name for found in place.iterdir()] == only)
    with pytest.raises(NotRunning):
        reindexer.cancel()


def test_a_rebuild_that_is_interrupted_is_gone_on_with(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [generation_of(house, side) for side in (WORDS, VECTORS)]
    gate = gated(monkeypatch)
    house.room.pipeline.pause()
    house.room.upkeep.reindexer.request(What.ALL)
    house.close()
    gate.set()
    house.open()
    assert [generation_of(house, side) for side in (WORDS, VECTORS)] == before
    until(lambda: house.room.upkeep.reindexer.current)
    house.room.pipeline.resume()
    until(lambda: house.room.upkeep.reindexer.current is None)
    assert not set(before) & {generation_of(house, side) for side in (WORDS, VECTORS)}
    everything_is_found_again(house)


def test_a_new_index_that_does_not_find_what_it_holds_never_serves(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    reindexer, stacks = house.room.upkeep.reindexer, house.room.stacks
    before = [generation_of(house, side) for side in (WORDS, VECTORS)]
    gate = gated(monkeypatch)
    house.room.pipeline.pause()
    job = reindexer.request(What.ALL)
    assert stacks.words.building
    assert stacks.meaning.building
    monkeypatch.setattr(stacks.words.building.lexical, "contains", lambda wanted: [False for _ in wanted])
    house.room.pipeline.successor._is_proven = lambda _: False  # type: ignore[union-attr,method-assign]
    gate.set()
    house.room.pipeline.resume()
    until(lambda: reindexer.current is None)
    ended = stacks.jobs.one(job.id)
    assert ended
    assert ended.state == "failed"
    assert "did not find it" in ended.detail
    assert [generation_of(house, side) for side in (WORDS, VECTORS)] == before
    everything_is_found_again(house)


def test_a_place_that_cannot_be_moved_to_is_refused(house: House) -> None:
    for wrong, sentence in (("qdrant.lan", "address"), (None, "already")):
        with pytest.raises(InvalidRequest, match=sentence):
            house.room.upkeep.reindexer.move(wrong)
    assert house.room.upkeep.reindexer.current is None
