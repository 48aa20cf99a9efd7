"""What a reader decides about ingest, and what it decides for itself: pause, retry, cancel, verify, a full disk."""

import os
import shutil
import signal
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.link import WorkerLink
from ingest.pipeline import CANCELLED
from ingest.verification import Verification
from library.values import DocumentState
from search.embedder import LazyEmbedder
from tests.ingest.test_indexing import BEES, House, until

pytestmark = pytest.mark.models


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    # Small windows, of which even a book that is soon embedded has many.
    monkeypatch.setattr("ingest.embedding._FIRST_WINDOW", 8)
    monkeypatch.setattr("ingest.embedding._LARGEST_WINDOW", 8)
    monkeypatch.setattr("ingest.pipeline._PAUSE_AFTER_FAILURE_S", 0.5)
    house = House(tmp_path)
    yield house.open()
    house.close()


def long_book(house: House, path: str = "s/long.md") -> None:
    house.drop(
        path, "# Long\n\n" + "\n\n".join(f"Paragraph {n} tells of the zebra. " * 12 for n in range(200))
    )


def verification(house: House) -> Verification:
    stacks = house.room.stacks
    return Verification(stacks.catalogue, stacks.queue, house.room.pipeline._indexes)


def test_while_paused_nothing_is_read_and_a_restart_does_not_forget_it(house: House) -> None:
    house.drop("s/before.md")
    house.findable("s/before.md")
    house.room.pipeline.pause()
    house.drop("s/after.md", BEES.replace("Marigold", "Petunia"))
    house.until("s/after.md", DocumentState.WAITING)
    house.close()
    house.open()
    assert house.room.pipeline.paused
    assert house.room.pipeline.progress().paused
    time.sleep(1)
    assert house.until("s/after.md", DocumentState.WAITING)
    assert set(house.found("Marigold")) == {"s/before.md"}
    house.room.pipeline.resume()
    house.findable("s/after.md")


def test_a_pause_in_the_middle_of_a_book_goes_on_where_it_stood(house: House) -> None:
    long_book(house)
    until(lambda: (d := house.document("s/long.md")) and d.embedded > 0)
    house.room.pipeline.pause()
    until(lambda: not house.room.pipeline.progress().embedding)
    paused_at = house.until("s/long.md", DocumentState.FINDABLE_WORDS).embedded
    time.sleep(1)
    assert house.until("s/long.md", DocumentState.FINDABLE_WORDS).embedded == paused_at
    house.room.pipeline.resume()
    document = house.findable("s/long.md")
    assert house.room.pipeline.progress().embedded_since_start == document.chunks


def test_progress_tells_the_rate_what_is_left_and_what_is_at_hand(house: House) -> None:
    long_book(house)
    progress = until(lambda: (p := house.room.pipeline.progress()).chunks_per_s and p.remaining_s and p)
    assert progress.embedding == ("s/long.md",)  # type: ignore[attr-defined]
    assert progress.to_embed == 1  # type: ignore[attr-defined]
    house.findable("s/long.md")
    done = house.room.pipeline.progress()
    assert (done.to_read, done.to_embed, done.remaining_s) == (0, 0, None)
    assert done.chunks == done.embedded


def test_a_cancelled_book_is_gone_from_both_indexes_and_a_retry_reads_it(house: House) -> None:
    long_book(house)
    house.drop("s/bees.md")
    until(lambda: (d := house.document("s/long.md")) and d.embedded > 0)
    long = house.document("s/long.md")
    assert long
    assert house.room.pipeline.cancel([long.id]) == 1
    assert house.until("s/long.md", DocumentState.FAILED).reason == CANCELLED
    bees = house.findable("s/bees.md")
    assert "s/long.md" not in house.found("zebra")
    until(lambda: house.room.stacks.vectors.count() == house.room.stacks.lexical.count() == bees.chunks)
    assert house.room.pipeline.retry() == 1
    house.findable("s/long.md")


def test_cancelling_all_gives_up_what_waits_and_leaves_what_is_findable(house: House) -> None:
    house.drop("s/bees.md")
    house.findable("s/bees.md")
    house.room.pipeline.pause()
    for n in range(5):
        house.drop(f"s/{n}.md", f"# Note {n}\n\nA note.\n")
    until(lambda: house.catalogue.counts()[DocumentState.WAITING] == 5)
    assert house.room.pipeline.cancel() == 5
    counts = house.catalogue.counts()
    assert (counts[DocumentState.FAILED], counts[DocumentState.FINDABLE]) == (5, 1)
    house.room.pipeline.resume()
    assert house.room.pipeline.retry() == 5
    until(lambda: house.catalogue.counts()[DocumentState.FINDABLE] == 6)


def test_a_nearly_full_disk_is_said_and_ingest_goes_on_by_itself_when_there_is_room(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil has it
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5 * 2**20, 5 * 2**20))
    house.drop("s/bees.md")
    trouble = until(lambda: house.room.pipeline.trouble)
    assert "only 5 MiB are free" in str(trouble)
    assert "ingest.min_free_mib" in str(trouble)
    assert house.until("s/bees.md", DocumentState.WAITING)
    monkeypatch.undo()
    house.findable("s/bees.md")
    until(lambda: house.room.pipeline.trouble is None)


