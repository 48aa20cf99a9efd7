"""The reader in real Chromium: what is highlighted is the passage, and nothing that a book brings runs or loads."""

import random
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from lxml import html
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.reader_books import PLATES, put_books, put_hostile_books
from tests.places import SHARED_DATA, embedding_model
from tests.running import Appliance, running

pytestmark = [pytest.mark.browser, pytest.mark.models]

PASSAGES = 500
# Nothing here asks for an answer, and no vectors are computed meanwhile: passages are opened by their ids.
SETTINGS = "[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n"


class Chosen(NamedTuple):
    id: str
    document: str
    path: str
    text: str
    section: int


@pytest.fixture(scope="module")
def reading_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """An appliance with books of every format, hostile ones, and the shared ones where they are."""
    embedding_model()
    folder = tmp_path_factory.mktemp("reading")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    library = folder / "library"
    put_books(library)
    put_hostile_books(library)
    for kind in ("epub3-samples", "hostile", "minimal"):
        for book in sorted((SHARED_DATA / "epub" / kind).glob("*.epub")):
            (library / kind).mkdir(exist_ok=True)
            shutil.copy(book, library / kind)
    with running(folder, settings=SETTINGS, ready=False) as appliance:
        appliance.until(lambda: _all_read(appliance), 240)
        assert appliance.post("/api/ingest/pause", None)[0] == 200
        yield appliance


def _all_read(appliance: Appliance) -> bool:
    page = appliance.get("/api/documents", limit=500)[1]
    states = [item["state"] for item in page["items"]]
    files = sum(
        1 for path in appliance.library.rglob("*") if path.suffix in {".epub", ".md", ".html", ".txt", ".pdf"}
    )
    return len(states) >= files and not {"waiting", "reading"} & set(states)


def passages(house: Appliance, count: int) -> list[Chosen]:
    """A random choice over all documents, at least some of every document; those of one book one after another."""
    record = sqlite3.connect(f"file:{house.folder}/data/record.sqlite3?mode=ro", uri=True)
    try:
        rows = record.execute(
            'SELECT c.id, c.document_id, d.path, substr(s.text, c.start + 1, c."end" - c.start), c.section FROM chunks c '
            "JOIN documents d ON d.id = c.document_id JOIN sections s ON s.document_id = c.document_id "
            "AND s.ordinal = c.section WHERE d.state NOT IN ('failed', 'missing')"
        ).fetchall()
    finally:
        record.close()
    chance = random.Random(4)
    chance.shuffle(rows)
    by_book: dict[str, list[Chosen]] = {}
    for row in rows:
        by_book.setdefault(row[1], []).append(Chosen(*row))
    found: list[Chosen] = []
    while len(found) < count and any(by_book.values()):
        found += [waiting.pop() for waiting in by_book.values() if waiting]
    return sorted(found[:count], key=lambda passage: (passage.document, passage.section))


# What extraction puts between the book's words, and a page shows in its own way or not at all.
_PUT_IN = re.compile(r"(?m)(?:^(?: {2})*|(?<= ))(?:- |\d{1,8}\. )|\||[\[\]]")


def is_passage(shown: str, passage: str, formulas: Sequence[str] = ()) -> bool:
    """Whether these are the passage's letters, each once and in order, white space and list markers aside.

    A formula is marked whole: of the first and the last one shown, more may be
    marked than the passage has.
    """
    pattern, at = [], 0
    for match in _PUT_IN.finditer(passage):
        pattern.append(re.escape(_bare(passage[at : match.start()])))
        pattern.append(f"(?:{re.escape(_bare(match[0]))})?")
        at = match.end()
    pattern.append(re.escape(_bare(passage[at:])))
    letters = _bare(shown)
    whole = [formula for formula in map(_bare, formulas) if formula]
    first = len(whole[0]) - 1 if whole and letters.startswith(whole[0]) else 0
    last = len(whole[-1]) - 1 if whole and letters.endswith(whole[-1]) else 0
    cut = f".{{0,{first}}}{''.join(pattern)}.{{0,{last}}}"
    return re.fullmatch(cut, letters) is not None


def _bare(text: str) -> str:
    return "".join(text.split())


