"""The record of documents: states, moves, and what a crash between two verbs leaves behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from library.arrivals import Arrivals
from library.catalogue import Catalogue
from library.errors import DocumentNotFound, InvalidRequest, PassageNotFound, RecordError
from library.excerpts import Excerpts
from library.jobs import Jobs
from library.models import DocumentRow
from library.queue import Queue
from library.record import Record
from library.texts import Text, chunk_id
from library.values import Chunk, DocumentState, Extracted, FileSeen, Receipt, Section
from library.watermark import Watermark

TEXT = "Boil the water for one minute.\n\nThen let it cool."


class Books(NamedTuple):
    arrivals: Arrivals
    queue: Queue
    catalogue: Catalogue
    mark: Watermark


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    record = Record.open(tmp_path / "record.sqlite3")
    yield record
    record.close()


@pytest.fixture
def books(record: Record) -> Books:
    return Books(Arrivals(record), Queue(record), Catalogue(record), Watermark(record))


def file(path: str = "water/boiling.md", digest: str = "d1") -> FileSeen:
    return FileSeen(path, 10, 1, digest, "markdown")


def here(_: str) -> bool:
    return False


def gone(_: str) -> bool:
    return True


def extracted(text: str = TEXT) -> Extracted:
    return Extracted(
        "Water", ("A. Author",), "en", 2020, (Section(0, 1, ("Water", "Boiling"), "boiling", text),)
    )


def chunks(text: str = TEXT) -> list[Chunk]:
    return [Chunk(0, 0, 0, 30, text[:30]), Chunk(1, 0, 32, len(text), text[32:])]


def read(books: Books) -> tuple[str, str]:
    """Take the next document through reading; its id and digest."""
    [(document, digest, _)] = books.queue.begin_reading()
    assert books.queue.store_texts([Text(document.id, digest, extracted(), chunks())])[document.id]
    assert books.queue.advance({document.id: digest}, DocumentState.FINDABLE_WORDS) == {document.id}
    return document.id, digest


def test_a_new_file_waits_on_the_shelf_of_its_first_folder(books: Books) -> None:
    receipt, id_ = books.arrivals.receive(file(), is_gone=here)
    document = books.catalogue.document(id_)
    assert receipt is Receipt.NEW
    assert (document.state, document.shelf, document.path) == (
        DocumentState.WAITING,
        "water",
        "water/boiling.md",
    )


def test_a_file_beside_the_shelves_has_no_shelf(books: Books) -> None:
    _, id_ = books.arrivals.receive(file("loose.md"), is_gone=here)
    assert books.catalogue.document(id_).shelf is None
    assert books.catalogue.shelves() == []


def test_the_same_digest_again_is_no_work(books: Books) -> None:
    books.arrivals.receive(file(), is_gone=here)
    id_, digest = read(books)
    books.mark.raise_to({id_: 2})
    books.queue.advance({id_: digest}, DocumentState.FINDABLE)
    assert books.arrivals.receive(file(), is_gone=here) == (Receipt.SAME, id_)
    assert books.catalogue.document(id_).state is DocumentState.FINDABLE
    assert books.queue.begin_reading() == []


def test_a_changed_file_keeps_its_id_and_waits_again(books: Books) -> None:
    books.arrivals.receive(file(), is_gone=here)
    id_, _ = read(books)
    assert books.arrivals.receive(file(digest="d2"), is_gone=here) == (Receipt.CHANGED, id_)
    assert books.catalogue.document(id_).state is DocumentState.WAITING


def test_a_moved_file_within_its_shelf_stays_findable(books: Books) -> None:
    books.arrivals.receive(file(), is_gone=here)
    id_, digest = read(books)
    books.mark.raise_to({id_: 2})
    books.queue.advance({id_: digest}, DocumentState.FINDABLE)
    assert books.arrivals.receive(file("water/renamed.md"), is_gone=gone) == (Receipt.MOVED, id_)
    document = books.catalogue.document(id_)
    assert (document.path, document.state) == ("water/renamed.md", DocumentState.FINDABLE)


def test_a_file_moved_to_another_shelf_stays_findable_and_the_indexes_are_to_be_told(
    books: Books, record: Record
) -> None:
    books.arrivals.receive(file(), is_gone=here)
    id_, _ = read(books)
    assert books.arrivals.receive(file("fire/boiling.md"), is_gone=gone) == (Receipt.MOVED, id_)
    document = books.catalogue.document(id_)
    assert (document.state, document.shelf) == (DocumentState.FINDABLE_WORDS, "fire")
    with record.reading() as session:
        row = session.get(DocumentRow, id_)
        assert row
        assert row.reshelve


def test_a_file_moved_to_another_shelf_while_it_is_read_is_read_again(books: Books) -> None:
    _, id_ = books.arrivals.receive(file(), is_gone=here)
    books.queue.begin_reading()
    books.arrivals.receive(file("fire/boiling.md"), is_gone=gone)
    assert books.catalogue.document(id_).state is DocumentState.WAITING


def test_a_file_that_moves_and_changes_its_ending_is_read_by_another_reader(books: Books) -> None:
    books.arrivals.receive(file(), is_gone=here)
    id_, _ = read(books)
    renamed = FileSeen("fire/boiling.txt", 10, 1, "d1", "text")
    assert books.arrivals.receive(renamed, is_gone=gone) == (Receipt.MOVED, id_)
    assert books.catalogue.document(id_).state is DocumentState.WAITING


def test_two_files_that_swap_their_names_keep_their_documents(books: Books) -> None:
    _, first = books.arrivals.receive(file("s/a.md", "d1"), is_gone=here)
    _, second = books.arrivals.receive(file("s/b.md", "d2"), is_gone=here)
    swapped = [file("s/a.md", "d2"), file("s/b.md", "d1")]
    assert books.arrivals.receive_all(swapped, is_gone=here) == [
        (Receipt.MOVED, second),
        (Receipt.MOVED, first),
    ]
    assert books.catalogue.document(first).path == "s/b.md"


def test_three_files_that_change_places_in_a_circle_keep_their_documents(books: Books) -> None:
    ids = [books.arrivals.receive(file(f"s/{name}.md", name), is_gone=here)[1] for name in "abc"]
    turned = [file("s/a.md", "c"), file("s/b.md", "a"), file("s/c.md", "b")]
    receipts = books.arrivals.receive_all(turned, is_gone=here)
    assert receipts == [(Receipt.MOVED, ids[2]), (Receipt.MOVED, ids[0]), (Receipt.MOVED, ids[1])]


def test_files_that_move_up_one_after_the_other_keep_their_documents(books: Books) -> None:
    ids = [books.arrivals.receive(file(f"s/{name}.md", name), is_gone=here)[1] for name in "ab"]
    moved = [file("s/b.md", "a"), file("s/c.md", "b")]
    receipts = books.arrivals.receive_all(moved, is_gone=lambda path: path == "s/a.md")
    assert receipts == [(Receipt.MOVED, ids[0]), (Receipt.MOVED, ids[1])]
    assert books.catalogue.counts()[DocumentState.WAITING] == 2


def test_a_file_put_over_another_is_a_change_of_the_document_that_stood_there(books: Books) -> None:
    _, first = books.arrivals.receive(file("s/a.md", "d1"), is_gone=here)
    books.arrivals.receive(file("s/b.md", "d2"), is_gone=here)
    receipt = books.arrivals.receive(file("s/a.md", "d2"), is_gone=lambda path: path == "s/b.md")
    assert receipt == (Receipt.CHANGED, first)


def test_a_file_that_takes_the_name_of_one_long_missing_is_a_move(books: Books) -> None:
    books.arrivals.receive(file("s/a.md", "d1"), is_gone=here)
    first, digest = read(books)
    books.mark.raise_to({first: 2})
    books.queue.advance({first: digest}, DocumentState.FINDABLE)
    _, second = books.arrivals.receive(file("s/b.md", "d2"), is_gone=here)
    books.arrivals.mark_missing(["s/a.md"])
    receipt = books.arrivals.receive(file("s/a.md", "d2"), is_gone=lambda path: path == "s/b.md")
    assert receipt == (Receipt.MOVED, second)
    missing = books.catalogue.document(first)
    assert (missing.state, missing.path) == (DocumentState.MISSING, "s/b.md")
    # And it still comes back by its digest, without being read.
    assert books.arrivals.receive(file("s/c.md", "d1"), is_gone=gone) == (Receipt.MOVED, first)
    assert books.catalogue.document(first).state is DocumentState.FINDABLE


def test_a_missing_document_found_elsewhere_while_its_old_name_has_other_content(books: Books) -> None:
    _, first = books.arrivals.receive(file("s/a.md", "d1"), is_gone=here)
    books.arrivals.mark_missing(["s/a.md"])
    receipts = books.arrivals.receive_all([file("s/a.md", "d9"), file("s/c.md", "d1")], is_gone=here)
    assert receipts[0][0] is Receipt.NEW
    assert receipts[1] == (Receipt.MOVED, first)


def test_a_move_by_copying_keeps_the_document_when_the_copy_has_not_been_read(
    books: Books, record: Record
) -> None:
    books.arrivals.receive(file("water/a.md", "d1"), is_gone=here)
    id_, _ = read(books)
    _, copy = books.arrivals.receive(file("fire/a.md", "d1"), is_gone=here)
    books.arrivals.mark_missing(["water/a.md"])
    document = books.catalogue.document(id_)
    assert (document.path, document.state) == ("fire/a.md", DocumentState.FINDABLE_WORDS)
    assert sum(books.catalogue.counts().values()) == 1
    with pytest.raises(DocumentNotFound):
        books.catalogue.document(copy)
    with record.reading() as session:
        row = session.get(DocumentRow, id_)
        assert row
        assert row.reshelve


def test_a_copy_that_was_read_already_stays_a_document_of_its_own(books: Books) -> None:
    books.arrivals.receive(file("s/a.md", "d1"), is_gone=here)
    first, _ = read(books)
    books.arrivals.receive(file("s/b.md", "d1"), is_gone=here)
    second, _ = read(books)
    books.arrivals.mark_missing(["s/a.md"])
    assert books.catalogue.document(first).state is DocumentState.MISSING
    assert books.catalogue.document(second).path == "s/b.md"


def test_a_renamed_folder_of_copies_keeps_each_by_its_name(books: Books) -> None:
    ids = [books.arrivals.receive(file(f"old/{n}.md", "same"), is_gone=here)[1] for n in range(4)]
    moved = [file(f"new/{n}.md", "same") for n in range(4)]
    receipts = books.arrivals.receive_all(moved, is_gone=gone)
    assert receipts == [(Receipt.MOVED, id_) for id_ in ids]


def test_more_paths_than_a_statement_may_name_go_missing_together(books: Books) -> None:
    files = [file(f"s/{n:05}.md", str(n)) for n in range(2500)]
    books.arrivals.receive_all(files, is_gone=here)
    books.arrivals.mark_missing([item.path for item in files[:2000]] + ["s/deep", "nothing"])
    assert books.catalogue.counts()[DocumentState.MISSING] == 2000
    books.arrivals.mark_missing([f"other{n}" for n in range(100)] + ["s"])
    assert books.catalogue.counts()[DocumentState.MISSING] == 2500


def test_a_copy_beside_the_original_is_a_document_of_its_own(books: Books) -> None:
    _, first = books.arrivals.receive(file(), is_gone=here)
    receipt, second = books.arrivals.receive(file("fire/copy.md"), is_gone=here)
    assert receipt is Receipt.NEW
    assert first != second
    assert chunk_id(first, "d1", 0) != chunk_id(second, "d1", 0)


def test_a_folder_that_goes_takes_its_files_with_it_and_nothing_beside_it(books: Books) -> None:
    for path in ("water/a.md", "water/deep/b.md", "watermelon/c.md"):
        books.arrivals.receive(file(path, digest=path), is_gone=here)
    books.arrivals.mark_missing(["water"])
    states = {item.path: item.state for item in books.catalogue.documents().items}
    assert states == {
        "water/a.md": DocumentState.MISSING,
        "water/deep/b.md": DocumentState.MISSING,
        "watermelon/c.md": DocumentState.WAITING,
    }


def test_a_missing_document_is_not_shown_and_comes_back_without_being_read(
    books: Books, record: Record
) -> None:
    books.arrivals.receive(file(), is_gone=here)
    id_, digest = read(books)
    books.mark.raise_to({id_: 2})
    books.queue.advance({id_: digest}, DocumentState.FINDABLE)
    books.arrivals.mark_missing(["water/boiling.md"])
    chunk = books.queue.chunk_ids([id_])[id_][0]
    with pytest.raises(PassageNotFound):
        Excerpts(record).one(chunk)
    books.arrivals.receive(file(), is_gone=here)
    assert books.catalogue.document(id_).state is DocumentState.FINDABLE
    assert Excerpts(record).one(chunk).text == TEXT[:30]


def test_what_was_being_read_at_a_crash_waits_again(books: Books) -> None:
    _, id_ = books.arrivals.receive(file(), is_gone=here)
    books.queue.begin_reading()
    assert books.queue.reset_reading() == 1
    assert books.catalogue.document(id_).state is DocumentState.WAITING


def test_text_of_a_file_that_changed_while_it_was_read_is_not_stored(books: Books) -> None:
    _, id_ = books.arrivals.receive(file(), is_gone=here)
    assert books.queue.begin_reading()
    books.arrivals.receive(file(digest="d2"), is_gone=here)
    assert books.queue.store_texts([Text(id_, "d1", extracted(), chunks())]) == {}
    assert books.queue.chunk_ids([id_])[id_] == []
    assert books.queue.advance({id_: "d1"}, DocumentState.FINDABLE_WORDS) == set()


def test_a_failed_document_says_why_and_keeps_no_text(books: Books) -> None:
    books.arrivals.receive(file(), is_gone=here)
    id_, digest = read(books)
    assert books.queue.fail(id_, digest, "It is damaged.")
    document = books.catalogue.document(id_)
    assert (document.state, document.reason, document.chunks) == (DocumentState.FAILED, "It is damaged.", 0)
    assert books.queue.chunk_ids([id_])[id_] == []


def test_chunks_come_with_the_text_of_their_section_and_from_any_ordinal(books: Books) -> None:
    books.arrivals.receive(file(), is_gone=here)
    id_, _ = read(books)
    document = books.catalogue.document(id_)
    assert [chunk.text for chunk in books.queue.indexed_chunks(document, batch=1)] == [TEXT[:30], TEXT[32:]]
    assert [chunk.ordinal for chunk in books.queue.indexed_chunks(document, first=1)] == [1]
    first = next(books.queue.indexed_chunks(document))
    assert first.indexed_text == "Water › Boiling\nBoil the water for one minute."


def test_the_watermark_only_rises(books: Books) -> None:
    books.arrivals.receive(file(), is_gone=here)
    id_, _ = read(books)
    books.mark.raise_to({id_: 2})
    books.mark.raise_to({id_: 1})
    assert books.catalogue.document(id_).embedded == 2


def test_pages_of_documents_meet_without_gap_or_overlap(books: Books) -> None:
    for n in range(7):
        books.arrivals.receive(file(f"s/{n}.md", digest=str(n)), is_gone=here)
    seen, cursor = [], None
    while True:
        page = books.catalogue.documents(limit=3, cursor=cursor)
        seen += [item.path for item in page.items]
        assert page.total == 7
        cursor = page.next
        if cursor is None:
            break
    assert seen == [f"s/{n}.md" for n in range(7)]


def test_counts_add_up_to_all_documents(books: Books) -> None:
    for n in range(3):
        books.arrivals.receive(file(f"s/{n}.md", digest=str(n)), is_gone=here)
    read(books)
    counts = books.catalogue.counts()
    assert set(counts) == set(DocumentState)
    assert sum(counts.values()) == 3
    assert counts[DocumentState.FINDABLE_WORDS] == 1


def test_an_absurd_limit_is_refused_by_name(books: Books) -> None:
    with pytest.raises(InvalidRequest) as refused:
        books.catalogue.documents(limit=0)
    assert refused.value.parameter == "limit"


def test_an_unknown_document_is_said_to_be_unknown(books: Books) -> None:
    with pytest.raises(DocumentNotFound, match="No document has the id"):
        books.catalogue.document("nobody")


def test_a_job_that_raises_is_recorded_as_failed(record: Record) -> None:
    jobs = Jobs(record)
    with pytest.raises(ZeroDivisionError), jobs.run("scan"):
        1 / 0  # noqa: B018
    latest = jobs.latest("scan")
    assert latest
    assert latest.state == "failed"
    assert latest.finished_at


def test_a_job_cut_off_by_a_crash_is_closed_at_the_next_start(record: Record) -> None:
    jobs = Jobs(record)
    running = jobs.run("scan")
    running.__enter__()
    assert jobs.fail_interrupted() == 1
    latest = jobs.latest("scan")
    assert latest
    assert latest.state == "failed"


def test_a_record_of_a_newer_almanac_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite3"
    Record.open(path).close()
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(RecordError, match="newer"):
        Record.open(path)


def test_a_file_that_is_no_database_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "record.sqlite3"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(RecordError, match="cannot be opened"):
        Record.open(path)


def test_a_write_that_raises_leaves_nothing(record: Record, books: Books) -> None:
    with pytest.raises(RuntimeError), record.writing() as session:
        from library.models import ShelfRow

        session.add(ShelfRow(name="half"))
        session.flush()
        raise RuntimeError
    with record.reading() as session:
        from library.models import ShelfRow

        assert session.query(ShelfRow).count() == 0
