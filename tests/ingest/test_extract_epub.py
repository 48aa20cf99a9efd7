"""What a book's package says about its pages, and what an archive may not do."""

import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ingest.extract import extract
from ingest.extract.epub import extract_epub
from ingest.limits import Limits
from library.errors import UnreadableFile
from library.values import Extracted, Section
from tests.ingest.books import METADATA, one_page, opf, write_epub, xhtml

ENCRYPTION = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
    'xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData><enc:EncryptionMethod Algorithm="{}"/>'
    '<enc:CipherData><enc:CipherReference URI="{}"/></enc:CipherData></enc:EncryptedData></encryption>'
)
AES = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
OBFUSCATED = "http://www.idpf.org/2008/embedding"


def paths(sections: tuple[Section, ...]) -> list[tuple[str, ...]]:
    return [section.heading_path for section in sections]


def test_metadata_becomes_title_authors_language_and_year(tmp_path: Path) -> None:
    metadata = (
        "<dc:title> The\n Book </dc:title><dc:title>Subtitle</dc:title>"
        '<dc:creator opf:role="aut">Ann</dc:creator><dc:creator opf:role="ill">Bob</dc:creator>'
        '<dc:language>en_GB</dc:language><dc:date opf:event="conversion">2020-01-01</dc:date>'
        '<dc:date opf:event="publication">c. 1897</dc:date>'
    )
    book = extract(write_epub(tmp_path / "b.epub", {"p.xhtml": xhtml("<p>x</p>")}, metadata=metadata))
    assert (book.title, book.authors, book.language, book.year) == ("The Book", ("Ann",), "en-gb", 1897)


def book(folder: Path, metadata: str, **more: Any) -> Extracted:
    return extract(write_epub(folder / "b.epub", {"p.xhtml": xhtml("<p>x</p>")}, metadata=metadata, **more))


def test_epub_3_says_roles_titles_and_schemes_in_elements_that_refine(tmp_path: Path) -> None:
    found = book(
        tmp_path,
        '<dc:title id="t1">Subtitle</dc:title><dc:title id="t2">Main</dc:title>'
        '<meta refines="#t2" property="title-type">main</meta>'
        '<dc:creator id="c1">Illustrator</dc:creator><meta refines="#c1" property="role">ill</meta>'
        '<dc:creator id="c2">Writer</dc:creator><meta refines="#c2" property="role">aut</meta>'
        '<dc:identifier id="i">0-306-40615-2</dc:identifier><meta refines="#i" property="identifier-type">02</meta>'
        '<meta property="dcterms:issued">1999</meta><dc:language>und</dc:language>'
        "<dc:subject>Fire</dc:subject><dc:subject>fire</dc:subject><dc:subject>Wood</dc:subject>"
        "<dc:description>&lt;p&gt;How &amp;amp; why&lt;/p&gt;</dc:description>",
    )
    assert (found.title, found.authors, found.year, found.language) == ("Main", ("Writer",), 1999, None)
    assert (found.identifiers, found.subjects) == (("isbn:9780306406157",), ("Fire", "Wood"))
    assert found.description == "How & why"


def test_metadata_has_fallbacks(tmp_path: Path) -> None:
    found = book(
        tmp_path,
        '<dc:contributor opf:role="aut">Ann</dc:contributor><dc:rights>Copyright (c) 1987 by Ann</dc:rights>'
        '<dc:identifier opf:scheme="ISBN">9780306406157</dc:identifier><dc:identifier opf:scheme="DOI">10.1/x</dc:identifier>',
    )
    assert (found.authors, found.year) == (("Ann",), 1987)
    assert found.identifiers == ("isbn:9780306406157", "doi:10.1/x")


COVER_3 = '<item id="c" href="img/c.jpg" properties="cover-image" media-type="image/jpeg"/>'
COVER_2 = '<item id="pic" href="img/c.jpg" media-type="image/jpeg"/>'
PAGE = '<item id="cover" href="cover.xhtml" media-type="application/xhtml+xml"/>'


