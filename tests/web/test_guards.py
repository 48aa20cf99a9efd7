"""Guards, by trying to get past them."""

import pytest

from tests.running import Appliance
from web.guards import is_house_name

pytestmark = pytest.mark.models


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "127.0.0.1:80",
        "[::1]:8080",
        "192.168.1.20",
        "almanac",
        "almanac.local:8080",
        "nas.lan",
        "box.home.arpa",
        "books.example.org",
    ],
)
def test_names_of_the_house_are_answered(host: str) -> None:
    assert is_house_name(host, ("books.example.org",))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.local.example",
        "a@evil.example",
        "evil.example:8080",
    ],
)
def test_foreign_names_are_not(host: str) -> None:
    assert not is_house_name(host, ())


def test_a_rebound_name_gets_nothing(house: Appliance) -> None:
    for path in ("/", "/api/documents", "/v1/models", "/healthz"):
        status, _, body = house.request("GET", path, headers={"host": "evil.example"})
        assert status == 403, path
        assert b"host_names" in body


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "http://127.0.0.1:1"},
    ],
)
def test_a_foreign_page_cannot_write(house: Appliance, headers: dict[str, str]) -> None:
    for path in ("/api/ask", "/api/scan", "/v1/chat/completions"):
        assert house.request("POST", path, {"question": "x"}, headers)[0] == 403


def test_our_own_pages_can(house: Appliance) -> None:
    headers = {"origin": house.url, "sec-fetch-site": "same-origin"}
    assert house.request("POST", "/api/scan", None, headers)[0] == 202


@pytest.mark.parametrize("path", ["/", "/library", "/api/documents", "/static/almanac.css", "/nothing"])
def test_every_answer_carries_the_headers(house: Appliance, path: str) -> None:
    _, headers, _ = house.request("GET", path)
    headers = {name.lower(): value for name, value in headers.items()}
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/read/..%2f..%2fetc",
    ],
)
def test_no_file_outside_is_served(house: Appliance, path: str) -> None:
    status, _, body = house.request("GET", path)
    assert status in (400, 404)
    assert b"Litestar" not in body


def test_a_book_with_scripts_is_shown_as_text(house: Appliance) -> None:
    text = "# <img src=x onerror=alert(1)>\n\n## Scripts\n\n`<script>alert('xyzzy')</script>` is what the plughword says.\n"
    house.drop("hostile/scripts.md", text)
    house.until_state("hostile/scripts.md", "findable")
    try:
        _, found = house.get("/api/search", q="plughword xyzzy", shelf="hostile")
        passage = found["items"][0]["passage"]
        assert "<script" not in passage["snippet"]
        for path in ("/?q=plughword", "/library", passage["href"].split("#")[0]):
            page = house.request("GET", path)[2].decode()
            assert "<script>alert" not in page
            assert "<img src=x" not in page
    finally:
        (house.library / "hostile" / "scripts.md").unlink()


def test_a_query_with_markup_is_shown_as_text(house: Appliance) -> None:
    page = house.request("GET", "/?q=%3Cscript%3Ealert(1)%3C/script%3E%22onfocus=alert(1)")[2].decode()
    assert "<script>alert" not in page
    assert '"onfocus' not in page


def test_a_huge_body_is_refused(house: Appliance) -> None:
    status, _, _ = house.request("POST", "/api/ask", b'{"question": "' + b"x" * 6_000_000 + b'"}')
    assert status == 413


@pytest.mark.parametrize("path", ["/static/%00", "/read/%00", "/api/documents/%00", "/%00"])
def test_a_null_byte_leads_nowhere(house: Appliance, path: str) -> None:
    assert house.request("GET", path)[0] == 404


def test_a_section_that_is_not_there_opens_the_first(house: Appliance) -> None:
    document = house.document("garden/bees.md")
    assert document
    for section in (-1, 10**20, 999):
        assert house.request("GET", f"/read/{document['id']}?section={section}")[0] == 200
    assert house.request("GET", f"/read/{document['id']}?section=x")[0] == 400
