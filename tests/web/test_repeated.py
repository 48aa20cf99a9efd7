"""Requests that are repeatable, asked again of a running appliance with the starter model."""

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.running import Appliance
from tests.web.busy import load, streaming, taken
from tests.web.test_metrics import families, value

pytestmark = pytest.mark.models

QUESTION = [{"role": "user", "content": "How often is the colony called Marigold inspected?"}]
# Every test asks what no other asks, so that none is answered by another's.
STORY = "Tell a story about"


@pytest.fixture
def model(house: Appliance) -> str:
    return str(house.get("/status")[1]["model"]["id"])


def asked(
    house: Appliance, path: str, body: dict[str, Any], *, reader: str = "one", **headers: str
) -> tuple[str | None, bytes]:
    """What the cache had to do with it, and the answer."""
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    status, told, answer = house.request("POST", path, body, {"authorization": f"Bearer {reader}", **given})
    assert status == 200, answer
    return told.get("almanac-cache"), answer


def chat(model: str, about: str, **more: object) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": f"{STORY} {about}."}],
        "max_tokens": 24,
        **more,
    }


def figures(house: Appliance) -> tuple[float, float]:
    found = families(house)
    return (
        value(found, "almanac_cache_hits", "almanac_cache_hits_total"),
        value(found, "almanac_cache_misses", "almanac_cache_misses_total"),
    )


def without_head(completion: dict[str, Any]) -> dict[str, Any]:
    return {name: told for name, told in completion.items() if name not in ("id", "created")}


def told(stream: bytes) -> list[Any]:
    """A stream's chunks, or events, without what is their own."""
    lines = [line[6:] for line in stream.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("sure", [{"temperature": 0}, {"temperature": 0.0}, {"seed": 7, "temperature": 1}])
def test_the_same_request_gets_the_same_answer_at_once(
    house: Appliance, model: str, sure: dict[str, object]
) -> None:
    body = chat(model, f"a lighthouse {sure}", **sure)
    hits, misses = figures(house)
    began = time.perf_counter()
    first, one = asked(house, "/v1/chat/completions", body)
    between = time.perf_counter()
    again, two = asked(house, "/v1/chat/completions", body)
    ended = time.perf_counter()
    assert (first, again) == ("miss", "hit")
    one, two = json.loads(one), json.loads(two)
    assert without_head(one) == without_head(two)
    assert one["id"] != two["id"]
    assert two["id"].startswith("chatcmpl-")
    assert two["created"] >= one["created"]
    assert figures(house) == (hits + 1, misses + 1)
    assert ended - between < between - began


def test_several_choices_and_log_probabilities_are_given_again(house: Appliance, model: str) -> None:
    body = chat(model, "a pond", seed=3, n=2, logprobs=True, top_logprobs=2)
    _, one = asked(house, "/v1/chat/completions", body)
    again, two = asked(house, "/v1/chat/completions", body)
    assert again == "hit"
    assert without_head(json.loads(one)) == without_head(json.loads(two))


@pytest.mark.parametrize("more", [{}, {"n": 2}, {"stream_options": {"include_usage": True}}])
def test_a_stream_is_given_again_as_a_stream(house: Appliance, model: str, more: dict[str, Any]) -> None:
    body = chat(model, f"a bridge {len(more)} {list(more)}", temperature=0, stream=True, **more)
    first, one = asked(house, "/v1/chat/completions", body)
    again, two = asked(house, "/v1/chat/completions", body)
    assert (first, again) == ("miss", "hit")
    assert two.endswith(b"data: [DONE]\n\n")
    before, after = told(one), told(two)
    assert list(map(without_head, before)) == list(map(without_head, after))
    assert len(after) > 10
    assert len({chunk["id"] for chunk in after}) == 1
    assert {chunk["id"] for chunk in before} != {chunk["id"] for chunk in after}


def test_prompts_are_given_again(house: Appliance, model: str) -> None:
    for stream in (False, True):
        body = {"model": model, "prompt": "The frog", "temperature": 0, "max_tokens": 8, "stream": stream}
        first, one = asked(house, "/v1/completions", body)
        again, two = asked(house, "/v1/completions", body)
        assert (first, again) == ("miss", "hit")
        if stream:
            assert list(map(without_head, told(one))) == list(map(without_head, told(two)))
        else:
            assert without_head(json.loads(one)) == without_head(json.loads(two))


def shape_of_response(response: dict[str, Any]) -> Any:
    own = ("id", "created_at", "completed_at", "item_id")
    if isinstance(response, dict):
        return {name: shape_of_response(one) for name, one in response.items() if name not in own}
    return [shape_of_response(one) for one in response] if isinstance(response, list) else response


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("of_library", [False, True])
def test_responses_are_given_again(house: Appliance, model: str, stream: bool, of_library: bool) -> None:
    body = {
        "model": "almanac:garden" if of_library else model,
        "input": f"How often is the colony called Marigold inspected? {stream}",
        "temperature": 0,
        "max_output_tokens": 16,
        "stream": stream,
    }
    first, one = asked(house, "/v1/responses", body)
    again, two = asked(house, "/v1/responses", body)
    assert (first, again) == ("miss", "hit")
    before, after = (told(one), told(two)) if stream else (json.loads(one), json.loads(two))
    assert shape_of_response(before) == shape_of_response(after)


@pytest.mark.parametrize("stream", [False, True])
def test_library_answers_are_given_again_with_their_citations(house: Appliance, stream: bool) -> None:
    body = {"model": "almanac:garden", "messages": QUESTION, "temperature": 0, "stream": stream}
    first, one = asked(house, "/v1/chat/completions", body)
    again, two = asked(house, "/v1/chat/completions", body)
    assert (first, again) == ("miss", "hit")
    if stream:
        assert list(map(without_head, told(one))) == list(map(without_head, told(two)))
    else:
        assert without_head(json.loads(one)) == without_head(json.loads(two))
        assert json.loads(two)["almanac"]["sources"][0]["document"]["path"] == "garden/bees.md"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 0.7},
        {"temperature": None},
        {"seed": None},
        {"seed": -1},
        {"seed": 2**32 - 2, "n": 2},
    ],
    ids=str,
)
def test_what_may_be_answered_otherwise_is_asked_anew(
    house: Appliance, model: str, more: dict[str, object]
) -> None:
    body, before = chat(model, "a hill", **more), figures(house)
    for _ in range(2):
        assert asked(house, "/v1/chat/completions", body)[0] is None
    assert figures(house) == before


