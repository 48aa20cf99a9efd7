"""One contract for every extractor: what any `Extracted` promises, and how any bad file is refused."""

import collections
import re
import time
import unicodedata
import zipfile
from pathlib import Path

import pytest
from lxml import etree

from ingest.extract import _READERS, extract
from ingest.extract import html as pages
from ingest.extract.encoding import decode_page
from ingest.extract.markup import parse
from ingest.extract.outline import Block, Heading, cleaned
from ingest.formats import BUILT_IN, FORMATS
from ingest.limits import Limits
from library.errors import UnreadableFile
from library.values import Extracted
from tests.ingest.books import write_epub, write_pdf, xhtml

DATA = Path(__file__).parents[2].parent / "shared" / "data"
EPUBS = sorted((DATA / "epub").rglob("*.epub")) if DATA.exists() else []
NO_TEXT = re.compile(  # fixtures that hold only pictures, sound or film, or whose text is encrypted
    r"audio|video|fallback-chain|encryption-unknown"
)


def needs(folder: str) -> Path:
    if not (DATA / folder).exists():
        pytest.skip(f"the shared test data is not beside the repository: {DATA / folder}")
    return DATA / folder


def sample(folder: Path, suffix: str) -> Path:
    """The same small document in every format."""
    path = folder / f"sample{suffix}"
    if suffix == ".epub":
        return write_epub(path, {"c.xhtml": xhtml("<p>Before.</p><h1>Fire</h1><p>Dry wood.</p><h1>Ash</h1>")})
    if suffix in {".md", ".markdown"}:
        path.write_text("Before.\n\n# Fire\n\nDry wood.\n\n# Ash\n")
    elif suffix in {".html", ".htm", ".xhtml"}:
        path.write_text("<title>Kit</title><p>Before.</p><h1>Fire</h1><p>Dry wood.</p><h1>Ash</h1>")
    elif suffix == ".pdf":
        write_pdf(path, [["Before."], ["Dry wood."], ["Ash"]])
    else:
        path.write_text("Before.\n\nCHAPTER 1\n\nDry wood.\n\nCHAPTER 2\n")
    return path


def check(found: Extracted) -> None:
    assert found.title
    assert found.title == " ".join(found.title.split())
    assert found.language is None or found.language == found.language.lower()
    assert found.year is None or 1000 <= found.year < 2100
    for several in (found.authors, found.identifiers, found.subjects):
        assert len(set(several)) == len(several)
        assert all(text == " ".join(text.split()) != "" for text in several)
    assert len(found.description) <= 2000
    assert found.description == found.description.strip()
    assert found.cover is None or found.cover.lower().endswith(
        (".jpg", ".jpeg", ".png", ".gif", ".webp", ".svg")
    )
    assert [section.ordinal for section in found.sections] == list(range(len(found.sections)))
    for section in found.sections:
        assert section.heading_path[0] in {found.title, found.title[:200]} or len(found.title) > 200
        assert section.level == max(1, len(section.heading_path) - 1)
        assert all(name == " ".join(name.split()) != "" for name in section.heading_path)
        assert section.text == section.text.strip("\n") != ""
        assert "\n\n\n" not in section.text
        assert unicodedata.is_normalized("NFC", section.text)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\xa0\xad\ufeff]", section.text)


def test_every_ending_has_a_format_and_an_extractor() -> None:
    assert BUILT_IN.items() <= FORMATS.items()
    assert set(BUILT_IN.values()) == _READERS.keys()


@pytest.mark.parametrize("suffix", BUILT_IN)
def test_a_sound_file_becomes_sections(tmp_path: Path, suffix: str) -> None:
    found = extract(sample(tmp_path, suffix))
    check(found)
    assert [section.text for section in found.sections][:2] == ["Before.", "Dry wood."]
    assert len(found.sections) == 3  # the bare last heading too


@pytest.mark.parametrize("suffix", BUILT_IN)
def test_every_extractor_is_given_the_limits(tmp_path: Path, suffix: str) -> None:
    path = sample(tmp_path, suffix)
    with pytest.raises(UnreadableFile, match="3 headings or pages"):
        extract(path, Limits(max_sections=2))
    tight = Limits(max_member_mib=0, max_text_mib=0, max_expanded_mib=0)
    with pytest.raises(UnreadableFile):
        extract(path, tight)


