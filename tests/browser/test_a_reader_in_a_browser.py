"""The browser journey: drop a book, find it, ask it, open the citation. In real Chromium."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.running import Appliance
from tests.web.busy import taken

pytestmark = [pytest.mark.browser, pytest.mark.models]

OWLS = "# Owls in the barn\n\n## Feeding\n\nThe barn owl named Ottoline takes four voles a night, more in the nesting season.\n"


@pytest.fixture
def context(chromium: Browser, house: Appliance) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=house.url, viewport={"width": 1280, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, house: Appliance) -> Iterator[Page]:
    """A page on which nothing may go wrong and nothing may be asked of anyone else."""
    page = context.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda request: trouble.append(request.url) if not request.url.startswith(house.url) else None,
    )
    yield page
    assert trouble == []


def test_drop_search_ask_and_open_the_citation(page: Page, house: Appliance) -> None:
    house.drop("barn/owls.md", OWLS)
    house.until_state("barn/owls.md", "findable")
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("Ottoline voles")
    page.keyboard.press("Enter")
    first = page.locator("mark", has_text="Ottoline").first
    expect(first).to_be_visible()
    expect(page.get_by_text("Owls in the barn").first).to_be_visible()

    page.goto("/")
    page.get_by_label("Search the library").fill(
        "How many voles does the barn owl named Ottoline take a night?"
    )
    page.keyboard.press("Control+Enter")
    sources = page.locator("[data-answer]").get_by_role("link")
    expect(page.get_by_text("Done in", exact=False)).to_be_visible(timeout=120_000)
    opened = sources.filter(has_text="Owls in the barn").first
    expect(opened).to_be_visible()
    opened.click()
    marked = page.locator("#passage")
    expect(marked).to_be_in_viewport()
    expect(marked).to_contain_text("The barn owl named Ottoline takes four voles a night")


def test_search_and_reading_work_without_javascript(chromium: Browser, house: Appliance) -> None:
    context = chromium.new_context(base_url=house.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("searchbox").fill("Marigold colony inspection")
    page.get_by_role("button", name="Search").click()
    page.locator("main a[href^='/read/']").first.click()
    expect(page.locator("#passage")).to_contain_text("The colony on the flat roof is called Marigold")
    context.close()


def test_the_library_shows_every_document_and_why_one_failed(page: Page, house: Appliance) -> None:
    house.drop("barn/broken.epub", b"PK\x03\x04 this is no book")
    try:
        reason = house.until_state("barn/broken.epub", "failed")["reason"]
        page.goto("/library")
        expect(page.get_by_text("barn/broken.epub").first).to_be_visible()
        expect(page.get_by_text(reason, exact=False).first).to_be_visible()
        expect(page.get_by_text("Findable", exact=False).first).to_be_visible()
    finally:
        (house.library / "barn" / "broken.epub").unlink()


def test_an_answer_can_be_stopped(page: Page) -> None:
    page.goto("/?q=How+is+water+made+safe+to+drink%3F&ask=1")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("Stopped", exact=False).first).to_be_visible()


def test_who_has_to_wait_for_the_model_sees_the_sources_and_how_long_the_line_is(
    page: Page, house: Appliance
) -> None:
    with taken(house, waiting=1) as others:
        page.goto("/?q=How+is+water+made+safe+to+drink%3F&ask=1")
        status = page.locator("[data-status]")
        expect(status).to_have_text("The model is busy; one other answer comes before this one.")
        expect(page.locator("[data-sources] li").first).to_be_visible()
        others.close()
        expect(status).to_have_text("Writing…", timeout=20_000)
        expect(status).to_contain_text("Done in", timeout=60_000)


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_the_screen(
    chromium: Browser, house: Appliance, width: int, scheme: str
) -> None:
    context = chromium.new_context(
        base_url=house.url,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    book = house.document("water/household-almanac.epub")
    assert book
    for path in ("/", "/?q=water", "/library", f"/read/{book['id']}", "/nothing-here"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()
