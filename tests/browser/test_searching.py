"""Searching in real Chromium: narrowing, groups, suggestions, asking what was found; most of it without scripts."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.running import Appliance

pytestmark = [pytest.mark.browser, pytest.mark.models]

SUGGESTIONS = [
    {"text": "Keeping bees on a flat roof", "kind": "title", "href": "/?q=flat+roof"},
    {"text": "<b>Inspection</b>", "kind": "heading", "href": "/?q=Inspection"},
]


@pytest.fixture
def page(chromium: Browser, house: Appliance) -> Iterator[Page]:
    context = chromium.new_context(base_url=house.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    yield page
    context.close()
    assert trouble == []


@pytest.fixture
def plain(chromium: Browser, house: Appliance) -> Iterator[Page]:
    """A phone with scripts switched off."""
    context = chromium.new_context(
        base_url=house.url, java_script_enabled=False, viewport={"width": 390, "height": 844}
    )
    yield context.new_page()
    context.close()


def test_results_are_narrowed_and_widened_without_scripts(plain: Page) -> None:
    plain.goto("/?q=water")
    plain.get_by_text("Narrow", exact=True).click()
    shelf = plain.get_by_role("region", name="Shelf")
    value = shelf.get_by_role("link").first
    name, count = re.fullmatch(r"(.+?) (\d+)", value.inner_text().replace("\n", " ").strip()).groups()  # type: ignore[union-attr]
    assert int(count) >= 1
    value.click()
    expect(plain).to_have_url(re.compile(rf"shelf={name}"))
    on = plain.get_by_role("link", name=re.compile(f"Take off: Shelf {name}"))
    expect(on).to_be_visible()
    for label in plain.locator(".shelf-name bdi").all_inner_texts():
        assert label == name
    on.click()
    expect(plain).not_to_have_url(re.compile("shelf="))


def test_a_group_unfolds_its_other_passages_without_scripts(plain: Page) -> None:
    plain.goto("/?q=water")
    group = plain.locator(".others").first
    expect(group.locator("li").first).to_be_hidden()
    group.locator("summary").click()
    expect(group.locator("li").first).to_be_visible()
    expect(group.locator("li a").first).to_have_attribute("href", re.compile("^/read/"))


def test_order_and_pages_are_links(plain: Page) -> None:
    plain.goto("/?q=water&sort=title")
    titles = [title.casefold() for title in plain.locator(".result-title").all_inner_texts()]
    assert titles == sorted(titles)
    plain.goto("/?q=water")
    first = plain.locator(".result-title a").first.get_attribute("href")
    plain.get_by_role("link", name="Further").click()
    expect(plain.locator(".result-title a").first).not_to_have_attribute("href", first or "")
    plain.get_by_role("link", name="Before").click()
    expect(plain.locator(".result-title a").first).to_have_attribute("href", first or "")


def test_more_like_this_leads_to_other_passages(plain: Page) -> None:
    plain.goto("/?q=Marigold+colony+inspection")
    plain.get_by_role("link", name=re.compile("More like this")).first.click()
    expect(plain.get_by_role("heading", name=re.compile("More like"))).to_be_visible()
    assert plain.locator(".result").count() > 0


def test_what_narrows_stands_beside_the_results_where_there_is_room(page: Page) -> None:
    page.goto("/?q=water")
    expect(page.get_by_role("region", name="Shelf")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_role("region", name="Shelf")).to_be_hidden()


def test_these_passages_and_no_others_are_asked(page: Page) -> None:
    page.goto("/?q=How+often+is+the+colony+called+Marigold+inspected%3F&shelf=garden")
    shown = page.locator(".result-title a").all()
    ids = [re.search(r"at=([^#]+)", one.get_attribute("href") or "").group(1) for one in shown]  # type: ignore[union-attr]
    with page.expect_request("**/api/ask") as asked:
        page.get_by_role("button", name=re.compile("Ask th")).click()
    assert asked.value.post_data_json["passages"] == ids
    expect(page.get_by_text("Done in", exact=False)).to_be_visible(timeout=120_000)
    expect(page.locator(".source").first).to_contain_text("Keeping bees on a flat roof")
    page.get_by_role("link", name="Back to all that was found").click()
    expect(page.get_by_role("button", name=re.compile("Ask th"))).to_be_visible()


def suggest(page: Page, asked: list[str]) -> None:
    def answer(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(json={"items": SUGGESTIONS})

    page.route("**/api/suggest*", answer)


def test_a_suggestion_is_taken_by_keyboard(page: Page) -> None:
    asked: list[str] = []
    suggest(page, asked)
    page.clock.install(time=0)
    page.goto("/")
    page.clock.pause_at(3_600_000)
    box = page.get_by_role("combobox", name=re.compile("Search the library"))
    box.press_sequentially("insp")
    assert asked == []
    page.clock.run_for(200)
    options = page.locator("#suggestions").get_by_role("option")
    expect(options).to_have_count(2)
    assert len(asked) == 1, "every letter asked for itself"
    expect(box).to_have_attribute("aria-expanded", "true")
    expect(options.nth(1)).to_contain_text("<b>Inspection</b>")  # as text, never as markup
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(box).to_have_attribute("aria-activedescendant", "suggestion-1")
    page.keyboard.press("ArrowDown")  # past the last: back in the box
    expect(page.locator("[aria-selected=true]")).to_have_count(0)
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=Inspection$"))


def test_escape_closes_the_suggestions_and_keeps_what_was_typed(page: Page) -> None:
    suggest(page, [])
    page.goto("/")
    page.locator("#q").press_sequentially("bees")
    expect(page.get_by_role("listbox")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    expect(page.locator("#q")).to_have_value("bees")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=bees"))


def test_a_suggestion_is_taken_by_a_tap(page: Page) -> None:
    suggest(page, [])
    page.goto("/")
    page.locator("#q").press_sequentially("bees")
    page.locator("#suggestions").get_by_role("option").first.click()
    expect(page).to_have_url(re.compile(r"q=flat\+roof"))


def test_without_suggestions_the_box_is_a_box(page: Page) -> None:
    page.route("**/api/suggest*", lambda route: route.fulfill(status=404, json={"status": 404}))
    page.goto("/")
    page.locator("#q").press_sequentially("bees")
    expect(page.get_by_role("listbox")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator(".result").first).to_be_visible()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_results_are_never_wider_than_the_screen(chromium: Browser, house: Appliance, width: int) -> None:
    context = chromium.new_context(base_url=house.url, viewport={"width": width, "height": 800})
    page = context.new_page()
    long = "x" * 200
    for path in (
        "/?q=water",
        f"/?q=water&shelf=water&author={long}&tag={long}&after=1000&before=2030",
        f"/?q={long}",
        "/?q=water&sort=date&mode=words",
    ):
        page.goto(path)
        page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()
