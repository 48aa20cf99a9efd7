"""Around the application, without a house: ids, labels, log lines, and what is never in them."""

import asyncio
import logging
import re
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from appliance.logs import TextLines
from llm.engines.spoken import Outcome, Spoken
from search.values import Mode
from web.app import guarded_app
from web.metrics import Metrics
from web.observed import REQUEST_ID, observed

SECRET = "plughword"
MADE = re.compile(r"[0-9a-f]{16}")


def asked(
    app: Any, path: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str]]:
    """Status and headers of one request, by ASGI alone."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = {"host": "localhost"} | (headers or {})
    pathname, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": pathname,
        "raw_path": pathname.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("10.9.8.7", 1),
        "server": ("127.0.0.1", 8080),
    }
    asyncio.run(app(scope, receive, send))
    start = next(message for message in sent if message["type"] == "http.response.start")
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}


def told(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def breaks() -> list[str]:
    raise ValueError(f"could not parse {SECRET!r}") from KeyError(SECRET)


@pytest.fixture
def house() -> SimpleNamespace:
    return SimpleNamespace(version="0", host_names=(), cors_origins=(), metrics=Metrics(), lacking=breaks)


def test_a_sane_id_is_kept_and_any_other_replaced(house: SimpleNamespace) -> None:
    app = guarded_app(house)
    assert asked(app, "/healthz", headers={"x-request-id": "Abc-1.2_3"})[1]["x-request-id"] == "Abc-1.2_3"
    for hostile in ("", "a b", "a\nb", "ä", "x" * 65, "<script>", "a;b", "a\n"):
        given = asked(app, "/healthz", headers={"x-request-id": hostile})[1]["x-request-id"]
        assert MADE.fullmatch(given), hostile


@pytest.mark.parametrize(
    ("path", "method", "host", "status"),
    [
        ("/healthz", "GET", "localhost", 200),
        ("/nothing", "GET", "localhost", 404),
        ("/healthz", "DELETE", "localhost", 405),
        ("/healthz", "GET", "evil.example", 403),
        ("/readyz", "GET", "localhost", 500),
        ("/\0", "GET", "localhost", 404),
    ],
)
def test_every_answer_has_an_id_and_is_counted_once(
    house: SimpleNamespace, path: str, method: str, host: str, status: int
) -> None:
    answer = asked(guarded_app(house), path, method=method, headers={"host": host})
    assert answer[0] == status
    assert MADE.fullmatch(answer[1]["x-request-id"])
    route = path if status in (200, 500) else "none"
    labels = {"route": route, "method": method}
    counted = value(house.metrics, "almanac_http_requests_total", **labels, status=f"{status // 100}xx")
    assert counted == value(house.metrics, "almanac_http_request_duration_seconds_count", **labels) == 1
    assert value(house.metrics, "almanac_http_requests_in_progress") == 0


def test_labels_stay_few_whatever_is_asked(house: SimpleNamespace) -> None:
    app = guarded_app(house)
    for n in range(50):
        asked(app, f"/{SECRET}/{n}?q={SECRET}")
        asked(app, f"/static/{SECRET}{n}.css")
        asked(app, "/healthz", method=f"{SECRET.upper()}{n}")
        asked(app, "/", headers={"host": f"{SECRET}{n}.example"})
    text = told(house.metrics)
    assert SECRET not in text.lower()
    series = re.findall(r"almanac_http_requests_total\{.*\}", text)
    assert len(series) == len(set(series)) <= 6


def test_a_request_is_a_line_only_where_that_is_wished_and_says_none_of_its_words(
    house: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(TextLines())
    hostile = {"user-agent": SECRET, "referer": f"http://localhost/{SECRET}", "x-request-id": "mine-1"}
    asked(guarded_app(house), f"/{SECRET}?q={SECRET}", headers=hostile)
    assert caplog.text == ""
    asked(guarded_app(house, log_requests=True), f"/{SECRET}?q={SECRET}", headers=hostile)
    pattern = r"\S+ \S+ INFO web\.observed: request request=mine-1 method=GET route=none status=404 took_ms=[\d.]+\n"
    assert re.fullmatch(pattern, caplog.text)


def test_an_error_of_ours_is_logged_under_its_request_without_anyones_words(
    house: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(TextLines())
    asked(guarded_app(house), f"/readyz?{SECRET}", headers={"x-request-id": "mine-2"})
    assert "unexpected error request=mine-2 route=/readyz" in caplog.text
    assert "in breaks" in caplog.text
    assert "KeyError\n" in caplog.text
    assert "ValueError" in caplog.text
    assert SECRET not in caplog.text


def test_an_id_belongs_to_one_request_and_reaches_the_threads_that_it_asks() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((REQUEST_ID.get(), await asyncio.to_thread(REQUEST_ID.get)))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    around = observed(Metrics(), log_requests=False)(app)
    ids = [asked(around, "/")[1]["x-request-id"] for _ in range(2)]
    assert seen == [(id_, id_) for id_ in ids]
    assert ids[0] != ids[1]
    assert REQUEST_ID.get() == ""


def test_who_left_before_the_answer_is_counted_as_nobody() -> None:
    metrics = Metrics()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    with suppress(asyncio.CancelledError):
        asked(observed(metrics, log_requests=False)(app), "/")
    assert value(metrics, "almanac_http_requests_total", route="none", method="GET", status="none") == 1
    assert value(metrics, "almanac_http_requests_in_progress") == 0


def test_two_sets_of_metrics_share_nothing_and_leave_the_vendors_own_registry_alone() -> None:
    one, other = Metrics(), Metrics()
    one.searched(Mode.HYBRID, 0.01)
    assert value(one, "almanac_search_duration_seconds_count", mode="hybrid") == 1
    assert value(other, "almanac_search_duration_seconds_count", mode="hybrid") == 0
    assert not any(family.name.startswith("almanac") for family in REGISTRY.collect())


def test_what_a_model_said_is_told_in_figures() -> None:
    metrics = Metrics()
    metrics.spoken(Spoken("m", Outcome.FINISHED, 0.2, 30.0, 100, 60, 20))
    metrics.spoken(Spoken("m", Outcome.REFUSED, None, None, 0, 0, 0))
    assert value(metrics, "almanac_chat_answers_total", model="m", outcome="finished") == 1
    assert value(metrics, "almanac_chat_answers_total", model="m", outcome="refused") == 1
    assert value(metrics, "almanac_chat_first_token_seconds_count", model="m") == 1
    assert value(metrics, "almanac_chat_first_token_seconds_bucket", model="m", le="0.25") == 1
    assert value(metrics, "almanac_chat_tokens_per_second_sum", model="m") == 30
    assert [
        value(metrics, "almanac_chat_tokens_total", model="m", kind=kind)
        for kind in ("prompt", "cached", "completion")
    ] == [100, 60, 20]
    assert "_created" not in told(metrics)
    assert len(list(text_string_to_metric_families(told(metrics)))) >= 10
