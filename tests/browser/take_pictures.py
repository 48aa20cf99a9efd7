"""Take the pictures in docs/pictures: `python -m tests.browser.take_pictures URL`, of a running appliance."""

import os
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.conftest import QUIET
from tests.places import ROOT, program

QUESTION = "What is the safest way to make water drinkable?"
PAGES = {
    "front": "/",
    "results": "/?q=how+long+to+boil+water",
    "answer": f"/?q={QUESTION.replace(' ', '+').replace('?', '%3F')}&ask=1",
    "library": "/library",
}


def main(url: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=arguments)
        for scheme in ("light", "dark"):
            for width, height in ((1280, 900), (390, 844)):
                context = browser.new_context(
                    base_url=url, viewport={"width": width, "height": height}, color_scheme=scheme
                )
                page = context.new_page()
                for name, path in PAGES.items():
                    page.goto(path)
                    if name == "answer":
                        page.get_by_text("Done in").wait_for(timeout=120_000)
                    page.screenshot(path=folder / f"{name}-{scheme}-{width}.png")
                page.goto("/?q=how+long+to+boil+water")
                page.locator("main a[href^='/read/']").first.click()
                page.wait_for_load_state()
                page.screenshot(path=folder / f"reading-{scheme}-{width}.png")
                context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "pictures")
