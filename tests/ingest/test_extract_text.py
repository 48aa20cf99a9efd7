"""What a plain text becomes: paragraphs joined, verses kept, chapters only where there are some."""

from pathlib import Path

import pytest

from ingest.extract import extract
from library.errors import UnreadableFile
from library.values import Extracted

WRAPPED = (
    "It was a dark and stormy night; the rain fell in torrents, except at\n"
    "occasional intervals, when it was checked by a violent gust of wind which\n"
    "swept up the streets, rattling along the house-tops.\n"
)
VERSE = (
    "Tyger Tyger, burning bright,\n"
    "In the forests of the night;\n"
    "What immortal hand or eye,\n"
    "Could frame thy symmetry?\n"
)


def text(folder: Path, content: str | bytes, name: str = "night.txt") -> Extracted:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return extract(path)


def blocks(folder: Path, content: str) -> list[str]:
    return [block for section in text(folder, content).sections for block in section.text.split("\n\n")]


def test_wrapped_lines_are_joined_and_broken_ones_are_kept(tmp_path: Path) -> None:
    assert blocks(tmp_path, f"{WRAPPED}\n{VERSE}\n{WRAPPED}") == [
        " ".join(WRAPPED.split()),
        VERSE.strip(),
        " ".join(WRAPPED.split()),
    ]


@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
def test_line_ends_of_other_systems_are_line_ends(tmp_path: Path, line_end: str) -> None:
    assert blocks(tmp_path, WRAPPED.replace("\n", line_end)) == [" ".join(WRAPPED.split())]


def test_list_items_and_columns_keep_their_lines(tmp_path: Path) -> None:
    items = (
        "- a knife that holds its edge and that fits well into the hand of who\n  carries it\n- a whistle\n"
    )
    table = "Name     Dose    Days\nIodine   5       30\nSalt     1       2\n"
    assert blocks(tmp_path, f"{WRAPPED}\n{items}\n{table}")[1:] == [
        "- a knife that holds its edge and that fits well into the hand of who carries it\n- a whistle",
        table.strip(),
    ]


def test_wrapped_chinese_is_joined_without_spaces(tmp_path: Path) -> None:
    line = "山路を登りながらこう考えた智に働けば角が立つ情に棹させば流される意地を通せば窮屈だ"
    assert blocks(tmp_path, f"{line}\n{line}\n{line}\n") == [line * 3]


@pytest.mark.parametrize(
    "heading",
    [
        "CHAPTER IV", "CHAPTER IV.", "Chapter 3. The Carpet-Bag", "CHAPTER 1: LOOMINGS", "Chapter One",
        "PART THE SECOND", "Appendix B", "CHAPTER I.\nLoomings", "SCENE II. A room in the castle.",
    ],
)  # fmt: skip
def test_a_numbered_division_on_its_own_is_a_heading(tmp_path: Path, heading: str) -> None:
    (section,) = text(tmp_path, f"{heading}\n\n{WRAPPED}").sections
    assert section.heading_path == ("Night", " ".join(heading.split()))
    assert section.text == " ".join(WRAPPED.split())
    assert section.anchor == ""


@pytest.mark.parametrize(
    "line",
    [
        "Chapter 3 describes how to make fire.", "Part of the crew was asleep.", "CHAPTER I, which is short,",
        "Book now!", "Section leaders met at noon", "I", "Scene of the crime",
    ],
)  # fmt: skip
def test_a_sentence_that_begins_like_one_is_not(tmp_path: Path, line: str) -> None:
    (section,) = text(tmp_path, f"{line}\n\n{WRAPPED}").sections
    assert section.heading_path == ("Night",)


def test_parts_hold_chapters(tmp_path: Path) -> None:
    found = text(
        tmp_path,
        f"PART I\n\nCHAPTER 1\n\n{WRAPPED}\nCHAPTER 2\n\n{WRAPPED}\nPART II\n\nCHAPTER 1\n\n{WRAPPED}",
    )
    assert [section.heading_path[1:] for section in found.sections] == [
        ("PART I", "CHAPTER 1"),
        ("PART I", "CHAPTER 2"),
        ("PART II", "CHAPTER 1"),
    ]


