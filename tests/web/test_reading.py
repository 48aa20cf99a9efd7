"""The reader's routes: what they serve, under which headers, and what they answer to nonsense."""

import contextlib
import http.client
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from lxml import html

from tests.browser.reader_books import png, put_books, put_hostile_books
from tests.ingest.books import write_epub, xhtml
from tests.places import embedding_model
from tests.running import Appliance, running
from web.guards import HEADERS
from web.plain import leaves

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    embedding_model()
    folder = tmp_path_factory.mktemp("books")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    put_books(folder / "library")
    put_hostile_books(folder / "library")
    (folder / "secret.png").write_bytes(png())
    with running(
        folder, settings="[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n", ready=False
    ) as appliance:
        for path in (
            "shelf/cistern.epub",
            "shelf/notes.md",
            "shelf/tale.txt",
            "shelf/sheet.pdf",
            "worse/worse.epub",
        ):
            appliance.until_state(path, "findable_words", "findable", timeout_s=120)
        yield appliance


def address(books: Appliance, path: str) -> str:
    document = books.document(path)
    assert document
    return f"/read/{document['id']}"


def test_a_cover_has_a_tag_and_a_document_without_one_says_so(books: Appliance) -> None:
    cover = f"/api/documents/{address(books, 'shelf/cistern.epub').rsplit('/', 1)[1]}/cover"
    status, headers, body = books.request("GET", cover)
    assert (status, headers["content-type"], body) == (200, "image/png", png())
    status, _, body = books.request("GET", cover, headers={"if-none-match": headers["etag"]})
    assert (status, body) == (304, b"")
    status, problem = books.get(f"/api/documents/{address(books, 'shelf/tale.txt').rsplit('/', 1)[1]}/cover")
    assert (status, problem["detail"]) == (404, "This document has no cover.")
    assert books.get("/api/documents/none/cover")[0] == 404
    # A "cover" that is a page is none.
    assert books.get(f"/api/documents/{address(books, 'worse/worse.epub').rsplit('/', 1)[1]}/cover")[0] == 404


@pytest.mark.parametrize(
    "path", ["", "/find?q=lantern", "/picture?name=OEBPS/images/well.png", "/picture?name=no.png", "/file"]
)
def test_every_answer_has_the_strict_headers(books: Appliance, path: str) -> None:
    _, headers, _ = books.request("GET", address(books, "shelf/cistern.epub") + path)
    for name, value in HEADERS.items():
        assert value in headers[name]


def test_pictures_and_files_are_sandboxed_and_only_a_pdf_is_shown(books: Appliance) -> None:
    book, pdf = address(books, "shelf/cistern.epub"), address(books, "shelf/sheet.pdf")
    for path in (
        f"{book}/picture?name=OEBPS/images/well.png",
        f"{book}/file",
        f"{address(books, 'worse/worse.html')}/file",
    ):
        policies = all_headers(books, path, "content-security-policy")
        assert any("sandbox" in policy for policy in policies), path
    assert books.request("GET", f"{book}/file")[1]["content-disposition"].startswith("attachment; ")
    status, headers, body = books.request("GET", f"{pdf}/file")
    assert (status, headers["content-type"], body[:5]) == (200, "application/pdf", b"%PDF-")
    assert headers["content-disposition"].startswith("inline; ")
    page = books.request("GET", f"{address(books, 'worse/worse.html')}/file")[1]
    assert page["content-disposition"].startswith("attachment; ")