@pytest.mark.parametrize(
    ("metadata", "manifest", "picture", "cover"),
    [
        ("", COVER_3, "img/c.jpg", "OEBPS/img/c.jpg"),
        ("", COVER_3, "IMG/C.JPG", "OEBPS/IMG/C.JPG"),
        ('<meta name="cover" content="pic"/>', COVER_2, "img/c.jpg", "OEBPS/img/c.jpg"),
        ('<meta name="cover" content="img/c.jpg"/>', COVER_2, "img/c.jpg", "OEBPS/img/c.jpg"),
        ("", COVER_2.replace("pic", "cover-image"), "img/c.jpg", "OEBPS/img/c.jpg"),
        ("", COVER_2.replace("img/c", "img/Cover-large"), "img/Cover-large.jpg", "OEBPS/img/Cover-large.jpg"),
        ("", PAGE, "img/c.jpg", "OEBPS/img/c.jpg"),
        ("", COVER_3, "img/other.jpg", None),
        ('<meta name="cover" content="../../etc/passwd"/>', COVER_2, "img/other.jpg", None),
        ("", COVER_3.replace("c.jpg", "c.exe"), "img/c.exe", None),
        ("", "", "img/c.jpg", None),
    ],
)
def test_the_cover_is_a_picture_that_is_in_the_archive(
    tmp_path: Path, metadata: str, manifest: str, picture: str, cover: str | None
) -> None:
    package = opf(["p.xhtml"], metadata=METADATA + metadata, manifest=manifest)
    extra = {f"OEBPS/{picture}": "not opened", "OEBPS/cover.xhtml": xhtml('<img src="img/c.jpg" alt=""/>')}
    assert book(tmp_path, "", package=package, extra=extra).cover == cover


def test_without_metadata_the_first_heading_is_the_title_and_then_the_file_name(tmp_path: Path) -> None:
    named = write_epub(tmp_path / "a.epub", {"p.xhtml": xhtml("<h1>Fire</h1><p>x</p>")}, metadata="")
    bare = write_epub(tmp_path / "water_and-salt.epub", {"p.xhtml": xhtml("<p>x</p>")}, metadata="")
    assert (extract(named).title, extract(bare).title) == ("Fire", "Water and salt")


def test_pages_are_read_in_spine_order_once_and_missing_ones_are_passed_over(tmp_path: Path) -> None:
    pages = {"b.xhtml": xhtml("<p>second</p>"), "a.xhtml": xhtml("<p>first</p>")}
    refs = ('idref="i1"', 'idref="i2"', "", 'idref="i0" linear="no"', 'idref="i1"')
    spine = "".join(f"<itemref {ref}/>" for ref in refs)
    package = opf([*pages, "gone.xhtml"], spine=spine)
    book = extract(write_epub(tmp_path / "b.epub", dict(pages), package=package))
    assert [section.text for section in book.sections] == ["first", "second"]
    assert [section.ordinal for section in book.sections] == [0, 1]


def test_names_in_another_case_form_or_encoding_are_found(tmp_path: Path) -> None:
    package = opf(["Caf%C3%A9%201.XHTML"])
    path = write_epub(
        tmp_path / "b.epub", {}, package=package, extra={"OEBPS/cafe\u0301 1.xhtml": xhtml("<p>x</p>")}
    )
    assert [section.text for section in extract(path).sections] == ["x"]


