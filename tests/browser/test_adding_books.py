"""Adding books in a browser: several at once, with progress; one of them broken, explained and tried again."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.places import embedding_model
from tests.running import Appliance, running

pytestmark = [pytest.mark.browser, pytest.mark.models]

OWLS = "# Owls in the barn\n\nThe barn owl named Ottoline takes four voles a night.\n"
BATS = "# Bats in the loft\n\nThe bats in the loft are counted at dusk in June.\n"


def broken_book() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
    return packed.getvalue()


@pytest.fixture(scope="module")
def shelves(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    embedding_model()
    folder = tmp_path_factory.mktemp("shelves")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    settings = "[ingest]\nsettle_s = 0.2\nmax_file_mib = 8\n[llm]\nenabled = false\n"
    with running(folder, settings=settings) as house:
        house.drop("garden/bees.md", "# Bees\n\nThe colony is called Marigold.\n")
        house.until_state("garden/bees.md", "findable")
        yield house


@pytest.fixture
def page(chromium: Browser, shelves: Appliance) -> Iterator[Page]:
    """A page on which nothing may go wrong and nothing may be asked of anyone else."""
    context = chromium.new_context(base_url=shelves.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda request: trouble.append(request.url) if not request.url.startswith(shelves.url) else None,
    )
    yield page
    context.close()
    assert trouble == []


def file(name: str, content: str | bytes) -> dict[str, object]:
    body = content.encode() if isinstance(content, str) else content
    return {"name": name, "mimeType": "application/octet-stream", "buffer": body}


def test_three_files_with_progress_one_broken_and_explained_then_retried(
    page: Page, shelves: Appliance
) -> None:
    page.goto("/library")
    page.get_by_label("Shelf (may be new").fill("barn")
    page.get_by_label("Files").set_input_files(
        [file("owls.md", OWLS), file("bats.txt", BATS), file("broken.epub", broken_book())]  # type: ignore[list-item]
    )
    page.get_by_role("button", name="Add to the library").click()
    rows = page.locator("[data-uploads] li")
    expect(rows).to_have_count(3)
    for name in ("owls.md", "bats.txt"):
        expect(rows.filter(has_text=name).locator(".upload-words")).to_have_text("Findable.", timeout=30_000)
    broken = rows.filter(has_text="broken.epub")
    expect(broken).to_contain_text("Could not be read.", timeout=30_000)
    reason = shelves.until_state("barn/broken.epub", "failed")["reason"]
    expect(broken).to_contain_text(reason)
    # The list below has followed without being loaded anew.
    table = page.get_by_role("table", name="Documents")
    expect(table.get_by_role("row", name="barn/owls.md")).to_contain_text("Findable")
    failed = table.get_by_role("row", name="barn/broken.epub")
    expect(failed).to_contain_text(reason)
    expect(page.get_by_role("link", name="All 4")).to_be_visible()

    # Mended in place, and retried by hand from the list.
    shelves.post("/api/ingest/pause", None)
    failed.get_by_role("button", name="Retry").click()
    expect(failed).to_contain_text("Waiting")
    expect(page.get_by_text("Paused. 1 document still to be read.")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(failed).to_contain_text(reason, timeout=30_000)
    page.get_by_role("button", name="Retry all failed (1)").click()
    expect(failed).to_contain_text(reason, timeout=30_000)


def test_what_cannot_be_read_or_is_too_large_is_refused_with_a_sentence_before_it_is_sent(page: Page) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.goto("/library")
    page.get_by_label("Files").set_input_files(
        [file("picture.png", b"\x89PNG"), file("long.txt", b"x" * 9 * 1024 * 1024), file("empty.txt", b"")]  # type: ignore[list-item]
    )
    page.get_by_role("button", name="Add to the library").click()
    rows = page.locator("[data-uploads] li")
    expect(rows.filter(has_text="picture.png")).to_contain_text(
        "Files of this kind (.png) cannot be read. Readable are:"
    )
    expect(rows.filter(has_text="long.txt")).to_contain_text("larger than 8 MiB")
    expect(rows.filter(has_text="empty.txt")).to_contain_text("The file is empty.")
    assert len(sent) == 1  # only the server knows of empty ones


def test_files_can_be_dropped_anywhere_on_the_page(page: Page, shelves: Appliance) -> None:
    page.goto("/library?shelf=garden")
    page.evaluate(
        """() => {
          const transfer = new DataTransfer();
          transfer.items.add(new File(["# Wasps\\n\\nWasps build of paper.\\n"], "wasps.md"));
          const over = (kind) => document.querySelector("footer").dispatchEvent(
            new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer }));
          over("dragover");
          window.seen = document.body.matches("[data-dragging]");
          over("drop");
        }"""
    )
    assert page.evaluate("window.seen")
    expect(page.locator("[data-uploads] li")).to_contain_text("Findable.", timeout=30_000)
    assert shelves.until_state("garden/wasps.md", "findable")["shelf"] == "garden"


def test_an_upload_can_be_cancelled_and_sent_again(page: Page, shelves: Appliance) -> None:
    page.goto("/library")
    page.route("**/api/uploads", lambda _: None)  # on its way, and never there
    page.get_by_label("Files").set_input_files([file("slow.txt", "Snails take their time.")])  # type: ignore[list-item]
    page.get_by_role("button", name="Add to the library").click()
    row = page.locator("[data-uploads] li")
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_contain_text("Cancelled; nothing of it was kept.")
    page.unroute("**/api/uploads")
    row.get_by_role("button", name="Send again").click()
    expect(row).to_contain_text("Findable.", timeout=30_000)
    assert (shelves.library / "slow.txt").exists()


def test_the_keyboard_is_enough_and_progress_is_announced(
    page: Page, shelves: Appliance, tmp_path: Path
) -> None:
    book = tmp_path / "moles.md"
    book.write_text("# Moles\n\nMoles dig.\n")
    page.on("filechooser", lambda _: None)  # from here on, or the very first chooser may slip through
    page.goto("/library")
    page.get_by_label("Shelf (may be new").focus()
    page.keyboard.type("field")
    page.keyboard.press("Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(book)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="moles.md: Findable.")).to_be_attached(timeout=30_000)
    # A decision by keyboard: the focus stays on the button's row when the button has changed.
    shelves.drop("field/void.epub", broken_book())
    try:
        row = page.get_by_role("row", name="field/void.epub")
        retry = row.get_by_role("button", name="Retry")
        expect(retry).to_be_visible(timeout=30_000)
        shelves.post("/api/ingest/pause", None)
        retry.focus()
        page.keyboard.press("Enter")
        expect(row.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Enter")
        expect(row).to_contain_text("cancelled", ignore_case=True)
        expect(row.get_by_role("button", name="Retry")).to_be_focused()
    finally:
        shelves.post("/api/ingest/resume", None)
        (shelves.library / "field" / "void.epub").unlink()


def test_everything_works_without_javascript(chromium: Browser, shelves: Appliance) -> None:
    context = chromium.new_context(base_url=shelves.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/library")
    page.get_by_label("Shelf (may be new").fill("plain")
    page.get_by_label("Files").set_input_files(
        [file("plain.md", "# Plain\n\nPlain words.\n"), file("run.exe", b"MZ")]
    )  # type: ignore[list-item]
    page.get_by_role("button", name="Add to the library").click()
    told = page.get_by_role("list", name="What became of the files")
    expect(told).to_contain_text("plain.md: stored as plain/plain.md")
    expect(told).to_contain_text("Files of this kind (.exe) cannot be read.")
    shelves.until_state("plain/plain.md", "findable")
    shelves.post("/api/ingest/pause", None)
    try:
        shelves.drop("plain/later.md", "# Later\n\nLater words.\n")
        shelves.until_state("plain/later.md", "waiting")
        page.goto("/library?shelf=plain")
        page.get_by_role("row", name="plain/later.md").get_by_role("button", name="Cancel").click()
        assert page.url.endswith("/library?shelf=plain")
        row = page.get_by_role("row", name="plain/later.md")
        expect(row).to_contain_text("cancelled", ignore_case=True)
        row.get_by_role("button", name="Retry").click()
        page.get_by_role("button", name="Resume").click()
        shelves.until_state("plain/later.md", "findable")
    finally:
        shelves.post("/api/ingest/resume", None)
        context.close()