def test_workers_are_held_while_somebody_waits_and_let_go_afterwards(house: House) -> None:
    long_book(house)
    until(lambda: (d := house.document("s/long.md")) and d.embedded > 0)

    def stopped() -> bool:
        pid = house.embedding_worker.pid
        assert pid
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    with house.room.stacks.precedence.foreground():
        until(stopped, 20)
        before = house.document("s/long.md")
        time.sleep(1)
        assert stopped()
        assert house.document("s/long.md") == before
    until(lambda: not stopped(), 20)
    house.findable("s/long.md")


def test_workers_go_home_when_there_is_no_work_and_come_back_for_the_next_file(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.drop("s/bees.md")
    house.findable("s/bees.md")
    monkeypatch.setattr("ingest.pipeline.IDLE_S", 0.3)
    house.room.pipeline.wake()
    links = [*house.room.pipeline._reading._links, house.embedding_worker]
    until(lambda: [link.pid for link in links] == [None] * len(links))
    house.drop("s/goats.md", BEES.replace("Marigold", "Petunia"))
    house.findable("s/goats.md")


def test_a_book_is_finished_also_where_somebody_is_always_asking(house: House) -> None:
    with house.room.stacks.precedence.foreground():
        house.drop("s/bees.md")
        house.findable("s/bees.md")


def test_right_after_a_start_verification_waits_for_the_embedding_model(house: House) -> None:
    house.drop("s/bees.md")
    house.findable("s/bees.md")
    meaning = house.room.stacks.meaning
    before = meaning.serving
    meaning.serving = before._replace(embedder=LazyEmbedder(before.embedder.folder, threads=1))
    assert not meaning.serving.embedder.ready
    assert [checked.lost for checked in verification(house).run()] == [None]


def test_verification_proves_a_whole_library_and_names_what_is_lost(house: House) -> None:
    for n in range(4):
        house.drop(
            f"s/{n}.md", f"# Note {n}\n\nThe colony number {n} is inspected.\n\n## Then\n\nIt was fine.\n"
        )
        house.findable(f"s/{n}.md")
    assert [checked.lost for checked in verification(house).run()] == [None] * 4
    house.room.pipeline.pause()
    stacks = house.room.stacks
    ids = {item.path: item.id for item in house.catalogue.documents().items}
    stacks.lexical.remove([ids["s/1.md"]])
    stacks.lexical.commit()
    chunks = stacks.queue.chunk_ids([ids["s/2.md"]])[ids["s/2.md"]]
    stacks.vectors.remove(chunks[:1])
    wrong = [0.0] * 383 + [1.0]
    document = house.catalogue.document(ids["s/3.md"])
    stacks.vectors.upsert(list(stacks.queue.indexed_chunks(document)), [wrong, wrong])
    lost = {checked.path: checked.lost for checked in verification(house).run()}
    assert lost["s/0.md"] is None
    assert lost["s/1.md"] == "The lexical index holds 0 of its 2 chunks."
    assert lost["s/2.md"] == "The vector index holds 1 of its 2 chunks."
    assert lost["s/3.md"] == "A search by meaning for its beginning does not find it."
    assert house.catalogue.counts()[DocumentState.WAITING] == 3
    house.room.pipeline.resume()
    until(lambda: house.catalogue.counts()[DocumentState.FINDABLE] == 4)
    assert [checked.lost for checked in verification(house).run()] == [None] * 4


@pytest.fixture
def slow_file(house: House, tmp_path: Path) -> WorkerLink:
    """A file that takes seconds to read is being read; the link to who reads it."""
    target = house.library / "s" / "big.md"
    target.parent.mkdir()
    written = tmp_path / "big.md"
    written.write_text(
        "# Big\n\n" + "\n\n".join(f"Paragraph {n} of *many* tells of [zebras](z)." for n in range(40_000))
    )
    written.rename(target)
    links = house.room.pipeline._reading._links
    link: WorkerLink = until(lambda: next((link for link in links if link.pid), None))
    until(lambda: house.room.pipeline.progress().reading == ("s/big.md",))
    return link


def test_a_reading_worker_that_is_killed_again_and_again_says_so_and_a_retry_reads_the_file(
    house: House, slow_file: WorkerLink
) -> None:
    killed = set()
    while len(killed) < 3:
        pid = until(lambda: slow_file.pid not in killed and slow_file.pid)
        killed.add(pid)
        os.kill(pid, signal.SIGKILL)
    failed = house.until("s/big.md", DocumentState.FAILED)
    assert "SIGKILL" in str(failed.reason)
    assert "Try it again" in str(failed.reason)
    assert house.room.pipeline.retry() == 1
    house.until("s/big.md", DocumentState.FINDABLE_WORDS)


def test_a_reading_worker_that_is_killed_once_costs_only_time(house: House, slow_file: WorkerLink) -> None:
    assert slow_file.pid
    os.kill(slow_file.pid, signal.SIGKILL)
    house.until("s/big.md", DocumentState.FINDABLE_WORDS)


def test_a_file_that_was_being_read_when_the_house_stopped_is_read_after_the_next_start(
    house: House, slow_file: WorkerLink
) -> None:
    house.close()
    house.open()
    house.until("s/big.md", DocumentState.FINDABLE_WORDS)