def test_a_page_without_headings_is_titled_by_the_table_of_contents(tmp_path: Path) -> None:
    pages = {"a.xhtml": xhtml("<p>x</p>"), "b.xhtml": xhtml("<p>y</p><p id='two'>z</p><p>w</p>")}
    entries = (("a.xhtml", "One"), ("b.xhtml", "Two"), ("b.xhtml#two", "Three"))
    contents = "".join(f'<li><a href="{href}">{title}</a></li>' for href, title in entries)
    book = extract(write_epub(tmp_path / "b.epub", dict(pages), contents=contents))
    assert [(section.heading_path, section.anchor, section.text) for section in book.sections] == [
        (("A Book", "One"), "a.xhtml", "x"),
        (("A Book", "Two"), "b.xhtml", "y"),
        (("A Book", "Three"), "b.xhtml#two", "z\n\nw"),
    ]


def test_what_the_table_of_contents_puts_above_a_chapter_is_in_its_path(tmp_path: Path) -> None:
    page = xhtml("<h1>Of Fire</h1><p>x</p><h1>Tinder</h1><p>y</p>")
    contents = (
        '<li><span>Part One</span><ol><li><a href="a.xhtml">1. Of Fire</a></li>'
        '<li><a href="gone.xhtml">2</a></li></ol></li>'
    )
    book = extract(write_epub(tmp_path / "b.epub", {"a.xhtml": page}, contents=contents))
    assert paths(book.sections) == [
        ("A Book", "Part One", "1. Of Fire"),
        ("A Book", "Part One", "1. Of Fire", "Tinder"),
    ]
    assert [section.level for section in book.sections] == [2, 3]


def test_an_epub_2_contents_file_in_another_folder_is_understood(tmp_path: Path) -> None:
    ncx = (
        '<!DOCTYPE ncx PUBLIC "-//NISO//DTD ncx 2005-1//EN" "http://www.daisy.org/z3986/2005/ncx-2005-1.dtd">'
        '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint id="n"><navLabel><text>Of Sea</text>'
        '</navLabel><content src="p.xhtml"/></navPoint></navMap></ncx>'
    )
    listed = '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>'
    for toc in (' toc="ncx"', ""):  # some books forget to name it
        package = opf(["p.xhtml"], manifest=listed, toc=toc)
        path = write_epub(
            tmp_path / "b.epub", {"p.xhtml": xhtml("<p>x</p>")}, package=package, extra={"OEBPS/toc.ncx": ncx}
        )
        assert paths(extract(path).sections) == [("A Book", "Of Sea")]


def test_a_broken_table_of_contents_costs_only_its_titles(tmp_path: Path) -> None:
    path = write_epub(tmp_path / "b.epub", {"p.xhtml": xhtml("<p>x</p>")}, contents="</ol></nav><li>")
    assert [section.text for section in extract(path).sections] == ["x"]


def test_a_foreign_page_is_read_through_its_fallback(tmp_path: Path) -> None:
    manifest = '<item id="j" href="d.json" media-type="application/json" fallback="i0"/>'
    package = opf(["p.xhtml"], manifest=manifest, spine='<itemref idref="j"/>')
    path = write_epub(tmp_path / "b.epub", {"p.xhtml": xhtml("<p>x</p>")}, package=package)
    assert [section.text for section in extract(path).sections] == ["x"]


def test_a_page_framed_by_another_is_read_after_it(tmp_path: Path) -> None:
    path = write_epub(
        tmp_path / "b.epub",
        {"p.xhtml": xhtml('<p>x</p><iframe src="f.xhtml"></iframe>')},
        extra={"OEBPS/f.xhtml": xhtml("<p>framed</p>")},
    )
    assert [section.text for section in extract(path).sections] == ["x", "framed"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "cp1252"])
def test_a_page_is_read_in_the_encoding_it_declares(tmp_path: Path, encoding: str) -> None:
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    page = f'<?xml version="1.0" encoding="{declared}"?><html><body><p>Grüße, café</p></body></html>'
    path = write_epub(tmp_path / "b.epub", {"p.xhtml": page.encode(encoding)})
    assert [section.text for section in extract(path).sections] == ["Grüße, café"]


