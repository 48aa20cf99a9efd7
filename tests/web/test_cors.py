"""Pages of other origins at /v1: permitted by name, refused otherwise, and nowhere else let in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.config import load_config
from library.errors import ConfigurationError
from tests.places import embedding_model
from tests.running import Appliance, running
from web.cors import Cors, wrong_origins

pytestmark = pytest.mark.models

CHAT, NOTES, STRANGER = "https://chat.lan", "app://obsidian.md", "https://evil.example"
QUESTION = {"model": "almanac", "messages": [{"role": "user", "content": "How often is Marigold inspected?"}]}


@pytest.fixture(scope="module")
def permitting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    folder = tmp_path_factory.mktemp("permitting")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    embedding_model()
    settings = (
        f'[server]\ncors_origins = ["{CHAT}", "{NOTES}"]\n[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n'
    )
    with running(folder, settings=settings) as appliance:
        appliance.drop(
            "garden/bees.md", "# Bees\n\nMarigold is inspected every eleventh day, in the morning.\n"
        )
        appliance.until_state("garden/bees.md", "findable_words")
        yield appliance


def asked(
    house: Appliance, method: str, path: str, origin: str | None, body: object = None, **more: str
) -> tuple[int, dict[str, str], bytes]:
    given = {name.replace("_", "-"): value for name, value in more.items()}
    if origin:
        given |= {"origin": origin, "sec-fetch-site": "cross-site"}
    status, headers, answer = house.request(method, path, body, given)
    return status, {name.lower(): value for name, value in headers.items()}, answer


def cors_headers(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control")}


@pytest.mark.parametrize("origin", [CHAT, NOTES])
def test_a_permitted_page_reads_and_writes(permitting: Appliance, origin: str) -> None:
    for method, path, body in (("GET", "/v1/models", None), ("POST", "/v1/chat/completions", QUESTION)):
        status, headers, answer = asked(permitting, method, path, origin, body)
        assert status == 200, answer
        assert headers["access-control-allow-origin"] == origin
        assert "Origin" in headers["vary"]
        exposed = headers["access-control-expose-headers"].split(", ")
        assert {"x-request-id", "almanac-ignored", "retry-after"} <= set(exposed)
        assert "access-control-allow-credentials" not in headers


def test_a_stream_carries_the_headers(permitting: Appliance) -> None:
    status, headers, answer = asked(
        permitting, "POST", "/v1/chat/completions", CHAT, QUESTION | {"stream": True}
    )
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["access-control-allow-origin"] == CHAT
    assert answer.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/chat/completions", {"model": "almanac", "messages": []}, 400),
        ("POST", "/v1/chat/completions", {"model": "nobody", "messages": QUESTION["messages"]}, 404),
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b'{"x": "' + b"x" * 5_000_000 + b'"}', 413),
        ("GET", "/v1/nothing-there", None, 404),
        ("GET", "/v1/chat/completions", None, 405),
        ("DELETE", "/v1/models", None, 405),
        ("GET", "/v1/\0", None, 404),
    ],
)
def test_errors_carry_the_headers(
    permitting: Appliance, method: str, path: str, body: object, status: int
) -> None:
    given, headers, answer = asked(permitting, method, path.replace("\0", "%00"), CHAT, body)
    assert given == status, answer
    assert headers["access-control-allow-origin"] == CHAT


def test_a_page_that_came_by_a_foreign_name_is_told_so(permitting: Appliance) -> None:
    status, headers, answer = asked(permitting, "GET", "/v1/models", CHAT, host="evil.example")
    assert status == 403
    assert headers["access-control-allow-origin"] == CHAT
    assert b"host_names" in answer


def test_the_browser_is_told_before_what_a_page_may(permitting: Appliance) -> None:
    status, headers, answer = asked(
        permitting,
        "OPTIONS",
        "/v1/chat/completions",
        CHAT,
        access_control_request_method="POST",
        access_control_request_headers="authorization, content-type,x-stainless-os, X-Evil, x-stainless-é_",
        access_control_request_private_network="true",
    )
    assert (status, answer) == (204, b"")
    assert headers["access-control-allow-origin"] == CHAT
    assert headers["access-control-allow-headers"] == "authorization, content-type, x-stainless-os"
    assert headers["access-control-allow-methods"] == "GET, POST"
    assert headers["access-control-allow-private-network"] == "true"
    assert int(headers["access-control-max-age"]) > 0


def test_private_networks_are_not_spoken_of_unasked(permitting: Appliance) -> None:
    _, headers, _ = asked(permitting, "OPTIONS", "/v1/models", CHAT, access_control_request_method="GET")
    assert "access-control-allow-private-network" not in headers


@pytest.mark.parametrize("origin", [STRANGER, "null", "https://chat.lan.evil.example", "http://chat.lan", ""])
def test_other_pages_are_told_nothing_and_may_not_write(permitting: Appliance, origin: str) -> None:
    status, headers, _ = asked(permitting, "GET", "/v1/models", origin)
    assert status == 200
    assert headers["vary"] == "Origin"
    assert cors_headers(headers) == {}
    _, headers, _ = asked(
        permitting,
        "OPTIONS",
        "/v1/chat/completions",
        origin,
        access_control_request_method="POST",
        access_control_request_private_network="true",
    )
    assert cors_headers(headers) == {}
    if origin:
        status, headers, _ = asked(permitting, "POST", "/v1/chat/completions", origin, QUESTION)
        assert (status, cors_headers(headers)) == (403, {})


@pytest.mark.parametrize(
    "path", ["/api/scan", "/api/ask", "/v1/../api/scan", "//v1/chat/completions", "/v1", "/jobs"]
)
def test_a_permitted_page_may_write_nowhere_else(permitting: Appliance, path: str) -> None:
    status, headers, _ = asked(permitting, "POST", path, CHAT, QUESTION)
    assert status in (403, 404)
    if not path.startswith("/v1/"):
        assert status == 403
        assert cors_headers(headers) == {}


def test_without_the_setting_nothing_is_said(tmp_path: Path) -> None:
    cors = Cors(())
    for path in ("/v1/models", "/api/search"):
        assert cors.headers(path, CHAT) == []
        assert not cors.permits(path, CHAT)
        asks = {"origin": CHAT, "access-control-request-method": "GET"}
        assert cors.preflight("OPTIONS", path, asks) is None


def test_a_star_permits_every_page_at_v1_alone() -> None:
    cors = Cors(("*",))
    for origin in (STRANGER, "null"):
        assert cors.permits("/v1/models", origin)
        assert (b"access-control-allow-origin", b"*") in cors.headers("/v1/models", origin)
        assert not cors.permits("/api/search", origin)
    assert not cors.permits("/v1/models", None)


@pytest.mark.parametrize(
    "origin", ["*", "https://chat.lan", "http://[::1]:3000", "app://obsidian.md", "chrome-extension://abcdef"]
)
def test_origins_as_browsers_send_them_are_taken(origin: str) -> None:
    assert wrong_origins([origin]) is None


@pytest.mark.parametrize(
    ("origin", "meant"),
    [
        ("https://Chat.lan/", "https://chat.lan"),
        ("https://chat.lan:443", "https://chat.lan"),
        ("http://chat.lan/app?x#y", "http://chat.lan"),
        ("http://chat.lan:99999", "such as"),
        ("https://*.lan", "such as"),
        ("chat.lan", "such as"),
        ("file://", "such as"),
        ("http://[::1", "such as"),
        ("http://x\r\nset-cookie: a", "such as"),
        ("", "such as"),
        ("null", "any page"),
    ],
)
def test_wrong_origins_stop_the_start_with_a_sentence(tmp_path: Path, origin: str, meant: str) -> None:
    config = tmp_path / "almanac.toml"
    escaped = origin.replace("\r\n", "\\r\\n")
    config.write_text(f'[server]\ncors_origins = ["https://chat.lan", "{escaped}"]\n')
    with pytest.raises(ConfigurationError, match=r"`server\.cors_origins` .*\.$") as refused:
        load_config(config)
    assert meant in str(refused.value)
    assert refused.value.key == "server.cors_origins"


def test_a_star_stands_alone(tmp_path: Path) -> None:
    config = tmp_path / "almanac.toml"
    config.write_text(f'[server]\ncors_origins = ["*", "{CHAT}"]\n')
    with pytest.raises(ConfigurationError, match="stands alone"):
        load_config(config)
