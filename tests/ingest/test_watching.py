"""Watching: every way in which files come, change, move and go, with real files, the real inbox and record."""

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from ingest.settling import Noticed
from ingest.watch import FolderWatch
from library.errors import RecordError
from library.jobs import Jobs
from library.values import Document
from tests.ingest.entrance import Entrance, until
from tests.places import ROOT, missing


@pytest.fixture
def entrance(tmp_path: Path) -> Iterator[Entrance]:
    entrance = Entrance(tmp_path)
    yield entrance.open()
    entrance.close()


def ids(documents: dict[str, Document]) -> dict[str, str]:
    return {path: document.id for path, document in documents.items()}


def findable(*paths: str) -> dict[str, str]:
    return dict.fromkeys(paths, "findable")


# --- moves -------------------------------------------------------------------------------------------


def test_a_renamed_folder_of_hundreds_keeps_every_id_and_nothing_is_read_again(entrance: Entrance) -> None:
    for n in range(300):
        entrance.drop(f"garden/old/{n}.md", f"note {n}")
    before = entrance.findable(*(f"garden/old/{n}.md" for n in range(300)))
    (entrance.library / "garden" / "old").rename(entrance.library / "garden" / "new")
    after = entrance.until(findable(*(f"garden/new/{n}.md" for n in range(300))))
    assert ids(after) == {path.replace("/old/", "/new/"): id_ for path, id_ in ids(before).items()}
    assert not entrance.to_reshelve()


def test_a_shelf_renamed_keeps_its_documents_findable_and_has_them_relabelled(entrance: Entrance) -> None:
    entrance.drop("garden/a.md", "a")
    entrance.drop("garden/deep/b.md", "b")
    before = entrance.findable("garden/a.md", "garden/deep/b.md")
    (entrance.library / "garden").rename(entrance.library / "bees")
    after = entrance.until(findable("bees/a.md", "bees/deep/b.md"))
    assert {document.shelf for document in after.values()} == {"bees"}
    assert set(ids(after).values()) == set(ids(before).values())
    assert entrance.to_reshelve() == {"bees/a.md", "bees/deep/b.md"}


def test_a_moved_document_is_not_missing_for_a_moment(entrance: Entrance) -> None:
    path = entrance.drop("garden/a.md", "a")
    entrance.findable("garden/a.md")
    afterwards: list[set[str]] = []
    really = entrance.arrivals.mark_missing

    def mark_missing(paths: Iterable[str]) -> None:
        really(paths)
        afterwards.append(set(entrance.states().values()))

    entrance.arrivals.mark_missing = mark_missing  # type: ignore[method-assign]
    path.rename(path.with_name("b.md"))
    entrance.until(findable("garden/b.md"))
    assert afterwards
    assert all(states == {"findable"} for states in afterwards)


def test_names_swapped_keep_their_documents(entrance: Entrance) -> None:
    a, b = entrance.drop("s/a.md", "the first"), entrance.drop("s/b.md", "the second one")
    before = ids(entrance.findable("s/a.md", "s/b.md"))
    aside = entrance.library.parent / "aside"
    a.rename(aside)
    b.rename(a)
    aside.rename(b)
    swapped = {"s/a.md": before["s/b.md"], "s/b.md": before["s/a.md"]}
    until(lambda: ids(entrance.documents()) == swapped, lambda: ids(entrance.documents()))
    entrance.until(findable("s/a.md", "s/b.md"))


def test_a_file_replaced_by_another_of_its_name_is_read_again_under_its_id(
    entrance: Entrance, tmp_path: Path
) -> None:
    entrance.drop("s/a.md", "old")
    before = entrance.findable("s/a.md")
    (tmp_path / "other.md").write_text("a wholly different text")
    (tmp_path / "other.md").replace(entrance.library / "s" / "a.md")
    assert ids(entrance.received("s/a.md")) == ids(before)