def test_a_seed_that_is_not_honoured_makes_nothing_repeatable(house: Appliance, model: str) -> None:
    body = {"model": model, "input": "Say hello.", "seed": 5, "max_output_tokens": 8}
    for _ in range(2):
        assert asked(house, "/v1/responses", body)[0] is None


def test_another_reader_and_another_parameter_are_another_request(house: Appliance, model: str) -> None:
    body = chat(model, "a river", temperature=0)
    assert asked(house, "/v1/chat/completions", body)[0] == "miss"
    assert asked(house, "/v1/chat/completions", body, reader="two")[0] == "miss"
    assert asked(house, "/v1/chat/completions", body | {"top_k": 3})[0] == "miss"
    assert asked(house, "/v1/chat/completions", body | {"stop": "x"})[0] == "miss"
    assert asked(house, "/v1/chat/completions", body)[0] == "hit"


def test_who_only_writes_the_same_key_is_another_reader(house: Appliance, model: str) -> None:
    body = chat(model, "a harbour", temperature=0)
    assert asked(house, "/v1/chat/completions", body)[0] == "miss"
    port = urlsplit(house.url).port
    with closing(http.client.HTTPConnection("127.0.0.1", port, 120, ("127.0.0.2", 0))) as elsewhere:
        headers = {"content-type": "application/json", "authorization": "Bearer one"}
        elsewhere.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        assert elsewhere.getresponse().headers["almanac-cache"] == "miss"
    assert asked(house, "/v1/chat/completions", body, host="elsewhere.local")[0] == "miss"
    assert asked(house, "/v1/chat/completions", body)[0] == "hit"


