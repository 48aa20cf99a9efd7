"""The folder: what is the reader's, what is litter, and what leads out of it."""

from pathlib import Path

import pytest

from ingest.folder import LibraryFolder, is_litter
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
    ],
)
def test_litter_is_never_the_readers(name: str) -> None:
    assert is_litter(name)


@pytest.mark.parametrize("name", ["book.epub", "Notes.md", "part two.txt", "2.tmp.md", "$prices.md"])
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