def test_a_file_edited_in_place_is_read_again_under_its_id(entrance: Entrance) -> None:
    path = entrance.drop("s/a.md", "old")
    before = entrance.findable("s/a.md")
    with path.open("r+") as file:
        file.write("new words, more of them")
    assert ids(entrance.received("s/a.md")) == ids(before)


def test_a_move_by_copying_and_deleting_keeps_the_document(entrance: Entrance) -> None:
    path = entrance.drop("s/a.md", "from a network share")
    before = entrance.findable("s/a.md")
    shutil.copy(path, entrance.library / "b.md")
    until(lambda: "b.md" in entrance.documents())
    path.unlink()
    after = entrance.until(findable("b.md"))
    assert after["b.md"].id == before["s/a.md"].id


def test_editors_that_save_by_renaming_leave_one_document_that_is_read_again(entrance: Entrance) -> None:
    path = entrance.drop("s/a.md", "old")
    before = entrance.findable("s/a.md")
    folder = path.parent
    # vim: asks whether it may write, keeps a backup, writes anew
    (folder / "4913").touch()
    (folder / "4913").unlink()
    path.rename(folder / "a.md~")
    path.write_text("what vim wrote")
    after = entrance.received("s/a.md")
    assert ids(after) == ids(before)
    entrance.read_all()
    (folder / "a.md~").unlink()
    # LibreOffice: a lock beside it, a temporary file renamed over it
    (folder / ".~lock.a.md#").write_text("me")
    (folder / "lu1234abcd.tmp").write_text("what LibreOffice wrote")
    (folder / "lu1234abcd.tmp").rename(path)
    (folder / ".~lock.a.md#").unlink()
    assert ids(entrance.received("s/a.md")) == ids(before)


def test_a_file_deleted_and_restored_comes_back_without_being_read(
    entrance: Entrance, tmp_path: Path
) -> None:
    path = entrance.drop("s/a.md", "kept")
    before = entrance.findable("s/a.md")
    path.rename(tmp_path / "wastebasket")
    entrance.until({"s/a.md": "missing"})
    shutil.copy(tmp_path / "wastebasket", path)
    assert ids(entrance.until(findable("s/a.md"))) == ids(before)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("s/Bees.md", "s/bees.md"),
        ("s/" + unicodedata.normalize("NFD", "Müsli.md"), "s/" + unicodedata.normalize("NFC", "Müsli.md")),
    ],
    ids=["case", "accents"],
)
def test_a_name_spelled_otherwise_is_the_same_document(entrance: Entrance, old: str, new: str) -> None:
    path = entrance.drop(old, "words")
    before = entrance.findable(old)
    path.rename(entrance.library / new)
    assert entrance.until(findable(new))[new].id == before[old].id


def test_one_of_two_copies_removed_leaves_the_other_alone(entrance: Entrance) -> None:
    path = entrance.drop("s/a.md", "twice")
    entrance.drop("t/b.md", "twice")
    before = entrance.findable("s/a.md", "t/b.md")
    path.unlink()
    after = entrance.until({"s/a.md": "missing", "t/b.md": "findable"})
    assert ids(after) == ids(before)


def test_moves_made_while_almanac_was_off_are_recognised(tmp_path: Path) -> None:
    entrance = Entrance(tmp_path).open()
    for n in range(20):
        entrance.drop(f"old/{n}.md", f"note {n}")
    before = entrance.findable(*(f"old/{n}.md" for n in range(20)))
    entrance.close()
    (entrance.library / "old").rename(entrance.library / "new")
    entrance = Entrance(tmp_path).open()
    after = entrance.until(findable(*(f"new/{n}.md" for n in range(20))))
    assert set(ids(after).values()) == set(ids(before).values())
    entrance.close()


# --- folders, links, litter --------------------------------------------------------------------------