def test_a_table_of_contents_is_no_run_of_empty_chapters(tmp_path: Path) -> None:
    contents = "".join(f"CHAPTER {number}\n\n" for number in "1234")
    found = text(tmp_path, f"{contents}CHAPTER 1\n\n{WRAPPED}\nCHAPTER 2\n\n{WRAPPED}")
    assert [section.heading_path[1:] for section in found.sections] == [(), ("CHAPTER 1",), ("CHAPTER 2",)]
    assert found.sections[0].text == "CHAPTER 1\nCHAPTER 2\nCHAPTER 3\nCHAPTER 4"


def test_an_underlined_line_is_a_heading_and_the_first_is_the_title(tmp_path: Path) -> None:
    found = text(tmp_path, f"Of Night\n========\n\n{WRAPPED}\nRain\n----\n{WRAPPED}")
    assert found.title == "Of Night"
    assert [section.heading_path for section in found.sections] == [("Of Night",), ("Of Night", "Rain")]


def test_gutenbergs_own_header_names_the_book(tmp_path: Path) -> None:
    header = "The Project Gutenberg eBook of X\n\nTitle: Moby-Dick\n\nAuthor: Herman Melville\n\nLanguage: English\n\n"
    found = text(tmp_path, header + WRAPPED)
    assert (found.title, found.authors, found.language) == ("Moby-Dick", ("Herman Melville",), "en")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "iso-8859-15"])
def test_any_common_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    content = (
        "Die Größe der Bäume überrascht die Gäste; sie fragen höflich nach früheren Überschwemmungen. " * 5
    )
    assert text(tmp_path, content.encode(encoding)).sections[0].text == content.strip()


ENCODED = {
    "The café’s naïve owner said “boil the water” — and paid €5 for it; nothing more was said. ": ["cp1252", "utf-16-le"],
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。": ["shift_jis", "euc_jp", "iso2022_jp", "utf-16-le"],
    "Все счастливые семьи похожи друг на друга, каждая несчастлива по-своему. ": [
        "koi8_r", "cp1251", "cp866", "iso8859_5", "utf-16-le", "utf-16-be", "utf-32-le",
    ],
    "道可道，非常道。名可名，非常名。无名天地之始；有名万物之母。": ["gb18030", "utf-16-be"],
    "道可道，非常道。名可名，非常名。無名天地之始；有名萬物之母。": ["big5"],
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. ": ["cp949"],
    "Zażółć gęślą jaźń, a potem napij się wody źródlanej i odpocznij pod świerkiem. ": ["cp1250", "iso8859_2"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "encoding"),
    [(content, encoding) for content, encodings in ENCODED.items() for encoding in encodings],
)
def test_a_text_without_a_mark_is_read_by_its_letters(tmp_path: Path, content: str, encoding: str) -> None:
    for times in (1, 20):
        (section,) = text(tmp_path, (content * times).encode(encoding)).sections
        assert section.text == (content * times).strip()


def test_line_ends_may_be_mixed(tmp_path: Path) -> None:
    first, second, third = WRAPPED.splitlines()
    assert blocks(tmp_path, f"{first}\r\n{second}\r{third}\n\r\n{VERSE}") == [
        " ".join(WRAPPED.split()),
        VERSE.strip(),
    ]


def test_a_letter_outside_ascii_late_in_the_file_is_still_decoded(tmp_path: Path) -> None:
    content = "plain words " * 20_000 + "und die schönen Gärten am Fluß, für die Mädchen. " * 20
    assert "schönen Gärten" in text(tmp_path, content.encode("cp1252")).sections[0].text


def test_controls_go_and_a_stray_one_condemns_no_file(tmp_path: Path) -> None:
    assert text(tmp_path, "a\0b co\u00adop\ufeff cafe\u0301\n").sections[0].text == "ab coop café"


@pytest.mark.parametrize(
    "content",
    [bytes(range(256)) * 40, b"\x89PNG\r\n\x1a\n" + bytes(4000), b"PK\x03\x04" + bytes(range(200)) * 9],
)
def test_what_is_not_text_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableFile, match="does not contain text"):
        text(tmp_path, content)