def all_headers(books: Appliance, path: str, name: str) -> list[str]:
    connection = http.client.HTTPConnection(urlsplit(books.url).netloc, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.headers.get_all(name) or []
    finally:
        connection.close()


@pytest.mark.parametrize(
    "name",
    [
        "page.png", "OEBPS/page.png", "OEBPS/bomb.png", "OEBPS/c.xhtml", "META-INF/container.xml", "../secret.png",
        "/etc/passwd", "", "%00", "a" * 5000, "..%2f..%2fsecret.png", "\u202e.png",
    ],
)  # fmt: skip
def test_what_is_no_picture_of_the_book_is_not_served(books: Appliance, name: str) -> None:
    for path in ("worse/worse.epub", "worse/worse.md"):
        status = books.request("GET", f"{address(books, path)}/picture?name={quote(name, safe='%')}")[0]
        assert status == 404, (path, name)


def test_a_picture_beside_a_note_is_served_and_one_above_it_is_not(books: Appliance) -> None:
    notes = address(books, "shelf/notes.md")
    assert books.request("GET", f"{notes}/picture?name=well.png")[0] == 200
    assert books.request("GET", f"{notes}/picture?name=../../secret.png")[0] == 404
    assert books.request("GET", f"{notes}/picture?name=../shelf/well.png")[0] == 404


@pytest.mark.parametrize(
    "query",
    [
        "section=-1", "section=99999999999999999999", "leaf=-5", "leaf=99999", "part=..%2f..%2fetc%2fpasswd", "part=%23",
        "part=text/c3.xhtml%23nowhere", "part=META-INF/container.xml", "hit=0&q=lantern", "hit=99999&q=lantern", "q=%22",
        "q=" + "(" * 3000, "at=nothing", "layout=plain&q=%F0%9F%94%A5", "q=%00", "part=%00&leaf=-1",
    ],
)  # fmt: skip
def test_no_address_is_an_error_of_ours(books: Appliance, query: str) -> None:
    for path in ("shelf/cistern.epub", "shelf/notes.md", "shelf/tale.txt", "shelf/sheet.pdf"):
        status = books.request("GET", f"{address(books, path)}?{query}")[0]
        assert status in {200, 400, 404}, (path, query)


def test_a_leaf_of_a_long_text_stays_small_and_its_leaves_lead_to_each_other(books: Appliance) -> None:
    at, met = address(books, "shelf/tale.txt"), 0
    while at:
        status, _, body = books.request("GET", at)
        assert status == 200
        assert len(body) < 200_000
        found = re.search(r'<link rel="next" href="([^"]*)"', body.decode())
        at = found[1].replace("&amp;", "&") if found else ""
        met += 1
    assert met >= 3


def test_a_passage_across_two_leaves_is_whole_on_the_first(books: Appliance) -> None:
    book = address(books, "shelf/tale.txt")
    record = sqlite3.connect(f"file:{books.folder}/data/record.sqlite3?mode=ro", uri=True)
    with contextlib.closing(record):
        passages = record.execute(
            'SELECT c.id, c.start, c."end", s.text FROM chunks c JOIN sections s '
            "ON s.document_id = c.document_id AND s.ordinal = c.section WHERE c.document_id = ?",
            (book.rsplit("/", 1)[1],),
        ).fetchall()
    across = [
        (id_, text[start:end])
        for id_, start, end, text in passages
        if any(start < cut < end for _, cut in leaves(text))
    ]
    assert len(across) >= 2
    for id_, text in across:
        page = html.fromstring(books.request("GET", f"{book}?at={id_}")[2].decode())
        shown = "".join(page.xpath("//mark[contains(@class, 'passage')]//text()"))
        assert "".join(shown.split()) == "".join(text.split())  # between paragraphs there is markup


def test_a_file_that_is_gone_leaves_the_text(books: Appliance) -> None:
    """Between its removal and the next look through the folder."""
    path = books.drop("shelf/soon-gone.md", "# Gone\n\nThe quince jelly is on the top board.\n")
    books.until_state("shelf/soon-gone.md", "findable_words", "findable")
    here = address(books, "shelf/soon-gone.md")
    path.rename(path.with_name(".hidden"))
    status, _, body = books.request("GET", here)
    assert status == 200
    assert b"quince jelly" in body or b"nothing under this heading" in body
    assert books.request("GET", f"{here}/file")[0] == 404


def test_a_book_that_could_not_be_read_shows_nothing_of_itself(books: Appliance, tmp_path: Path) -> None:
    locked = write_epub(
        tmp_path / "locked.epub",
        {"c.xhtml": xhtml("<p>quince jelly</p>")},
        extra={"META-INF/license.lcpl": "{}"},
    )
    books.drop("shelf/locked.epub", locked.read_bytes())
    books.until_state("shelf/locked.epub", "failed")
    here = address(books, "shelf/locked.epub")
    for query in ("", "?part=c.xhtml", "?q=quince&hit=1"):
        status, _, body = books.request("GET", here + query)
        assert status == 200
        assert b"quince jelly" not in body


def test_files_whose_names_differ_only_in_case_are_two_parts(books: Appliance, tmp_path: Path) -> None:
    pages = {
        "Ch.xhtml": xhtml("<h1>Upper</h1><p>The quince.</p>"),
        "ch.xhtml": xhtml("<h1>Lower</h1><p>A medlar.</p>"),
    }
    books.drop("shelf/case.epub", write_epub(tmp_path / "case.epub", pages).read_bytes())
    books.until_state("shelf/case.epub", "findable_words", "findable")
    here = address(books, "shelf/case.epub")
    for section, (there, elsewhere) in enumerate(
        ((b"The quince.", b"A medlar."), (b"A medlar.", b"The quince."))
    ):
        body = books.request("GET", f"{here}?section={section}")[2]
        assert there in body
        assert elsewhere not in body
        assert f'id="s{section}"'.encode() in body
