"""Landing: whole or not at all, and never over another file."""

import errno
import os
import threading
from pathlib import Path

import pytest

from ingest.landing import Landing, Outcome
from library.errors import UnreadableFile


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    (tmp_path / "library").mkdir()
    return Landing(tmp_path / "library", max_file_mib=1, min_free_mib=0)


def files(landing: Landing) -> dict[str, bytes]:
    return {
        str(path.relative_to(landing.root)): path.read_bytes()
        for path in landing.root.rglob("*")
        if path.is_file()
    }


def land(landing: Landing, name: str, content: bytes, shelf: str | None = None) -> tuple[str, Outcome]:
    incoming = landing.begin(name, shelf)
    incoming.write(content)
    incoming.complete()
    landed = incoming.place()
    return landed.path, landed.outcome


def test_a_file_lands_on_a_shelf_that_was_not_there(landing: Landing) -> None:
    assert land(landing, "owls.md", b"hoot", "barn") == ("barn/owls.md", Outcome.STORED)
    assert files(landing) == {"barn/owls.md": b"hoot"}


def test_nothing_is_overwritten(landing: Landing) -> None:
    land(landing, "owls.md", b"hoot")
    assert land(landing, "owls.md", b"hoot") == ("owls.md", Outcome.ALREADY_THERE)
    assert land(landing, "owls.md", b"HOOT") == ("owls (2).md", Outcome.STORED)
    assert land(landing, "owls.md", b"HOOT") == ("owls (2).md", Outcome.ALREADY_THERE)
    assert files(landing) == {"owls.md": b"hoot", "owls (2).md": b"HOOT"}


def test_what_is_no_file_is_not_taken_for_one_nor_written_through(landing: Landing, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_bytes(b"hoot")
    (landing.root / "owls.md").symlink_to(secret)
    (landing.root / "bats.md").mkdir()
    os.mkfifo(landing.root / "pipe.md")
    assert land(landing, "owls.md", b"hoot") == ("owls (2).md", Outcome.STORED)
    assert land(landing, "bats.md", b"hoot") == ("bats (2).md", Outcome.STORED)
    assert land(landing, "pipe.md", b"hoot") == ("pipe (2).md", Outcome.STORED)
    assert secret.read_bytes() == b"hoot"


def test_no_shelf_leads_out_of_the_library(landing: Landing, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (landing.root / "way-out").symlink_to(tmp_path / "outside")
    with pytest.raises(UnreadableFile, match="link"):
        landing.begin("owls.md", "way-out")
    incoming = landing.begin("owls.md", "later")
    incoming.write(b"hoot")
    incoming.complete()
    (landing.root / "later").symlink_to(tmp_path / "outside")  # swapped in while the file was being sent
    with pytest.raises(UnreadableFile, match="link"):
        incoming.place()
    assert list((tmp_path / "outside").iterdir()) == []
    assert files(landing) == {}


def test_what_was_given_up_leaves_nothing(landing: Landing) -> None:
    incoming = landing.begin("owls.md", "barn")
    incoming.write(b"ho")
    incoming.abandon()
    incoming.abandon()
    assert list(landing.root.iterdir()) == []


@pytest.mark.parametrize(("content", "word"), [(b"", "empty"), (b"x" * 1_048_577, "larger than 1 MiB")])
def test_what_cannot_become_a_document_is_refused_and_leaves_nothing(
    landing: Landing, content: bytes, word: str
) -> None:
    with pytest.raises(UnreadableFile, match=word):
        land(landing, "owls.md", content)
    assert list(landing.root.iterdir()) == []


def test_a_full_disk_is_not_filled_further(landing: Landing) -> None:
    incoming = landing.begin("owls.md", None)
    landing.min_free_mib = 1 << 40
    with pytest.raises(UnreadableFile, match="min_free_mib"):
        incoming.write(b"hoot")
    with pytest.raises(UnreadableFile, match="min_free_mib"):
        landing.begin("bats.md", None)
    assert list(landing.root.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fails_is_told_of(landing: Landing, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    incoming = landing.begin("owls.md", None)
    monkeypatch.setattr(os, "fsync", failing)
    incoming.write(b"hoot")
    with pytest.raises(UnreadableFile, match="disk"):
        incoming.complete()
    assert list(landing.root.iterdir()) == []


def test_where_there_are_no_links_a_name_is_reserved_first(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert land(landing, "owls.md", b"hoot", "barn") == ("barn/owls.md", Outcome.STORED)
    assert land(landing, "owls.md", b"HOOT", "barn") == ("barn/owls (2).md", Outcome.STORED)
    assert land(landing, "owls.md", b"hoot", "barn") == ("barn/owls.md", Outcome.ALREADY_THERE)
    assert files(landing) == {"barn/owls.md": b"hoot", "barn/owls (2).md": b"HOOT"}


def test_many_of_the_same_name_at_once_all_arrive(landing: Landing) -> None:
    landed: list[str] = []

    def send(n: int) -> None:
        landed.append(land(landing, "owls.md", b"hoot %d" % n, "barn")[0])

    threads = [threading.Thread(target=send, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(landed)) == 20
    assert sorted(files(landing).values()) == sorted(b"hoot %d" % n for n in range(20))


def test_after_a_crash_the_leftovers_go_and_nothing_else(landing: Landing) -> None:
    (landing.root / "barn").mkdir()
    for place in ("", "barn/"):
        (landing.root / f"{place}.almanac-upload-00.part").touch()
        (landing.root / f"{place}other.part").touch()
    assert landing.remove_leftovers() == 2
    assert sorted(files(landing)) == ["barn/other.part", "other.part"]


def test_an_unplugged_library_takes_nothing_in(tmp_path: Path) -> None:
    landing = Landing(tmp_path / "unplugged", max_file_mib=1, min_free_mib=0)
    assert landing.remove_leftovers() == 0
    with pytest.raises(UnreadableFile, match="cannot be seen"):
        landing.begin("owls.md", None)
