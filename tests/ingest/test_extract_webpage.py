"""What a saved web page becomes: its own text, what its head says, and none of the site around it."""

from pathlib import Path

import pytest

from ingest.extract import Limits, extract
from library.errors import UnreadableFile
from library.values import Extracted


def page(folder: Path, content: str | bytes, name: str = "saved_page.html") -> Extracted:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return extract(path)


def texts(found: Extracted) -> list[str]:
    return [section.text for section in found.sections]


def test_headings_become_sections_with_anchors_inside_the_page(tmp_path: Path) -> None:
    found = page(
        tmp_path, "<title>Kit</title><p>x</p><h1 id='fire'>Fire</h1><p>Dry.</p><h2>Ash</h2><p>Grey.</p>"
    )
    assert [(section.heading_path, section.anchor) for section in found.sections] == [
        (("Kit",), ""),
        (("Kit", "Fire"), "#fire"),
        (("Kit", "Fire", "Ash"), ""),
    ]


def test_the_head_says_what_the_page_is(tmp_path: Path) -> None:
    found = page(
        tmp_path,
        "<html lang='en-GB'><head><title> Fire \n making </title><meta name='Author' content='Ann'>"
        "<meta name='author' content='Bob'><meta name='keywords' content='fire, wood; Fire'>"
        "<meta name='description' content='How &amp; why.'><meta name='DC.date' content='2019-04-01'>"
        "<meta name='citation_isbn' content='0-306-40615-2'></head><body><p>Text.</p></body></html>",
    )
    assert (found.title, found.authors, found.language, found.year) == (
        "Fire making",
        ("Ann", "Bob"),
        "en-gb",
        2019,
    )
    assert (found.subjects, found.description) == (("fire", "wood"), "How & why.")
    assert found.identifiers == ("isbn:9780306406157",)


def test_open_graph_and_then_the_first_heading_and_the_file_name_are_titles(tmp_path: Path) -> None:
    og = "<meta property='og:title' content='Shared'><meta property='og:description' content='D'>"
    assert page(tmp_path, f"<head>{og}</head><h1>Head</h1><p>x</p>").title == "Shared"
    assert page(tmp_path, f"<head>{og}</head><p>x</p>").description == "D"
    assert page(tmp_path, "<h1>Head</h1><p>x</p>").title == "Head"
    assert page(tmp_path, "<svg><title>Drawing</title></svg><p>x</p>").title == "Saved page"


def test_what_the_page_calls_navigation_is_left_out(tmp_path: Path) -> None:
    text = "Boil the water for a minute, and let it cool before anyone drinks of it."
    found = page(
        tmp_path,
        "<body><header>Site name</header><nav><a href='/'>Home</a></nav><div role='navigation'>Menu</div>tail"
        f"<main><header>Kept</header><h1>Water</h1><p>{text}</p><footer>Kept too</footer></main>"
        "<footer>Imprint</footer></body>",
    )
    assert texts(found) == ["tail\n\nKept", f"{text}\n\nKept too"]


def test_a_page_of_links_is_read_as_it_is(tmp_path: Path) -> None:
    links = "".join(f"<li><a href='{n}'>Chapter {n}</a></li>" for n in range(9))
    assert "Chapter 8" in texts(page(tmp_path, f"<nav><ul>{links}</ul></nav>"))[0]
    found = page(tmp_path, "<footer>All there is</footer><p>No main part is marked here.</p>")
    assert "All there is" in texts(found)[0]


def test_nothing_is_run_fetched_or_included(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET")
    found = page(
        tmp_path,
        "<!DOCTYPE html [<!ENTITY x SYSTEM 'secret.txt'>]><html><body><p>a&x;b</p><script>alert(1)</script>"
        "<iframe src='secret.txt'></iframe><object data='secret.txt'>instead</object>"
        "<link rel='import' href='secret.txt'><img src='http://x.test/a.png' alt='A knot'></body></html>",
    )
    assert "SECRET" not in "".join(texts(found))
    assert texts(found) == ["ab\n\ninstead\n\nA knot"]


@pytest.mark.parametrize(
    ("encoding", "declaration"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("cp1251", "<meta charset='windows-1251'>"),
        ("koi8-r", "<meta http-equiv='Content-Type' content='text/html; charset=koi8-r'>"),
        ("iso-8859-5", "<?xml version='1.0' encoding='ISO-8859-5'?>"),
        ("cp1251", ""),
    ],
)
def test_a_page_is_read_in_its_own_encoding(tmp_path: Path, encoding: str, declaration: str) -> None:
    text = "Вскипятите воду и дайте ей остыть, прежде чем её будут пить дети и взрослые. " * 4
    head, prolog = (declaration, "") if declaration.startswith("<meta") else ("", declaration)
    content = f"{prolog}<html><head>{head}<title>Вода</title></head><body><p>{text}</p></body></html>"
    found = page(tmp_path, content.encode(encoding))
    assert (found.title, found.language, texts(found)) == ("Вода", "ru", [text.strip()])


@pytest.mark.parametrize("content", [b"<!-- only a comment -->", bytes(range(256)) * 20, b"   "])
def test_a_page_without_text_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableFile):
        page(tmp_path, content)


def test_a_page_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("<p>" + "word " * 300_000)
    with pytest.raises(UnreadableFile, match="larger than 1 MiB"):
        extract(path, Limits(max_member_mib=1))
