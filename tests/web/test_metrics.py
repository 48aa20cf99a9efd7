"""GET /metrics, of a running appliance."""

import json
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.places import ROOT, chat_model, embedding_model
from tests.running import Appliance, running
from web.metrics import Metrics

pytestmark = pytest.mark.models

SECRETS = ("plughword", "Zanzibarquux", "frotzberg")
EVERY_METRIC = re.compile(r"^\| `((?:almanac|process)_\w+)` \|", re.MULTILINE)


def families(house: Appliance) -> dict[str, Any]:
    status, headers, body = house.request("GET", "/metrics")
    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = list(text_string_to_metric_families(body.decode()))
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


def value(found: dict[str, Any], family: str, sample: str, **labels: str) -> float:
    fitting = [
        one.value
        for one in found[family].samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    assert len(fitting) <= 1
    return fitting[0] if fitting else 0.0


def requests(found: dict[str, Any], route: str, status: str = "2xx", method: str = "GET") -> float:
    labels = {"route": route, "status": status, "method": method}
    return value(found, "almanac_http_requests", "almanac_http_requests_total", **labels)


def searches(found: dict[str, Any], mode: str) -> float:
    name = "almanac_search_duration_seconds"
    return value(found, name, f"{name}_count", mode=mode)


def test_a_request_shows_up_under_its_template(house: Appliance) -> None:
    document = house.document("garden/bees.md")
    assert document
    route = "/api/documents/{document_id}"
    before = families(house)
    house.get(f"/api/documents/{document['id']}")
    house.get("/api/documents/nobody")
    house.request("GET", "/nowhere/at/all")
    after = families(house)
    assert requests(after, route) == requests(before, route) + 1
    assert requests(after, route, "4xx") == requests(before, route, "4xx") + 1
    assert requests(after, "none", "4xx") == requests(before, "none", "4xx") + 1
    assert requests(after, "/metrics") == requests(before, "/metrics") + 1


def test_searches_are_timed_by_mode(house: Appliance) -> None:
    before = families(house)
    for mode in ("hybrid", "words", "meaning"):
        house.get("/api/search", q="Marigold colony", mode=mode)
    after = families(house)
    for mode in ("hybrid", "lexical", "vector"):
        assert searches(after, mode) == searches(before, mode) + 1


def test_an_answer_is_timed_and_its_tokens_counted(house: Appliance) -> None:
    model = house.get("/status")[1]["model"]["id"]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Count to ten."}],
        "max_tokens": 8,
        "ignore_eos": True,  # now and then it has said all before the eighth
        "stream": True,
    }

    def figures() -> list[float]:
        found = families(house)
        return [
            value(found, "almanac_chat_answers", "almanac_chat_answers_total", outcome="finished"),
            value(found, "almanac_chat_first_token_seconds", "almanac_chat_first_token_seconds_count"),
            value(found, "almanac_chat_tokens_per_second", "almanac_chat_tokens_per_second_count"),
            value(found, "almanac_chat_tokens", "almanac_chat_tokens_total", kind="completion"),
        ]

    before = figures()
    house.request("POST", "/v1/chat/completions", body)
    streamed = figures()
    house.request("POST", "/v1/chat/completions", body | {"stream": False})
    whole = figures()
    assert [after - earlier for earlier, after in zip(before, streamed, strict=True)] == [1, 1, 1, 8]
    assert [after - earlier for earlier, after in zip(streamed, whole, strict=True)] == [1, 0, 1, 8]


def test_histograms_are_consistent(house: Appliance) -> None:
    for family in families(house).values():
        if family.type != "histogram":
            continue
        series: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
        for one in family.samples:
            labels = tuple(sorted((k, v) for k, v in one.labels.items() if k != "le"))
            kept = series.setdefault(labels, {"buckets": []})
            if one.name.endswith("_bucket"):
                kept["buckets"].append((float(one.labels["le"]), one.value))
            else:
                kept[one.name.removeprefix(f"{family.name}_")] = one.value
        for labels, kept in series.items():
            buckets = sorted(kept["buckets"])
            assert all(smaller[1] <= larger[1] for smaller, larger in pairwise(buckets)), labels
            assert buckets[-1] == (math.inf, kept["count"])
            assert kept["sum"] >= 0


def test_every_metric_is_documented_and_none_that_does_not_exist(house: Appliance) -> None:
    house.get("/api/search", q="water")
    found = families(house) | {family.name: family for family in Metrics().registry.collect()}
    named = {family.name + "_total" * (family.type == "counter") for family in found.values()}
    named = {name.replace("_total_total", "_total") for name in named}
    documented = EVERY_METRIC.findall((ROOT / "docs" / "api.md").read_text())
    assert sorted(documented) == sorted(named)


def test_it_is_behind_the_guards_like_everything(house: Appliance) -> None:
    assert house.request("GET", "/metrics", headers={"host": "evil.example"})[0] == 403
    assert house.request("GET", "/metrics", headers={"host": "nas.lan:8080"})[0] == 200