@pytest.mark.parametrize("suffix", BUILT_IN)
def test_a_note_in_a_language_that_no_file_states_is_detected(tmp_path: Path, suffix: str) -> None:
    text = "Das Wasser wird eine Minute lang gekocht und muss dann langsam auskühlen, bevor man es trinkt."
    path = tmp_path / f"notiz{suffix}"
    if suffix == ".epub":
        write_epub(path, {"c.xhtml": xhtml(f"<p>{text}</p>")}, metadata="<dc:language>und</dc:language>")
    elif suffix == ".pdf":
        write_pdf(path, [[text]])
    else:
        path.write_text(text, encoding="utf-8")
    found = extract(path)
    assert (found.language, found.title) == ("de", "Notiz")


@pytest.mark.parametrize("suffix", BUILT_IN)
def test_an_ending_in_capitals_is_the_same_ending(tmp_path: Path, suffix: str) -> None:
    path = sample(tmp_path, suffix)
    assert extract(path.rename(path.with_suffix(suffix.upper()))).sections


@pytest.mark.parametrize("suffix", BUILT_IN)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n\t\r\n ",
        bytes(range(256)) * 64,
        b"\x00" * 5000,
        b"PK\x03\x04rubbish",
        b"\xff\xfe\xff\xfe\x00\xd8",
    ],
)
def test_rubbish_is_refused_with_a_sentence_and_nothing_else(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile) as refused:
        extract(path)
    assert str(refused.value)[0].isupper()
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("suffix", BUILT_IN)
def test_a_file_that_is_gone_or_a_folder_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    for name in ("gone", "folder"):
        with pytest.raises(UnreadableFile):
            extract(tmp_path / f"{name}{suffix}")


@pytest.mark.parametrize("name", ["a.docx", "README", ".hidden", "b.epub.part"])
def test_an_ending_nobody_reads_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(UnreadableFile, match="cannot be read"):
        extract(tmp_path / name)


@pytest.mark.parametrize("path", EPUBS, ids=lambda path: path.stem)
def test_every_published_book_ends_in_sections_or_a_reason(path: Path) -> None:
    started = time.process_time()
    reason = refusal(path)
    assert time.process_time() - started < 20  # seconds; the slowest takes one
    assert not reason or reason.endswith(".")
    if path.parent.name == "epub3-samples" or ("-valid" in path.stem and not NO_TEXT.search(path.stem)):
        assert not reason


def refusal(path: Path) -> str:
    """Why a file cannot be read, or nothing if it can and keeps the contract."""
    try:
        check(extract(path))
    except UnreadableFile as error:
        return str(error)
    return ""


def test_the_survival_manual_is_read_chapter_by_chapter() -> None:
    book = extract(needs("survival-manual") / "LigiSurvivalManual.epub")
    check(book)
    found = {section.heading_path: section for section in book.sections}
    water = found["Survival Manual", "Water Procurement", "Water Sources"]
    assert water.anchor == "water.xhtml#water-sources"
    assert "- Frigid areas\n  - Snow and ice\n    - Means of obtaining" in water.text


def test_every_chapter_of_the_survival_notes_is_read() -> None:
    notes = sorted(needs("survival-manual/md").glob("*.md"))
    assert len(notes) > 30
    for path in notes:
        check(extract(path))


def test_every_letter_of_the_published_books_comes_out_once() -> None:
    for path in sorted(needs("epub/epub3-samples").glob("*.epub")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(("html", "htm")):
                    _check_letters(decode_page(archive.read(name)), f"{path.name} {name}")


def _check_letters(page: str, name: str) -> None:
    root = parse(page)
    wanted: list[str] = []
    unseen = {"head", "script", "style", "rt", "rp", "annotation", "annotation-xml", "audio", "video"}
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        if event == "start":
            if (
                etree.QName(element).localname in unseen
                or "pagebreak" in element.get("{http://www.idpf.org/2007/ops}type", "")
                or (etree.QName(element).localname == "nav" and element.get("hidden") is not None)
            ):
                walk.skip_subtree()
            else:
                wanted.append(element.text or "")
        elif element is not root:
            wanted.append(element.tail or "")
    for described in root.iter("{*}img", "{*}math"):  # descriptions may be added, never letters lost
        described.set("seen", described.get("alt") or described.get("alttext") or "")
    added = "".join(element.get("seen", "") for element in root.iter("{*}img", "{*}math"))
    found = [event.text for event in pages.events(root) if isinstance(event, Block | Heading)]
    have, want = _letters("".join(found)), _letters("".join(wanted))
    assert not want - have, name
    assert not have - want - _letters(added), name


def _letters(text: str) -> collections.Counter[str]:
    return collections.Counter(letter for letter in cleaned(text) if letter.isalpha())
