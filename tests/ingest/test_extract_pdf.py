"""What a PDF becomes: a section for each page, paragraphs again, and honest refusals."""

from pathlib import Path

import pytest

from ingest.extract import Limits, extract
from ingest.extract.typeset import BROKEN, Line, paragraphs, rows, vocabulary, without_running_heads
from library.errors import UnreadableFile
from tests.ingest.books import write_pdf
from tests.places import shared_data

PAGE = [
    "It was a dark and stormy night; the rain fell in torrents, except at occasional",
    "intervals, when it was checked by a violent gust of wind which swept up the streets,",
    "rattling along the house-tops, and fiercely agitating the scanty flame of the lamps.",
]
WHOLE = " ".join(PAGE)


def lines(*texts: str, step: float = 12.0, left: float = 72.0) -> list[Line]:
    """Lines of a typewriter: five points a letter."""
    return [Line(text, left, left + 5 * len(text), 700 - step * at, 10.0) for at, text in enumerate(texts)]


def test_each_page_is_a_section_with_its_number_as_anchor(tmp_path: Path) -> None:
    found = extract(write_pdf(tmp_path / "night.pdf", [PAGE, [], ["The end."]]))
    assert [(section.anchor, section.heading_path, section.text) for section in found.sections] == [
        ("page=1", ("Night",), WHOLE),
        ("page=3", ("Night",), "The end."),
    ]


def test_pages_stand_under_the_outline_that_they_belong_to(tmp_path: Path) -> None:
    pages = [[f"Text of page {name}."] for name in ("one", "two", "three", "four")]
    outline = [("Fire", 1), ("Water", 3), ("Salt", 3)]
    found = extract(write_pdf(tmp_path / "kit.pdf", pages, outline=outline))
    assert [section.heading_path[1:] for section in found.sections] == [(), ("Fire",), ("Fire",), ("Water",)]


def test_the_nested_outline_of_a_published_book_becomes_paths() -> None:
    book = extract(shared_data("pdf/009-pdflatex-geotopo") / "GeoTopo-komprimiert.pdf")
    assert (book.title, book.authors, book.language) == ("Geometrie und Topologie", ("Martin Thoma",), "de")
    assert (book.year, book.subjects) == (2016, ("Geometrie", "Topologie"))
    by_page = {section.anchor: section for section in book.sections}
    page = by_page["page=21"]
    assert page.heading_path[1:] == ("1 Topologische Grundbegriffe", "1.6 Wege und Knoten")
    assert "Nach Voraussetzung kann K mit endlich vielen offenen Kugeln" in page.text
    assert "WEGE UND KNOTEN" not in page.text  # the running head


def test_columns_are_read_one_after_the_other() -> None:
    book = extract(shared_data("pdf/026-latex-multicolumn") / "multicolumn.pdf")
    assert (
        "consectetuer adipiscing elit. Ut purus elit, vestibulum ut, placerat ac, adipiscing"
        in book.sections[0].text
    )


def test_arabic_that_is_stored_as_it_is_drawn_is_turned_round() -> None:
    book = extract(shared_data("pdf/015-arabic") / "habibi.pdf")
    assert "حَبيبي" in book.sections[0].text


@pytest.mark.parametrize(
    ("information", "expected"),
    [
        ({"Title": "Fire", "Author": "Ann Lee; Bob", "Subject": "How to."}, ("Fire", ("Ann Lee", "Bob"), "How to.")),
        ({"Title": "Microsoft Word - draft3.doc", "Author": "Administrator"}, ("Kit", (), "")),
        ({"Title": "untitled", "Author": "anonymous", "Subject": "unspecified"}, ("Kit", (), "")),
        ({"Title": "scan0001.tif", "Author": "user"}, ("Scan0001.tif", (), "")),
        ({"Title": "1984", "Author": ""}, ("Kit", (), "")),
    ],
)  # fmt: skip
def test_metadata_that_a_program_made_up_is_not_believed(
    tmp_path: Path, information: dict[str, str], expected: tuple[object, ...]
) -> None:
    found = extract(write_pdf(tmp_path / "kit.pdf", [PAGE], information=information))
    assert (found.title.lower(), found.authors, found.description) == (
        str(expected[0]).lower(),
        *expected[1:],
    )


def test_keywords_and_the_year_of_making_are_kept(tmp_path: Path) -> None:
    information = {"Keywords": "fire, water; Fire", "CreationDate": "D:20161231184323+01'00'"}
    found = extract(write_pdf(tmp_path / "kit.pdf", [PAGE], information=information))
    assert (found.subjects, found.year) == (("fire", "water"), 2016)


def test_running_heads_and_page_numbers_are_left_out_and_the_first_head_is_kept(tmp_path: Path) -> None:
    pages = [[f"Page {number} says something else: {word}."] for number, word in enumerate("abcdef", start=1)]
    heads = [f"Handbook of Knots {number}" for number in range(1, 7)]
    texts = [section.text for section in extract(write_pdf(tmp_path / "b.pdf", pages, heads=heads)).sections]
    assert texts[0].startswith("Handbook of Knots 1")
    assert texts[1:] == [page[0] for page in pages[1:]]
    numbered = write_pdf(tmp_path / "n.pdf", pages, heads=[str(number) for number in range(11, 17)])
    assert [section.text for section in extract(numbered).sections] == [page[0] for page in pages]


