"""Names out of the network: mended, refused, and never leading anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.filenames import file_name, numbered, shelf_name
from ingest.folder import is_litter
from library.errors import InvalidRequest, UnreadableFile


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("owls.md", "owls.md"),
        ("  owls.md ", "owls.md"),
        ("/etc/owls.md", "owls.md"),
        ("../../owls.md", "owls.md"),
        (r"C:\Users\me\owls.md", "owls.md"),
        (r"..\..\owls.md", "owls.md"),
        ("Dune: Messiah.epub", "Dune: Messiah.epub"),
        ("Krieg und Frieden – Толстой 戦争と平和.epub", "Krieg und Frieden – Толстой 戦争と平和.epub"),
        ("Cafe\u0301.txt", "Café.txt"),
        ("\u202egpj.epub", "gpj.epub"),
    ],
)
def test_a_name_is_mended_where_its_meaning_is_clear(sent: str, stored: str) -> None:
    assert file_name(sent) == stored


@pytest.mark.parametrize(
    "sent",
    [
        "", " ", ".", "..", "...", "a/", "a/..", "\\", ".hidden.epub", "~$thesis.txt", "book.epub.part", "x.txt~",
        "._owls.epub", "a\nb.txt", "a\x00b.txt", "a\x7fb.txt", "a\u2028b.txt", "CON.txt", "nul.epub", "Com1.md",
        "a." + "e" * 300,
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_is_refused(sent: str) -> None:
    with pytest.raises(UnreadableFile, match="name"):
        file_name(sent)


@pytest.mark.parametrize("letter", ["a", "戦", "é", "𝔞"])
def test_a_name_that_is_too_long_is_cut_before_its_ending(letter: str) -> None:
    for name in (file_name(letter * 300 + ".epub"), numbered(letter * 300 + ".epub", 12)):
        assert name.endswith(".epub")
        assert 240 <= len(name.encode()) <= 255
    assert numbered(letter * 300 + ".epub", 12).endswith(" (12).epub")


@given(st.text())
def test_whatever_comes_out_is_one_name_in_one_folder(sent: str) -> None:
    try:
        name = file_name(sent)
    except UnreadableFile:
        return
    assert "/" not in name
    assert "\0" not in name
    assert name not in ("", ".", "..")
    assert not is_litter(name)
    assert len(name.encode()) <= 255


@pytest.mark.parametrize(
    "sent", ["..", ".", "a/b", "/etc", r"a\b", ".git", "@eaDir", "a\nb", "x" * 300, "nul"]
)
def test_a_shelf_is_never_mended(sent: str) -> None:
    with pytest.raises(InvalidRequest):
        shelf_name(sent)


def test_a_shelf_may_be_any_word_or_none() -> None:
    assert shelf_name("") is None
    assert shelf_name("  ") is None
    assert shelf_name(" Vögel und Bäume ") == "Vögel und Bäume"
    assert shelf_name("本棚") == "本棚"
