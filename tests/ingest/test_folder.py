"""The folder: what is the reader's, what is litter, and what leads out of it."""

import os
from pathlib import Path

import pytest

from ingest.folder import LibraryFolder, Look
from ingest.litter import is_litter
from ingest.mounts import ground
from ingest.settling import Settling
from library.errors import UnreadableFile


@pytest.fixture
def folder(tmp_path: Path) -> LibraryFolder:
    root = tmp_path / "library"
    root.mkdir()
    return LibraryFolder(root, max_file_mib=1)


def put(folder: LibraryFolder, path: str, content: bytes = b"words") -> Path:
    target = folder.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        "._book.epub",
        "~$notes.md",
        "book.epub.part",
        "book.epub.crdownload",
        "@eaDir",
        ".stfolder",
        "Thumbs.db",
        "notes.md~",
        "x.tmp",
        ".notes.md.swp",
        ".syncthing.book.epub.tmp",
        "._sync_abc.db",
        ".~sync",
        ".dropbox.cache",
        ".book.epub.Xa3f9Q",
        ".goutputstream-ABC123",
        "book.epub:Zone.Identifier",
        ".DS_Store",
        "#recycle",
        "@tmp",
        ".nfs000000000012",
        "book.epub.!qB",
        "book.epub.opdownload",
        "book.epub.aria2",
        "book.epub.filepart",
        ".~lock.notes.odt#",
        "lu1234.tmp",
        "4913",
        "book.sdr",
        "Book.EPUB.PART",
    ],
)
def test_litter_is_never_the_readers(name: str) -> None:
    assert is_litter(name)


@pytest.mark.parametrize(
    "name",
    [
        "book.epub",
        "Notes.md",
        "part two.txt",
        "2.tmp.md",
        "$prices.md",
        "#1 hit.md",
        "@home.md",
        "~ca 1900.txt",
    ],
)
def test_a_readers_file_is_no_litter(name: str) -> None:
    assert not is_litter(name)


def test_a_walk_finds_nested_files_and_skips_litter_at_every_depth(folder: LibraryFolder) -> None:
    put(folder, "water/deep/er/a.md")
    put(folder, "b.txt")
    put(folder, "@eaDir/c.md")
    put(folder, "water/.sync/d.md")
    assert [path for path, _ in folder.walk()] == ["b.txt", "water/deep/er/a.md"]


def test_a_link_that_leads_out_is_not_followed(folder: LibraryFolder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("not for the library")
    (folder.root / "innocent.md").symlink_to(secret)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "e.md").write_text("x")
    (folder.root / "linked").symlink_to(outside)
    (folder.root / "loop").symlink_to(folder.root)
    assert list(folder.walk()) == []
    assert folder.look("innocent.md") is None


def test_a_link_within_the_library_is_followed(folder: LibraryFolder) -> None:
    put(folder, "a.md")
    (folder.root / "b.md").symlink_to(folder.root / "a.md")
    assert [path for path, _ in folder.walk()] == ["a.md", "b.md"]


def test_a_linked_folder_is_followed_only_into_what_is_not_walked_anyway(folder: LibraryFolder) -> None:
    put(folder, "water/a.md")
    put(folder, ".annex/objects/b.md")
    put(folder, ".annex/objects/deep/c.md")
    (folder.root / "fire").mkdir()
    (folder.root / "fire" / "again").symlink_to(folder.root / "water")
    (folder.root / "fire" / "kept").symlink_to(folder.root / ".annex" / "objects")
    (folder.root / ".annex" / "objects" / "deep" / "round").symlink_to(folder.root / ".annex" / "objects")
    (folder.root / "d.md").symlink_to(".annex/objects/b.md")
    walk = folder.walk()
    assert [path for path, _ in walk] == ["d.md", "fire/kept/b.md", "fire/kept/deep/c.md", "water/a.md"]
    assert all(folder.look(path) for path, _ in folder.walk())


def test_a_link_put_in_a_files_place_after_the_look_is_not_read(
    folder: LibraryFolder, tmp_path: Path
) -> None:
    path = put(folder, "a.md")
    look = folder.look("a.md")
    assert look
    path.unlink()
    (tmp_path / "secret.md").write_bytes(b"words")
    path.symlink_to(tmp_path / "secret.md")
    assert folder.inspect("a.md", look) is None
    path.unlink()
    os.mkfifo(path)
    assert folder.inspect("a.md", look) is None


def test_a_file_that_changed_since_the_look_gets_no_digest(folder: LibraryFolder) -> None:
    path = put(folder, "a.md")
    look = folder.look("a.md")
    assert look
    path.write_bytes(b"other words")
    assert folder.inspect("a.md", look) is None


def test_companions_are_counted_and_an_unreadable_kind_is_not_one(folder: LibraryFolder) -> None:
    for path in ("b/cover.jpg", "b/metadata.opf", "metadata.db", "b/film.mp4", "b/a.md", "b/letter.docx"):
        put(folder, path)
    walk = folder.walk()
    assert [path for path, _ in walk] == ["b/a.md", "b/film.mp4", "b/letter.docx"]
    assert (walk.files, walk.passed_over) == (3, 3)