def test_a_line_that_repeats_on_few_pages_or_within_them_is_kept() -> None:
    pages = [lines("Salt", f"Use {word}.", "Salt", "More.", "Again.") for word in ("one", "two")]
    assert without_running_heads(pages) == pages


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ((f"the con{BROKEN}", "tinent lies"), "the continent lies"),
        (("they were well-", "known to us"), "they were well-known to us"),
        (("they were mis-", "taken again"), "they were mistaken again"),
        (("from Alsace-", "Lorraine to"), "from Alsace-Lorraine to"),
        (("in the range 3-", "4 metres"), "in the range 3- 4 metres"),
        (("山路を登りなが", "らこう考えた"), "山路を登りながらこう考えた"),
    ],
)
def test_a_word_broken_at_a_line_end_is_whole_again(broken: tuple[str, str], whole: str) -> None:
    filler = "x" * 60  # a full line, so that the broken one is full too
    page = lines(filler, broken[0].rjust(60, "x").replace("x", " ").strip(), broken[1])
    page[1].right = page[0].right
    page[2].right = page[2].left + 40
    words = vocabulary([lines("a well-known man")])
    assert paragraphs(page[1:], words) == [whole]


def test_paragraphs_end_at_a_gap_at_an_indent_and_after_a_short_last_line() -> None:
    full = "a line as wide as the column it stands in, from edge to edge."
    page = lines(full, full, "short end.", full, full)
    assert paragraphs(page, frozenset()) == [f"{full} {full} short end.", f"{full} {full}"]
    page = lines(full, full, full)
    page[1].left += 12
    assert paragraphs(page, frozenset()) == [full, f"{full} {full}"]
    page = lines(full, full, full)
    page[2].y -= 12
    assert paragraphs(page, frozenset()) == [f"{full} {full}", full]


def test_verse_and_lists_keep_their_lines() -> None:
    verse = ["Tyger Tyger, burning bright,", "In the forests of the night", "What immortal hand or eye,"]
    wide = Line("x" * 70, 72, 422, 800, 10)
    assert paragraphs([wide, *lines(*verse)], frozenset())[-1] == "\n".join(verse)
    full = "- an item that is as wide as the whole column it stands in here"
    assert paragraphs(lines(full, full), frozenset()) == [f"{full}\n{full}"]


def test_a_raised_number_stands_on_the_line_of_its_word() -> None:
    raised = [
        Line("E = mc", 72, 102, 700, 10),
        Line("2", 102.5, 106, 704, 6),
        Line("holds", 110, 135, 700, 10),
    ]
    assert [line.text for line in rows(raised)] == ["E = mc2 holds"]


def test_pictures_of_pages_are_refused_with_the_advice_to_recognise_them(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"only pictures of pages.*OCR"):
        extract(write_pdf(tmp_path / "scan.pdf", [[], [], []], picture=True))
    stamped = write_pdf(tmp_path / "stamp.pdf", [["Scanned with a telephone"]] * 4, picture=True)
    with pytest.raises(UnreadableFile, match="only pictures of pages"):
        extract(stamped)
    with pytest.raises(UnreadableFile, match="drawings or blank pages"):
        extract(write_pdf(tmp_path / "blank.pdf", [[], []]))


def test_a_document_in_which_some_pages_are_scans_is_read(tmp_path: Path) -> None:
    found = extract(write_pdf(tmp_path / "mixed.pdf", [[], PAGE, []], picture=True))
    assert [(section.anchor, section.text) for section in found.sections] == [("page=2", WHOLE)]


def test_a_document_beyond_the_limit_of_pages_is_refused(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "long.pdf", [PAGE] * 4)
    with pytest.raises(UnreadableFile, match="has 4 pages, more than the 3"):
        extract(path, Limits(max_pages=3))
    with pytest.raises(UnreadableFile, match="more text than a book can have"):
        extract(path, Limits(max_expanded_mib=0))
    with pytest.raises(UnreadableFile, match="4 headings or pages"):
        extract(path, Limits(max_sections=3))


def test_any_damage_ends_in_sections_or_a_reason(tmp_path: Path) -> None:
    whole = write_pdf(tmp_path / "whole.pdf", [PAGE, PAGE], outline=[("Night", 0)]).read_bytes()
    broken = tmp_path / "broken.pdf"
    reasons: set[str] = set()
    for at in range(0, len(whole), 23):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
            broken.write_bytes(content or b"x")
            try:
                assert extract(broken).sections
            except UnreadableFile as error:
                reasons.add(str(error))
    assert any("damaged" in reason for reason in reasons)
    assert all(reason.endswith(".") for reason in reasons)