def test_who_wants_a_fresh_answer_gets_one(house: Appliance, model: str) -> None:
    body = chat(model, "a tower", temperature=0)
    assert asked(house, "/v1/chat/completions", body, cache_control="no-store")[0] is None
    assert asked(house, "/v1/chat/completions", body)[0] == "miss"  # nothing had been kept
    assert asked(house, "/v1/chat/completions", body, cache_control="max-age=0, No-Cache")[0] == "miss"
    assert asked(house, "/v1/chat/completions", body)[0] == "hit"


def test_errors_are_not_kept(house: Appliance, model: str) -> None:
    body = chat(model, "far too long " + "word " * 9_000, temperature=0)
    for _ in range(2):
        status, headers, _ = house.request("POST", "/v1/chat/completions", body)
        assert status == 400
        assert "almanac-cache" not in headers


def test_a_stream_that_was_left_is_not_kept(house: Appliance, model: str) -> None:
    body = chat(model, "a whale", temperature=0, stream=True) | {"max_tokens": 150, "ignore_eos": True}
    with streaming(house, body, reader="one") as connection:
        assert connection.recv(400)
    house.until(lambda: load(house)["running"] == 0, 20)
    body_again, answer = asked(house, "/v1/chat/completions", body)
    assert body_again == "miss"
    assert len(told(answer)) > 100


def test_a_repeated_answer_waits_for_nobody(house: Appliance, model: str) -> None:
    body = chat(model, "a queue", temperature=0)
    library = {"model": "almanac:garden", "messages": QUESTION, "temperature": 0, "max_tokens": 20}
    for one in (body, library):
        assert asked(house, "/v1/chat/completions", one)[0] == "miss"
    with taken(house, waiting=2):
        served = load(house)["served"]
        for one in (body, library):
            assert asked(house, "/v1/chat/completions", one)[0] == "hit"
        assert load(house)["served"] == served


@contextmanager
def added(house: Appliance, path: str, line: str) -> Iterator[None]:
    """A line at the end of a document that is there, until the block ends."""
    file = house.library / path
    before = file.read_text()

    def until_found(n: int) -> None:
        house.until(lambda: house.get("/api/search", q=f'"{line}"', mode="words")[1]["total"] == n)
        house.until_state(path, "findable")

    try:
        file.write_text(f"{before}\n{line}\n")
        until_found(1)
        yield
    finally:
        file.write_text(before)
        until_found(0)


def test_another_library_gives_another_answer_and_a_look_through_it_does_not(
    house: Appliance, model: str
) -> None:
    body = {"model": "almanac:garden", "messages": QUESTION, "temperature": 0, "max_tokens": 12}
    bare = chat(model, "a library", temperature=0)
    assert asked(house, "/v1/chat/completions", bare)[0] == "miss"
    assert asked(house, "/v1/chat/completions", body)[0] == "miss"
    scans = house.get("/status")[1]["ingest"]["last_scan"]
    house.post("/api/scan", None)
    house.until(lambda: house.get("/status")[1]["ingest"]["last_scan"] != scans)
    assert asked(house, "/v1/chat/completions", body)[0] == "hit"
    with added(house, "garden/bees.md", "The wasps beside Marigold are left alone."):
        assert asked(house, "/v1/chat/completions", body)[0] == "miss"
        assert asked(house, "/v1/chat/completions", body)[0] == "hit"
    assert asked(house, "/v1/chat/completions", body)[0] == "miss"
    assert asked(house, "/v1/chat/completions", bare)[0] == "hit"


def worker(house: Appliance) -> int | None:
    """The process of the chat model."""
    assert house.process
    children = Path(f"/proc/{house.process.pid}/task/{house.process.pid}/children").read_text().split()
    for pid in map(int, children):
        if b"llm.engines.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


def test_a_model_that_was_started_again_is_asked_anew(house: Appliance, model: str) -> None:
    body = chat(model, "a phoenix", temperature=0)
    assert asked(house, "/v1/chat/completions", body)[0] == "miss"
    assert asked(house, "/v1/chat/completions", body)[0] == "hit"
    before = worker(house)
    assert before
    os.kill(before, signal.SIGKILL)
    house.until(lambda: worker(house) not in (None, before) and house.get("/readyz")[0] == 200, 30)
    assert asked(house, "/v1/chat/completions", body)[0] == "miss"
    assert asked(house, "/v1/chat/completions", body)[0] == "hit"