def test_a_folder_that_cannot_be_listed_is_told_of_and_a_library_that_is_not_there_too(
    folder: LibraryFolder,
) -> None:
    folder.root.rmdir()
    walk = folder.walk()
    assert list(walk) == []
    assert walk.unlisted == {""}


def test_a_file_is_gone_only_when_the_disk_says_so(folder: LibraryFolder) -> None:
    put(folder, "s/a.md")
    assert not folder.is_gone("s/a.md")
    assert folder.is_gone("s/b.md")
    assert folder.is_gone("s/a.md/below")
    assert folder.is_gone("s/cover.jpg")
    assert folder.is_listed("s/a.md")
    assert not folder.is_listed("s/A.md")


MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:30 / {root} rw - autofs systemd-1 rw
31 30 0:40 / {root} rw,relatime shared:5 - {kind} source rw
32 31 0:41 / {root}/shelf\\040one rw - {inner} source rw
33 22 0:42 / {root}-beside rw - nfs4 source rw
"""


@pytest.mark.parametrize(
    ("kind", "inner", "untold"),
    [
        ("ext4", "xfs", []),
        ("nfs4", "ext4", ["nfs4"]),
        ("fuseblk", "cifs", ["cifs"]),
        ("fuse.sshfs", "fuse.rclone", ["fuse.sshfs", "fuse.rclone"]),
        ("btrfs", "9p", ["9p"]),
    ],
)
def test_a_network_mount_at_or_in_the_library_is_known_by_the_table_of_mounts(
    tmp_path: Path, kind: str, inner: str, untold: list[str]
) -> None:
    root = tmp_path / "library"
    root.mkdir()
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS.format(root=root, kind=kind, inner=inner))
    standing = ground(root, table)
    assert standing
    assert standing.mount
    assert standing.mount.kind == kind
    assert [mount.at for mount in standing.inside] == [f"{root}/shelf one"]
    assert [mount.kind for mount in standing.untold] == untold


def test_what_has_just_come_does_not_wait_for_what_a_walk_has_found() -> None:
    now = [0.0]
    settling = Settling(1.0, lambda: now[0])
    for n in range(5):
        settling.see(f"old{n}", Look(1, n), is_quiet=True)
    settling.see("recent", Look(1, 9), is_quiet=False)
    now[0] = 1.0
    settling.see("another old", Look(1, 1), is_quiet=True)
    settling.notice(["told"])
    assert [noticed.path for noticed in settling.take(3)] == ["told", "recent", "another old"]


def test_what_is_written_on_is_not_settled_and_the_newest_is_looked_at_first() -> None:
    now = [0.0]
    settling = Settling(1.0, lambda: now[0])
    settling.notice(["old", "new"])
    old, new = reversed(settling.take(10))
    assert [new.path, old.path] == ["new", "old"]
    assert not settling.settled(new, Look(1, 1))
    assert settling.settled(old, Look(1, 1), is_quiet=True)
    settling.done(old)
    assert settling.take(10) == []
    now[0] = 1.0
    (again,) = settling.take(10)
    assert not settling.settled(again, Look(2, 2))
    now[0] = 2.0
    (again,) = settling.take(10)
    settling.notice(["new"])
    assert not settling.settled(again, Look(2, 2))
    settling.done(again)
    assert len(settling) == 1
    (again,) = settling.take(10)
    settling.put_back([again])
    assert settling.take(10) == [again]


@pytest.mark.parametrize("path", ["../escape.md", "/etc/passwd"])
def test_a_path_outside_is_no_path_of_the_library(folder: LibraryFolder, path: str) -> None:
    assert folder.relative(str(folder.root.parent / path)) is None


def test_an_unsupported_an_empty_and_a_large_file_each_have_their_sentence(folder: LibraryFolder) -> None:
    for path, content, says in (
        ("film.mp4", b"x", r"Files of this kind \(\.mp4\) cannot be read"),
        ("empty.md", b"", "The file is empty"),
        ("large.md", b"x" * 1_100_000, "larger than 1 MiB"),
    ):
        put(folder, path, content)
        look = folder.look(path)
        assert look
        with pytest.raises(UnreadableFile, match=says):
            folder.inspect(path, look)


def test_the_digest_is_that_of_the_content(folder: LibraryFolder) -> None:
    put(folder, "a.md", b"same")
    put(folder, "b.md", b"same")
    looks = dict(folder.walk())
    assert folder.inspect("a.md", looks["a.md"]).digest == folder.inspect("b.md", looks["b.md"]).digest


def test_a_folder_that_is_not_there_is_said_not_to_be(tmp_path: Path) -> None:
    assert not LibraryFolder(tmp_path / "nowhere", max_file_mib=1).is_there()
