"""A chat page on another origin, in real Chromium: let at /v1 where it is permitted, and nowhere else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.places import embedding_model
from tests.running import Appliance, running

pytestmark = [pytest.mark.browser, pytest.mark.models]

QUESTION = {"model": "almanac", "messages": [{"role": "user", "content": "How often is Marigold inspected?"}]}
# As OpenAI's own client does it in a browser.
ASK = """async ([url, body]) => {
  const headers = {"Content-Type": "application/json", "Authorization": "Bearer any", "X-Stainless-Lang": "js"};
  try {
    const response = await fetch(url, {method: "POST", headers, body: JSON.stringify(body)});
    const reader = response.body.getReader(), text = new TextDecoder();
    let told = "";
    for (;;) {
      const {done, value} = await reader.read();
      if (done) break;
      told += text.decode(value, {stream: true});
    }
    return {status: response.status, id: response.headers.get("x-request-id"), told};
  } catch (error) { return {refused: String(error)}; }
}"""
READ = """async (url) => {
  try { const response = await fetch(url); return {status: response.status, told: await response.text()}; }
  catch (error) { return {refused: String(error)}; }
}"""


class _Blank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>A chat page</title>")

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def origin() -> Iterator[str]:
    """A site of its own, with one page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Blank) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def friend() -> Iterator[str]:
    with origin() as url:
        yield url


@pytest.fixture
def stranger() -> Iterator[str]:
    with origin() as url:
        yield url


@pytest.fixture(scope="module")
def permitting(tmp_path_factory: pytest.TempPathFactory, friend: str) -> Iterator[Appliance]:
    embedding_model()
    folder = tmp_path_factory.mktemp("permitting")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    settings = f'[server]\ncors_origins = ["{friend}"]\n[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n'
    with running(folder, settings=settings) as appliance:
        appliance.drop(
            "garden/bees.md", "# Bees\n\nMarigold is inspected every eleventh day, in the morning.\n"
        )
        appliance.until_state("garden/bees.md", "findable")
        yield appliance


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_a_permitted_page_asks_streams_and_reads_errors(
    page: Page, permitting: Appliance, friend: str
) -> None:
    page.goto(friend)
    models = page.evaluate(READ, f"{permitting.url}/v1/models")
    assert models["status"] == 200
    assert "almanac:garden" in models["told"]
    chat = f"{permitting.url}/v1/chat/completions"
    streamed = page.evaluate(ASK, [chat, QUESTION | {"stream": True}])
    assert streamed["status"] == 200
    assert streamed["told"].endswith("data: [DONE]\n\n")
    assert "eleventh" in streamed["told"]
    assert streamed["id"]
    wrong = page.evaluate(ASK, [chat, QUESTION | {"temperature": 7}])
    assert wrong["status"] == 400
    assert '"param":"temperature"' in wrong["told"]


def test_a_permitted_page_gets_at_nothing_else(page: Page, permitting: Appliance, friend: str) -> None:
    page.goto(friend)
    assert "refused" in page.evaluate(READ, f"{permitting.url}/api/documents")
    assert "refused" in page.evaluate(ASK, [f"{permitting.url}/api/ask", {"question": "Marigold"}])


def test_a_page_that_is_not_permitted_gets_at_nothing(
    page: Page, permitting: Appliance, stranger: str
) -> None:
    page.goto(stranger)
    assert "refused" in page.evaluate(READ, f"{permitting.url}/v1/models")
    assert "refused" in page.evaluate(ASK, [f"{permitting.url}/v1/chat/completions", QUESTION])
