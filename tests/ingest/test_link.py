"""The link to a worker: it answers, or it is lost with a reason; the next call gets a fresh one."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ingest.limits import Limits
from ingest.link import WorkerLink, WorkerLost
from ingest.pinned import open_inside, pinned
from ingest.wire import Broken, Embed, Embedded, Extract, Read, Unreadable, WorkerOrders
from search.embedder import DIMENSIONS
from tests.ingest.test_indexing import until
from tests.places import embedding_model

pytestmark = pytest.mark.models


def orders_for(library: Path, **changes: object) -> WorkerOrders:
    orders = WorkerOrders(
        socket_fd=-1,
        model_folder=str(embedding_model()),
        threads=2,
        memory_mib=1024,
        library=str(library),
        limits=Limits(),
        scratch=str(library.parent / f"{library.name}-scratch"),
        nice=19,
    )
    return msgspec.structs.replace(orders, **changes)


@pytest.fixture
def link(tmp_path: Path) -> Iterator[WorkerLink]:
    link = WorkerLink(orders_for(tmp_path), timeout_s=30)
    yield link
    link.close()


def note(tmp_path: Path, text: str = "# Bees\n\nThe colony is called Marigold.\n") -> str:
    path = tmp_path / "note.md"
    path.write_text(text)
    return path.name


def test_a_file_comes_back_as_sections_and_chunks(link: WorkerLink, tmp_path: Path) -> None:
    reply = link.call(Extract(note(tmp_path)))
    assert isinstance(reply, Read)
    assert reply.extracted.title == "Bees"
    assert [chunk.text for chunk in reply.chunks] == ["The colony is called Marigold."]


def test_a_bad_file_comes_back_with_a_sentence_and_the_worker_lives_on(
    link: WorkerLink, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.epub"
    bad.write_bytes(b"PK\x03\x04 not really")
    reply = link.call(Extract(bad.name))
    assert isinstance(reply, Unreadable)
    assert reply.reason.endswith(".")
    before = link.pid
    assert isinstance(link.call(Extract(note(tmp_path))), Read)
    assert link.pid == before


def test_vectors_come_back_in_order_and_of_unit_length(link: WorkerLink) -> None:
    link.call(Embed(["warm up"]))
    reply = link.call(
        Embed(["boil the water", "a much longer text about something else " * 20, "boil the water"])
    )
    assert isinstance(reply, Embedded)
    numbers = memoryview(reply.vectors).cast("f").tolist()
    rows = [numbers[at : at + DIMENSIONS] for at in range(0, len(numbers), DIMENSIONS)]
    assert len(rows) == 3
    assert all(abs(sum(value * value for value in row) - 1) < 1e-3 for row in rows)
    same = sum(a * b for a, b in zip(rows[0], rows[2], strict=True))
    other = sum(a * b for a, b in zip(rows[0], rows[1], strict=True))
    assert same > 0.99 > other


def test_a_killed_worker_is_lost_and_the_next_call_starts_another(link: WorkerLink, tmp_path: Path) -> None:
    link.call(Extract(note(tmp_path)))
    first = link.pid
    assert first
    link.halt()  # so that it cannot have answered before it dies
    link.send(Extract(note(tmp_path)))
    os.kill(first, signal.SIGSEGV)
    link.go_on()
    with pytest.raises(WorkerLost, match="crashed the reader"):
        link.receive()
    assert isinstance(link.call(Extract(note(tmp_path))), Read)
    assert link.pid != first


def test_a_worker_that_died_over_one_request_is_not_replaced_for_the_next(link: WorkerLink) -> None:
    link.call(Embed(["warm up"]))
    first = link.pid
    assert first
    link.halt()
    link.send(Embed(["boil the water"]))
    os.kill(first, signal.SIGKILL)
    link.go_on()
    until(lambda: link.pid is None)
    with pytest.raises(WorkerLost) as lost:  # else its reply were taken for the first one's
        link.send(Embed(["a goat on the hill", "a hen in the yard"]))
    assert lost.value.killed
    with pytest.raises(WorkerLost):
        link.receive()
    reply = link.call(Embed(["one", "two", "three"]))
    assert isinstance(reply, Embedded)
    assert len(reply.vectors) == 3 * 4 * DIMENSIONS


def test_a_link_that_is_closed_says_so_of_the_call_under_way(link: WorkerLink, tmp_path: Path) -> None:
    link.call(Extract(note(tmp_path)))
    link.halt()
    link.send(Extract(note(tmp_path)))
    threading.Timer(0.3, link.close).start()
    with pytest.raises(WorkerLost) as lost:
        link.receive()
    assert lost.value.closed


def test_a_worker_that_hangs_runs_into_its_time_limit_and_is_ended(tmp_path: Path) -> None:
    link = WorkerLink(orders_for(tmp_path, memory_mib=1024), timeout_s=2)
    assert isinstance(link.call(Extract(note(tmp_path))), Read)
    hung = link.pid
    assert hung
    os.kill(hung, signal.SIGSTOP)
    with pytest.raises(WorkerLost, match="longer than 2 s"):
        link.call(Extract(note(tmp_path)))
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)
    assert isinstance(link.call(Extract(note(tmp_path))), Read)
    link.close()


def test_a_file_that_wants_too_much_memory_is_its_own_fault(tmp_path: Path) -> None:
    big = tmp_path / "big.txt"
    big.write_bytes(b"word " * 60_000_000)
    link = WorkerLink(orders_for(tmp_path, memory_mib=600), timeout_s=60)
    try:
        reply = link.call(Extract(str(big)))
        assert isinstance(reply, Unreadable)
        assert reply.reason.endswith(".")
    except WorkerLost as error:
        assert "crashed" in str(error)  # a library that cannot say it is out of memory ends the worker
    assert isinstance(link.call(Extract(note(tmp_path))), Read)
    link.close()


def test_without_a_model_the_worker_says_so(tmp_path: Path) -> None:
    link = WorkerLink(orders_for(tmp_path, model_folder=str(tmp_path)), timeout_s=30)
    reply = link.call(Extract(note(tmp_path)))
    assert isinstance(reply, Broken)
    assert "make run" in reply.reason
    link.close()


def test_the_time_for_which_a_worker_is_held_does_not_count_against_it(
    link: WorkerLink, tmp_path: Path
) -> None:
    link.call(Extract(note(tmp_path)))
    pid, link._timeout_s = link.pid, 2
    link.halt()
    threading.Timer(5, link.go_on).start()
    assert isinstance(link.call(Extract(note(tmp_path))), Read)
    assert link.pid == pid


def test_a_worker_that_is_held_can_be_closed(link: WorkerLink, tmp_path: Path) -> None:
    link.call(Extract(note(tmp_path)))
    link.halt()
    link.close()
    assert link.pid is None


def test_a_link_out_of_the_library_is_not_read_whoever_put_it_there(link: WorkerLink, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-secret.txt"
    outside.write_text("The plughword is outside of the library.")
    (tmp_path / "inside.txt").symlink_to(outside)
    reply = link.call(Extract("inside.txt"))
    assert isinstance(reply, Unreadable)
    assert "no file of the library" in reply.reason
    for path in (f"../{outside.name}", str(outside)):
        assert isinstance(link.call(Extract(path)), Unreadable)


def test_a_link_put_in_a_files_place_while_it_is_read_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "scratch").mkdir()
    book = tmp_path / "library" / "book.txt"
    book.write_text("harmless")
    (tmp_path / "secret.txt").write_text("secret")
    with pinned(tmp_path / "library", "book.txt", tmp_path / "scratch") as path:
        book.unlink()
        book.symlink_to(tmp_path / "secret.txt")
        assert (path.name, path.read_text()) == ("book.txt", "harmless")
    assert list((tmp_path / "scratch").iterdir()) == []
    with pytest.raises(FileNotFoundError):
        open_inside(tmp_path / "library", "book.txt")


def test_the_limits_of_the_configuration_reach_the_readers(tmp_path: Path) -> None:
    link = WorkerLink(orders_for(tmp_path, limits=Limits(max_sections=2)), timeout_s=30)
    reply = link.call(Extract(note(tmp_path, "# A\n\na\n\n# B\n\nb\n\n# C\n\nc\n")))
    link.close()
    assert isinstance(reply, Unreadable)
    assert "3 headings" in reply.reason
    link = WorkerLink(orders_for(tmp_path, limits=Limits(max_chunks=2)), timeout_s=30)
    reply = link.call(Extract(note(tmp_path, "# A\n\na\n\n# B\n\nb\n\n# C\n\nc\n")))
    link.close()
    assert isinstance(reply, Unreadable)
    assert "more than 2 passages" in reply.reason
