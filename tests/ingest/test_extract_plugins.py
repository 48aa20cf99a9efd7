"""Readers that another distribution brings: found by name, loaded late, and never able to fail in silence."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest import formats
from ingest.extract import Limits, extract
from library.errors import UnreadableFile
from tests.places import ROOT

MODULE = """
from library.errors import UnreadableFile
from library.values import Extracted, Section

LOADED = True

def read(path):
    section = Section(7, 3, ("Note", "  Fire "), "p1", "Dry\\x00 wood, collected before the rain.\\n")
    return Extracted("Note", ("Ann", "Ann"), "EN", 1999, (section,), ("0-306-40615-2",), ("a", "A"), "<b>d</b>", None)

def read_within(path, limits):
    return Extracted(f"{limits.max_pages} pages", (), None, None, read(path).sections)

def fail(path):
    raise KeyError("page 3")

def refuse(path):
    raise UnreadableFile("This note is sealed. Open the seal.")

def leave(path):
    raise SystemExit(3)

def lie(path):
    return {"title": "no Extracted"}

def lie_inside(path):
    return Extracted("t", "not a tuple", None, "1999", (Section(0, 1, ("t",), "", 5),))
"""
POINTS = """[almanac.extractors]
.note = notes_reader:read
.paged .PAGES = notes_reader:read_within
.fails = notes_reader:fail
.sealed = notes_reader:refuse
.leaves = notes_reader:leave
.lies = notes_reader:lie
.lies2 = notes_reader:lie_inside
.gone = notes_reader:nothing_there
.lost = no_such_module:read
.epub = notes_reader:read
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A distribution "notes-reader", installed as pip would leave it."""
    place = tmp_path / "site"
    about = place / "notes_reader-1.0.dist-info"
    about.mkdir(parents=True)
    (place / "notes_reader.py").write_text(MODULE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: notes-reader\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(place))
    importlib.invalidate_caches()
    _forget()
    yield place
    sys.modules.pop("notes_reader", None)
    _forget()


def _forget() -> None:
    formats.plug_ins.cache_clear()
    formats.formats.cache_clear()


def note(folder: Path, ending: str) -> Path:
    path = folder / f"a{ending}"
    path.write_text("x")
    return path


@pytest.mark.usefixtures("installed")
def test_its_endings_are_known_without_loading_it() -> None:
    assert {".note", ".paged", ".pages"} <= formats.FORMATS.keys()
    assert (formats.FORMATS[".note"], formats.FORMATS[".pages"]) == ("note", "pages")
    assert "notes_reader" not in sys.modules


@pytest.mark.usefixtures("installed")
def test_what_is_built_in_cannot_be_replaced() -> None:
    assert formats.FORMATS[".epub"] == "epub"
    assert ".epub" not in formats.plug_ins()


@pytest.mark.usefixtures("installed")
def test_what_it_reads_keeps_the_promises_of_every_extractor(tmp_path: Path) -> None:
    found = extract(note(tmp_path, ".note"))
    assert (found.title, found.authors, found.language, found.year) == ("Note", ("Ann",), "en", 1999)
    assert (found.identifiers, found.subjects, found.description) == (("isbn:9780306406157",), ("a",), "d")
    (section,) = found.sections
    assert (section.ordinal, section.level, section.heading_path) == (0, 1, ("Note", "Fire"))
    assert (section.anchor, section.text) == ("p1", "Dry wood, collected before the rain.")


@pytest.mark.usefixtures("installed")
def test_one_that_takes_the_limits_is_given_them(tmp_path: Path) -> None:
    assert extract(note(tmp_path, ".pages"), Limits(max_pages=3)).title == "3 pages"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("ending", "says"),
    [
        (".fails", "“notes-reader” failed on this file .*KeyError.*page 3"),
        (".leaves", "“notes-reader” failed on this file .*SystemExit"),
        (".lies", "“notes-reader” failed on this file .*dict, not an Extracted"),
        (".lies2", "“notes-reader” failed on this file"),
        (".gone", "“notes-reader”, which reads files ending in “.gone”, cannot be loaded"),
        (".lost", "“notes-reader”, which reads files ending in “.lost”, cannot be loaded .*no_such_module"),
        (".sealed", "^This note is sealed. Open the seal.$"),
    ],
)
def test_whatever_it_does_its_file_fails_with_its_name(tmp_path: Path, ending: str, says: str) -> None:
    with pytest.raises(UnreadableFile, match=says) as refused:
        extract(note(tmp_path, ending))
    assert str(refused.value).endswith(".")


def test_the_main_process_learns_of_formats_without_a_parser() -> None:
    code = "import sys, ingest.formats as f; f.formats(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"lxml", "ebooklib", "pypdfium2", "markdown_it", "gcld3", "ingest.extract"} & set(loaded)