def test_the_highlighted_text_of_500_passages_is_the_passage(reading_house: Appliance) -> None:
    """Over HTTP, as a browser without scripts has it."""
    wrong, laid_out = [], 0
    chosen = passages(reading_house, PASSAGES)
    assert len(chosen) == PASSAGES
    for passage in chosen:
        status, _, body = reading_house.request("GET", f"/read/{passage.document}?at={passage.id}")
        assert status == 200
        page = html.fromstring(body.decode())
        marks = page.xpath("//mark[contains(concat(' ', @class, ' '), ' passage ')]")
        shown = "".join(
            "".join(
                part if isinstance(part, str) else part.get("alt", "")
                for part in mark.xpath(".//text() | .//img")
            )
            for mark in marks
        )
        formulas = ["".join(one.itertext()) for mark in marks for one in mark.iter("math")]
        laid_out += bool(page.xpath("//div[contains(@class, 'laid-out')]"))
        if not is_passage(shown, passage.text, formulas) or len(page.xpath("//*[@id='passage']")) != 1:
            wrong.append((passage.path, passage.text[:80], shown[:80]))
    assert wrong == []
    in_layout = sum(Path(passage.path).suffix in {".epub", ".md", ".html"} for passage in chosen)
    assert laid_out >= 0.97 * in_layout, f"{laid_out} of {in_layout} in their own layout"