def test_notes_tables_verse_and_ruby_are_read_as_they_are_meant(tmp_path: Path) -> None:
    path = one_page(
        tmp_path,
        '<p>Fire<a epub:type="noteref" href="#n1">1</a> is old.</p>'
        "<table><tr><th>Wood</th><th>Days</th></tr><tr><td>Ash</td><td>2</td></tr></table>"
        "<div class='poem'><p>Tyger Tyger,<br/>burning bright,</p><p>In the forests<br/>of the night;</p></div>"
        "<p><ruby>漢<rt>かん</rt>字<rt>じ</rt></ruby>を<ruby><rb>読</rb><rp>(</rp><rt>よ</rt><rp>)</rp></ruby>む。</p>"
        '<aside epub:type="footnote" id="n1"><p>1. Very old.</p></aside>',
    )
    assert "\n\n".join(section.text for section in extract(path).sections).split("\n\n") == [
        "Fire[1] is old.",
        "Wood | Days\nAsh | 2",
        "Tyger Tyger,\nburning bright,",
        "In the forests\nof the night;",
        "漢字を読む。",
        "1. Very old.",
    ]


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ('dir="rtl" xml:lang="ar"', "اغلِ الماء لمدة دقيقة، ثم اتركه يبرد (حتى 20 درجة)."),
        ('dir="rtl" lang="he"', "הרתיחו את המים במשך דקה אחת ABC 123."),
        ('style="writing-mode: vertical-rl"', "親譲りの無鉄砲で小供の時から損ばかりしている。"),
    ],
)
def test_text_from_right_to_left_and_from_top_to_bottom_stays_in_its_order(
    tmp_path: Path, attributes: str, text: str
) -> None:
    (section,) = extract(one_page(tmp_path, f"<p {attributes}>{text}</p>")).sections
    assert section.text == text


def test_what_the_archive_wrongly_calls_encrypted_is_read(tmp_path: Path) -> None:
    extra: dict[str, str | bytes] = {"META-INF/encryption.xml": ENCRYPTION.format(AES, "OEBPS/p.xhtml")}
    path = write_epub(tmp_path / "b.epub", {"p.xhtml": xhtml("<p>plain</p>")}, extra=extra)
    assert [section.text for section in extract(path).sections] == ["plain"]


def test_a_book_that_lists_nothing_to_read_says_so(tmp_path: Path) -> None:
    package = opf(["p.xhtml"], spine="")
    path = write_epub(tmp_path / "b.epub", {"p.xhtml": xhtml("<p>x</p>")}, package=package)
    with pytest.raises(UnreadableFile, match="lists no chapters"):
        extract(path)


def test_page_breaks_leave_no_number_in_the_middle_of_a_sentence(tmp_path: Path) -> None:
    path = one_page(tmp_path, '<p>the boy <span epub:type="pagebreak" id="p9">9</span>ran</p>')
    assert [section.text for section in extract(path).sections] == ["the boy ran"]


@pytest.mark.parametrize(
    ("extra", "vendor"),
    [
        ({"META-INF/encryption.xml": ENCRYPTION.format(AES, "OEBPS/p.xhtml")}, "copy protection"),
        ({"META-INF/rights.xml": '<rights xmlns="http://ns.adobe.com/adept"/>'}, "Adobe"),
        ({"META-INF/license.lcpl": "{}"}, "Readium"),
        ({"META-INF/sinf.xml": "<sinf/>"}, "Apple"),
    ],
)
def test_a_locked_book_says_so(tmp_path: Path, extra: dict[str, str | bytes], vendor: str) -> None:
    path = write_epub(tmp_path / "b.epub", {"p.xhtml": b"\x8b\x01<encrypted"}, extra=extra)
    with pytest.raises(UnreadableFile, match=vendor):
        extract(path)