def test_a_folder_moved_away_is_no_longer_watched_and_one_moved_in_is(
    entrance: Entrance, tmp_path: Path
) -> None:
    entrance.drop("s/deep/er/a.md", "a")
    entrance.findable("s/deep/er/a.md")
    (entrance.library / "s" / "deep").rename(tmp_path / "away")
    entrance.until({"s/deep/er/a.md": "missing"})
    (tmp_path / "away" / "er" / "b.md").write_text("not in the library")
    (tmp_path / "away").rename(entrance.library / "back")
    entrance.until({"back/er/a.md": "findable", "back/er/b.md": "waiting"})
    entrance.drop("back/er/c.md", "noticed by an event")
    until(lambda: "back/er/c.md" in entrance.documents())


def test_a_library_that_is_itself_a_link_is_watched(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "library").symlink_to(tmp_path / "disk")
    entrance = Entrance(tmp_path).open()
    entrance.drop("s/a.md")
    entrance.received("s/a.md")
    entrance.close()


def test_links_dropped_into_the_library_lead_neither_out_nor_round(
    entrance: Entrance, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.md").write_text("not for the library")
    (entrance.library / "out.md").symlink_to(tmp_path / "outside" / "secret.md")
    (entrance.library / "out").symlink_to(tmp_path / "outside")
    (entrance.library / "dangling.md").symlink_to("nowhere.md")
    (entrance.library / "self.md").symlink_to("self.md")
    (entrance.library / "s").mkdir()
    (entrance.library / "s" / "parent").symlink_to("..")
    entrance.drop("s/a.md", "a")
    entrance.received("s/a.md")
    entrance.inbox.scan()
    entrance.received("s/a.md")
    assert entrance.inbox.passed_over == 5


def test_covers_and_calibres_own_files_are_passed_over_and_counted(entrance: Entrance) -> None:
    entrance.drop("Author/Book (1)/Book.md", "a book")
    for name in ("cover.jpg", "metadata.opf"):
        entrance.drop(f"Author/Book (1)/{name}")
    entrance.drop("metadata.db")
    entrance.drop("letter.docx")
    entrance.until({"Author/Book (1)/Book.md": "waiting", "letter.docx": "failed"})
    entrance.inbox.scan()
    entrance.until({"Author/Book (1)/Book.md": "waiting", "letter.docx": "failed"})
    assert entrance.inbox.passed_over == 3
    assert entrance.inbox.trouble is None
    looked = Jobs(entrance.record).latest("scan")
    assert looked
    assert looked.detail.startswith("0 new or changed")  # the letter is no news at every look


# --- the folder goes and comes back ------------------------------------------------------------------


def test_a_library_renamed_away_and_back_is_watched_again(entrance: Entrance, tmp_path: Path) -> None:
    entrance.drop("s/a.md", "a")
    entrance.findable("s/a.md")
    entrance.library.rename(tmp_path / "unplugged")
    until(lambda: "cannot be seen" in (entrance.inbox.trouble or ""))
    assert entrance.states() == {"s/a.md": "findable"}
    (tmp_path / "unplugged").rename(entrance.library)
    until(lambda: entrance.inbox.trouble is None)
    entrance.drop("s/b.md", "b")
    entrance.until({"s/a.md": "findable", "s/b.md": "waiting"})


def test_a_library_removed_keeps_its_documents_and_made_anew_is_watched(entrance: Entrance) -> None:
    entrance.drop("s/a.md", "a")
    before = entrance.findable("s/a.md")
    shutil.rmtree(entrance.library)
    until(lambda: "cannot be seen" in (entrance.inbox.trouble or ""))
    until(lambda: not entrance.inbox.unsettled)
    assert entrance.states() == {"s/a.md": "findable"}
    entrance.library.mkdir()
    until(lambda: "not mounted" in (entrance.inbox.trouble or ""))
    entrance.until({"s/a.md": "missing"})
    entrance.drop("s/a.md", "a")
    assert ids(entrance.until(findable("s/a.md"))) == ids(before)
    entrance.drop("s/new.md", "n")
    entrance.until({"s/a.md": "findable", "s/new.md": "waiting"})


# --- where events do not come ------------------------------------------------------------------------


def test_polling_finds_what_came_changed_and_went(tmp_path: Path) -> None:
    entrance = Entrance(tmp_path, watch="polling", poll_s=0.1).open()
    assert entrance.inbox.watched_by == "polling"
    path = entrance.drop("s/a.md", "a")
    before = entrance.findable("s/a.md")
    path.rename(path.with_name("b.md"))
    assert entrance.until(findable("s/b.md"))["s/b.md"].id == before["s/a.md"].id
    path.with_name("b.md").unlink()
    entrance.until({"s/b.md": "missing"})
    entrance.close()


def test_lost_events_are_made_up_for_by_a_scan(entrance: Entrance) -> None:
    """The kernel's queue is really made to overflow, by keeping its reader from reading."""
    watch = entrance.inbox._watch
    assert watch
    assert watch._inotify
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 50_000:
        pytest.skip("this machine keeps more events than a test should make")
    entrance.drop("s/first.md")
    entrance.received("s/first.md")
    with watch._changing:
        first, second = entrance.library / "x.part", entrance.library / "y.part"
        first.touch()
        for _ in range(most // 2 + 10):
            first.rename(second)
            second.rename(first)
        entrance.drop("unheard/of/a.md", "told of by no event")
    entrance.received("s/first.md", "unheard/of/a.md")
    entrance.drop("unheard/of/b.md", "and its folder is watched now")
    entrance.received("s/first.md", "unheard/of/a.md", "unheard/of/b.md")


LIMITED = """
import sys
from pathlib import Path
from tests.ingest.entrance import Entrance, until
entrance = Entrance(Path(sys.argv[1]), poll_s=0.2)
for n in range(8):
    entrance.drop(f"s/{n}/a.md", f"note {n}")
entrance.open()
until(lambda: len(entrance.documents()) == 8)
until(lambda: sys.argv[2] in (entrance.inbox.trouble or ""), lambda: entrance.inbox.trouble)
for n in range(8):
    entrance.drop(f"s/{n}/b.md", f"later note {n}")
entrance.drop("new/deep/c.md", "in a folder that cannot be watched")
until(lambda: len(entrance.documents()) == 17)
print(entrance.inbox.watched_by)
entrance.close()
"""


@pytest.mark.parametrize(
    ("limit", "most", "sentence", "ways"),
    [
        ("max_inotify_watches", 4, "fs.inotify.max_user_watches", "events and polling"),
        ("max_inotify_instances", 0, "fs.inotify.max_user_instances", "polling"),
    ],
)
def test_where_a_limit_of_the_kernels_is_met_files_are_noticed_all_the_same_and_it_is_said(
    tmp_path: Path, limit: str, most: int, sentence: str, ways: str
) -> None:
    """The kernel's real limit, lowered for the processes of one user namespace."""
    lowered = f'echo {most} > /proc/sys/user/{limit} && exec "$@"'
    tried = ["unshare", "-Ur", "sh", "-c", f"echo {most} > /proc/sys/user/{limit}"]
    if subprocess.run(tried, check=False, capture_output=True).returncode:
        missing("this machine lends no user namespaces")
    ran = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", lowered, "sh", sys.executable, "-c", LIMITED, str(tmp_path), sentence],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == ways


def test_a_folder_made_after_the_limit_was_met_is_no_secret(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path, lambda _: None)
    assert watch.start()
    assert watch._inotify

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    watch._inotify.add_callback = full  # type: ignore[method-assign,assignment]
    (tmp_path / "new").mkdir()
    assert watch.missed.wait(10)
    assert watch.limit == "fs.inotify.max_user_watches"
    watch.stop()


# --- many at once, and the end -----------------------------------------------------------------------


def test_thousands_of_files_at_once_are_all_received(entrance: Entrance) -> None:
    for n in range(3000):
        entrance.drop(f"s{n % 7}/f{n % 50}/{n}.md", f"note {n}")
    until(lambda: sum(entrance.catalogue.counts().values()) == 3000 and not entrance.inbox.unsettled)
    assert entrance.inbox.alive


def test_a_stop_in_the_middle_of_a_scan_ends_both_threads(tmp_path: Path) -> None:
    entrance = Entrance(tmp_path)
    for n in range(2000):
        entrance.drop(f"s/{n}.md", f"note {n}")
    entrance.inbox.start()
    until(lambda: entrance.inbox.unsettled)
    entrance.close()
    assert not any(thread.is_alive() for thread in entrance.inbox._threads)
    assert not [thread for thread in threading.enumerate() if thread.name in ("inbox", "watching")]


def test_a_record_that_cannot_be_written_loses_no_file(
    entrance: Entrance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.inbox._PAUSE_AFTER_FAILURE_S", 0.5)
    really, refusals = entrance.arrivals.receive_all, [RecordError("The disk is full.")]

    def receive_all(*args: object, **kwargs: object) -> object:
        if refusals:
            raise refusals.pop()
        return really(*args, **kwargs)  # type: ignore[arg-type]

    entrance.arrivals.receive_all = receive_all  # type: ignore[method-assign,assignment]
    entrance.drop("s/a.md")
    until(lambda: "The disk is full" in (entrance.inbox.trouble or ""))
    entrance.received("s/a.md")
    until(lambda: entrance.inbox.trouble is None)


def test_a_scan_that_failed_is_tried_again_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.inbox._PAUSE_AFTER_FAILURE_S", 0.5)
    entrance = Entrance(tmp_path)
    entrance.drop("s/a.md")
    really, failures = entrance.arrivals.known_files, [RecordError("The disk is full.")]

    def known_files() -> object:
        if failures:
            raise failures.pop()
        return really()

    entrance.arrivals.known_files = known_files  # type: ignore[method-assign,assignment]
    entrance.open()
    assert "could not be looked through" in (entrance.inbox.trouble or "")
    entrance.received("s/a.md")
    until(lambda: entrance.inbox.trouble is None)
    entrance.close()


def test_a_watch_whose_thread_has_died_is_set_anew(entrance: Entrance) -> None:
    watch = entrance.inbox._watch
    assert watch
    watch.stop()
    until(lambda: entrance.inbox._watch is not watch and entrance.inbox._watch)
    entrance.drop("s/a.md")
    entrance.received("s/a.md")


def test_a_file_whose_date_lies_in_the_future_is_received_once_it_keeps_still(entrance: Entrance) -> None:
    path = entrance.drop("s/a.md")
    os.utime(path, (10**10, 10**10))
    entrance.received("s/a.md")


def test_a_file_replaced_by_a_folder_of_its_name_is_missing(entrance: Entrance) -> None:
    target = entrance.drop("owls.md")
    entrance.received("owls.md")
    target.unlink()
    entrance.drop("owls.md/barn.md", "other words")
    entrance.until({"owls.md": "missing", "owls.md/barn.md": "waiting"})


def test_a_folder_that_is_back_before_its_going_was_believed_loses_no_document(entrance: Entrance) -> None:
    entrance.drop("Birds/owls.md")
    entrance.received("Birds/owls.md")
    # Gone at the last look, which is believed later where much else is due; back by now.
    entrance.inbox._gone["Birds"] = (Noticed("Birds", looked=True), time.monotonic())
    entrance.inbox._believe_gone()
    assert entrance.states() == {"Birds/owls.md": "waiting"}


def test_folders_nested_too_deep_are_told_of_shortly_beside_names_that_are_no_text(tmp_path: Path) -> None:
    entrance = Entrance(tmp_path)
    here = os.open(entrance.library, os.O_RDONLY)
    for _ in range(2100):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    Path(os.fsdecode(os.fsencode(entrance.library) + b"/bad\xff.md")).write_text("words")
    try:
        entrance.open()
        trouble = entrance.inbox.trouble or ""
        assert "nested deeper" in trouble
        assert "permission" not in trouble
        assert "not valid text" in trouble
        assert len(trouble) < 500
    finally:
        entrance.close()
        subprocess.run(["rm", "-rf", entrance.library], check=True)