@pytest.fixture
def page(chromium: Browser, reading_house: Appliance) -> Iterator[Page]:
    context = chromium.new_context(base_url=reading_house.url, viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


FORBIDDEN = (
    ".book-text :is(script, style, iframe, object, embed, form, input, svg, link, meta, base, video, audio)"
)
MARKED = """() => [...document.querySelectorAll('mark.passage')].map(mark =>
  mark.textContent + [...mark.querySelectorAll('img')].map(img => img.alt).join('')).join(' ')"""


FORMULAS = "() => [...document.querySelectorAll('mark.passage math')].map(one => one.textContent)"


def test_chromium_shows_the_same_and_has_scrolled_to_it(page: Page, reading_house: Appliance) -> None:
    wrong = []
    for passage in passages(reading_house, PASSAGES):
        page.goto(f"/read/{passage.document}?at={passage.id}#passage", wait_until="domcontentloaded")
        if not is_passage(page.evaluate(MARKED), passage.text, page.evaluate(FORMULAS)):
            wrong.append((passage.path, passage.text[:80]))
        else:
            expect(page.locator("#passage")).to_be_in_viewport()
    assert wrong == []


def test_pictures_that_come_late_do_not_push_the_passage_away(page: Page, reading_house: Appliance) -> None:
    arriving: list[Route] = []
    page.route(re.compile(r"/picture\?"), lambda picture: arriving.append(picture))  # noqa: PLW0108 - it is given attributes
    [hit, *_] = reading_house.get("/api/search", q=f'"Plate {PLATES - 1}" title:plates')[1]["items"]
    page.goto(hit["passage"]["href"], wait_until="domcontentloaded")
    mark = page.locator("#passage")
    expect(mark).to_be_in_viewport()
    height = page.evaluate("document.documentElement.scrollHeight")
    last = page.locator("figure img").last
    expect(last).to_have_js_property("naturalHeight", 0)
    while not arriving:
        page.wait_for_timeout(100)
    for picture in arriving:
        picture.continue_()
    expect(last).to_have_js_property("naturalHeight", 899 + PLATES)
    assert page.evaluate("document.documentElement.scrollHeight") == height
    expect(mark).to_be_in_viewport()


def test_nothing_of_a_hostile_book_runs_and_nothing_is_asked_of_anyone_else(
    page: Page, reading_house: Appliance
) -> None:
    trouble: list[str] = []
    page.on("request", lambda r: None if r.url.startswith(reading_house.url) else trouble.append(r.url))
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("popup", lambda popup: trouble.append(popup.url))
    documents = reading_house.get("/api/documents", limit=500)[1]["items"]
    hostile = [item for item in documents if item["shelf"] in {"worse", "hostile"}]
    assert len([item for item in hostile if item["shelf"] == "worse"]) == 3
    for item in hostile:
        following: str | None = f"/read/{item['id']}"
        for _ in range(4):  # a few leaves of each
            if not following:
                break
            response = page.goto(following)
            assert response is not None
            assert response.status == 200
            page.evaluate(
                "document.querySelectorAll('.book-text *').forEach(e => e.dispatchEvent(new Event('click')))"
            )
            assert page.evaluate("window.__pwned") is None
            assert page.url.startswith(reading_house.url)
            assert page.locator(FORBIDDEN).count() == 0
            links = page.locator("link[rel=next]")
            following = links.get_attribute("href") if links.count() else None
        if item["shelf"] == "worse":
            page.goto(f"/read/{item['id']}?q=quinces")
            assert page.locator("#main").count() == 1
            assert page.locator("mark.hit").count() >= 1
            assert (
                page.locator(
                    "a[href^='javascript'], a[href^='data'], img[src^='data'], img[src^='http']"
                ).count()
                == 0
            )
    assert trouble == []


def test_a_drawing_opened_by_itself_still_runs_nothing(page: Page, reading_house: Appliance) -> None:
    book = reading_house.document("worse/worse.epub")
    assert book
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    response = page.goto(f"/read/{book['id']}/picture?name=OEBPS/draws.svg")
    assert response is not None
    assert response.headers["content-type"] == "image/svg+xml"
    assert page.evaluate("window.__pwned") is None
    assert all(url.startswith(reading_house.url) for url in asked)


def test_find_and_go_from_hit_to_hit_with_the_keys(page: Page, reading_house: Appliance) -> None:
    book = reading_house.document("shelf/cistern.epub")
    assert book
    page.goto(f"/read/{book['id']}")
    page.get_by_role("searchbox", name="Find in this book").fill("third step")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("hits for")
    page.locator(".found-hit").first.click()
    current = page.locator("mark.current")
    expect(current).to_have_text("third step")
    expect(current).to_be_in_viewport()
    first = page.url
    for _ in range(4):  # past the end of the chapter
        page.keyboard.press("n")
        expect(current).to_be_in_viewport()
    assert page.url.split("#")[0] != first.split("#")[0]
    for _ in range(4):
        page.keyboard.press("p")
        expect(current).to_be_in_viewport()
    assert page.url.endswith("#h1")


def test_links_notes_pictures_and_pages_lead_where_they_should(page: Page, reading_house: Appliance) -> None:
    book = reading_house.document("shelf/cistern.epub")
    assert book
    page.goto(f"/read/{book['id']}")
    loaded = "() => [...document.querySelectorAll('.book-text img')].every(i => i.complete && i.naturalWidth)"
    reading_house.until(lambda: page.evaluate(loaded), 20)
    page.keyboard.press("]")
    expect(page.get_by_role("heading", name="Chapter 1", exact=True)).to_be_visible()
    page.locator(".b-note").first.click()
    expect(page.locator("#b-n1")).to_be_in_viewport()
    page.get_by_role("link", name="On to the next").click()
    expect(page.get_by_role("heading", name="Chapter 2", exact=True)).to_be_in_viewport()
    page.locator(".toc").get_by_role("link", name="Lists of 5").click()
    expect(page.get_by_role("heading", name="Lists of 5")).to_be_in_viewport()


def test_type_and_place_are_remembered_here(page: Page, reading_house: Appliance) -> None:
    book = reading_house.document("shelf/notes.md")
    assert book
    page.goto(f"/read/{book['id']}")
    before = page.evaluate("parseFloat(getComputedStyle(document.querySelector('.book-text p')).fontSize)")
    page.get_by_label("Type and colours").click()
    page.get_by_role("button", name="Larger letters").click()
    page.get_by_role("button", name="E-ink").click()
    target = page.get_by_role("heading", name="Part 9", exact=True)
    page.mouse.move(640, 600)
    page.keyboard.press("Escape")
    page.mouse.wheel(0, 1)
    target.evaluate("element => element.scrollIntoView()")
    kept = "JSON.parse(localStorage.getItem('almanac-places') ?? '{}')[document.querySelector('[data-book]').dataset.book]"
    reading_house.until(lambda: (page.evaluate(kept) or {}).get("block", 0) > 20, 20)
    page.goto(f"/read/{book['id']}")
    assert (
        page.evaluate("parseFloat(getComputedStyle(document.querySelector('.book-text p')).fontSize)")
        > before
    )
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    page.get_by_role("link", name="Continue where you were").click()
    expect(page.get_by_role("heading", name="Part 9", exact=True)).to_be_in_viewport()


def test_everything_is_there_without_scripts(chromium: Browser, reading_house: Appliance) -> None:
    context = chromium.new_context(base_url=reading_house.url, java_script_enabled=False)
    page = context.new_page()
    for path in (
        "shelf/cistern.epub",
        "shelf/notes.md",
        "shelf/page.html",
        "shelf/tale.txt",
        "shelf/sheet.pdf",
    ):
        book = reading_house.document(path)
        assert book
        page.goto(f"/read/{book['id']}?q=lantern&hit=1#h1")
        expect(page.locator("mark.current")).to_have_text("lantern")
        expect(page.locator("mark.current")).to_be_in_viewport()
        page.get_by_role("link", name="Next hit").click()
        expect(page.locator("#h2.current")).to_be_in_viewport()
    context.close()