@pytest.mark.parametrize(
    "encryption",
    [
        ENCRYPTION.format(OBFUSCATED, "OEBPS/font.otf"),
        ENCRYPTION.format(AES, "OEBPS/film.mp4"),
        "<broken",
        "",
    ],
)
def test_encryption_that_touches_no_text_locks_nothing(tmp_path: Path, encryption: str) -> None:
    extra: dict[str, str | bytes] = {"META-INF/encryption.xml": encryption}
    path = write_epub(tmp_path / "b.epub", {"p.xhtml": xhtml("<p>x</p>")}, extra=extra)
    assert [section.text for section in extract(path).sections] == ["x"]


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(max_entries=3), "holds 4 files"),
        (Limits(max_member_mib=1), "unpacks to 5 MiB"),
        (Limits(max_expanded_mib=2), "unpacks to 5 MiB"),
        (Limits(max_ratio=100), "unpacks to 5 MiB"),
    ],
)
def test_an_archive_beyond_a_limit_is_refused(tmp_path: Path, limits: Limits, says: str) -> None:
    path = one_page(tmp_path, "<p>" + "boom " * (1 << 20) + "</p>")
    with pytest.raises(UnreadableFile, match=says):
        extract_epub(path, limits)


def test_what_is_not_text_is_never_unpacked_and_so_never_counts(tmp_path: Path) -> None:
    extra: dict[str, str | bytes] = {"OEBPS/film.mp4": bytes(3 << 20)}
    path = write_epub(tmp_path / "b.epub", {"p.xhtml": xhtml("<p>x</p>")}, extra=extra)
    assert extract_epub(path, Limits(max_expanded_mib=1)).sections


def test_a_member_that_lies_about_its_size_is_cut_off(tmp_path: Path) -> None:
    path = one_page(tmp_path, "<p>" + "boom " * (1 << 20) + "</p>")
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("OEBPS/p.xhtml").file_size
    path.write_bytes(content.replace(size.to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(UnreadableFile):
        extract(path)


def test_a_link_in_the_archive_is_not_followed(tmp_path: Path) -> None:
    path = write_epub(tmp_path / "b.epub", {}, package=opf(["p.xhtml"]))
    link = zipfile.ZipInfo("OEBPS/p.xhtml")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnreadableFile, match="links are never followed"):
        extract(path)


@pytest.mark.parametrize(
    "href", ["../../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://x.test/a.xhtml"]
)
def test_an_address_outside_the_archive_is_never_opened(tmp_path: Path, href: str) -> None:
    path = write_epub(tmp_path / "b.epub", {}, package=opf([href]))
    with pytest.raises(UnreadableFile, match="outside its archive"):
        extract(path)


@pytest.mark.parametrize(
    "package",
    [
        "",
        "<package",
        "not xml at all",
        "<package xmlns='http://www.idpf.org/2007/opf'/>",
        "<package><metadata/><manifest><item/></manifest><spine><itemref/></spine></package>",
        opf(["p.xhtml"], metadata="<meta/><dc:title/><!-- c --><dc:creator/><meta name='cover'/>"),
        opf(["p.xhtml"], metadata=METADATA, manifest="<item id='x'/><item href=''/><!-- c -->"),
    ],
)
def test_any_package_ends_in_sections_or_a_reason(tmp_path: Path, package: str) -> None:
    path = write_epub(tmp_path / "b.epub", {"p.xhtml": xhtml("<p>x</p>")}, package=package or " ")
    assert outcome(path) in {"x", "refused"}


def outcome(path: Path) -> str:
    try:
        return "\n".join(section.text for section in extract(path).sections)
    except UnreadableFile as error:
        return "refused" if str(error).endswith(".") else str(error)


def test_any_byte_of_an_archive_may_be_wrong(tmp_path: Path) -> None:
    whole = one_page(tmp_path, "<p>" + "some text " * 40 + "</p>").read_bytes()
    broken = tmp_path / "broken.epub"
    for at in range(0, len(whole), 7):
        broken.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        assert outcome(broken)
    for at in range(0, len(whole), 61):
        broken.write_bytes(whole[:at])
        with pytest.raises(UnreadableFile):
            extract(broken)
