"""A real Chromium, Debian's, driven by Playwright."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.places import program

# Chromium looks for its maker's hosts at every start unless it is told not to.
QUIET = (
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


# Not for the session: Playwright keeps an event loop running in this thread for
# as long as it is open, and the tests after it want one of their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = program("chromium")
    arguments = [*QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