def test_an_answer_that_never_reached_the_application_has_an_id_too(house: Appliance) -> None:
    status, headers, _ = house.request("GET", "/" + "x" * 70_000)
    assert status == 414
    assert re.fullmatch("[0-9a-f]{16}", headers["x-request-id"])


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A house of its own that logs every request, as JSON."""
    embedding_model()
    chat_model()
    folder: Path = tmp_path_factory.mktemp("talkative")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    settings = '[server]\nlog_requests = true\nlog_format = "json"\n[ingest]\nsettle_s = 0.2\n'
    with running(folder, settings=settings) as appliance:
        yield appliance


def test_nobodys_words_are_in_the_log_or_the_metrics(talkative: Appliance) -> None:
    house, (word, title, file) = talkative, SECRETS
    house.drop(f"{file}/{file}.md", f"# {title}\n\nThe {word} is kept in a dry place, says {title}.\n")
    house.drop(f"{file}/{file}.epub", b"PK\x03\x04" + word.encode() * 50)
    house.drop(f"{file}/{file}.pdf", b"%PDF-1.7\n" + word.encode() * 50)
    document = house.until_state(f"{file}/{file}.md", "findable")
    house.until_state(f"{file}/{file}.epub", "failed")
    house.until_state(f"{file}/{file}.pdf", "failed")
    model = house.get("/status")[1]["model"]["id"]
    said = {"messages": [{"role": "user", "content": word}], "max_tokens": 4}
    awkward = {"user-agent": word, "referer": f"{house.url}/{word}", "x-request-id": f"{word} {word}"}
    for path in (
        f"/{word}",
        f"/{word}%0a{word}",
        f"/static/{word}.css",
        f"/static/../{word}",
        f"/read/{word}",
        f"/read/{document['id']}?q={word}",
        f"/api/documents/{word}",
        f"/api/search?q={word}&mode={word}",
        f"/api/search?q={quote(f'title:{title} ({word} OR')}",
        f"/api/search?q={word}&cursor={word}",
        f"/api/suggest?q={word}",
        f"/?q={word}",
        f"/opds/search?q={word}",
        f"/v1/models/{word}",
    ):
        house.request("GET", path, headers=awkward)
    house.request("GET", "/", headers={"host": f"{word}.example"})
    house.request(word.upper(), "/")
    for body in (
        said | {"model": word},
        said | {"model": model},
        said | {"model": model, "stream": True},
        said | {"model": model, "temperature": word},
        said | {"model": "almanac"},
        {"model": model, "messages": [{"role": word, "content": word}]},
        f'{{"{word}": "{word}'.encode(),
        b'{"model": "' + word.encode() + b'\xff"}',
    ):
        house.request("POST", "/v1/chat/completions", body, awkward)
    assert house.ask(f"Where is the {word} kept?")[-1][0] == "done"
    house.request("POST", f"/api/documents/{word}/retry", None)
    shown = house.request("GET", "/metrics")[2].decode()
    log = (house.folder / "serve.log").read_text()
    for secret in SECRETS:
        assert secret.lower() not in shown.lower()
        assert secret.lower() not in log.lower()
    assert "127.0.0.1" not in log + shown
    lines = [json.loads(line) for line in log.splitlines()]  # every one is an object
    told = [line for line in lines if line["message"] == "request"]
    assert len(told) > 25
    assert {"time", "level", "logger", "request", "method", "route", "status", "took_ms"} <= told[0].keys()
    assert {line["route"] for line in told} >= {"none", "/api/search", "/v1/chat/completions"}


def test_the_id_that_is_answered_is_the_one_in_the_log(talkative: Appliance) -> None:
    _, headers, _ = talkative.request("GET", "/api/search?q=water", headers={"x-request-id": "from-nginx-17"})
    assert headers["x-request-id"] == "from-nginx-17"
    talkative.until(lambda: '"request":"from-nginx-17"' in (talkative.folder / "serve.log").read_text(), 5)


def test_a_house_writes_no_line_a_request_unless_it_is_told_to(house: Appliance) -> None:
    written = (house.folder / "serve.log").stat().st_size
    for _ in range(5):
        house.get("/api/search", q="water")
    assert (house.folder / "serve.log").stat().st_size == written


def test_the_figures_are_those_of_the_status(talkative: Appliance) -> None:
    house = talkative
    under_way = ("waiting", "reading", "findable_words")  # by what other tests have dropped
    house.until(lambda: not any(house.get("/status")[1]["documents"][state] for state in under_way))
    found: dict[str, Any] = {}
    status: dict[str, Any] = {}

    def at_rest() -> bool:
        """A file may be read at any moment: the status is the same before and after the figures."""
        nonlocal found, status
        before = house.get("/status")[1]
        found, status = families(house), house.get("/status")[1]
        return all(before[part] == status[part] for part in ("documents", "chunks", "indexes"))

    gone = house.drop("garden/soon-gone.md", "# Gone\n\nA document that is missing still has its chunks.\n")
    house.until_state("garden/soon-gone.md", "findable")
    gone.rename(gone.with_name(".hidden"))
    house.request("POST", "/api/scan")
    house.until_state("garden/soon-gone.md", "missing")
    house.until(at_rest)
    states = {one.labels["state"]: one.value for one in found["almanac_documents"].samples}
    assert states == status["documents"]
    assert value(found, "almanac_chunks", "almanac_chunks") == status["chunks"]
    for index, what in (("lexical", "chunks"), ("vector", "vectors")):
        entries = value(found, "almanac_index_entries", "almanac_index_entries", index=index)
        assert entries == status["indexes"][index][what]
        assert value(found, "almanac_index_size_bytes", "almanac_index_size_bytes", index=index) > 0
    model = {one.labels["state"]: one.value for one in found["almanac_model_state"].samples}
    assert [state for state, one in model.items() if one] == [status["model"]["state"]]
    assert value(found, "process_resident_memory_bytes", "process_resident_memory_bytes") > 2**25
    assert value(found, "almanac_ready", "almanac_ready") == status["ready"]
