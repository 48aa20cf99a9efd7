"""The JSON API, asked over HTTP of a running appliance."""

import html
import json
import re

import pytest

from tests.running import Appliance

pytestmark = pytest.mark.models


def test_documents_have_the_promised_fields(house: Appliance) -> None:
    status, page = house.get("/api/documents", limit=500)
    assert status == 200
    assert page["total"] == len(page["items"])
    assert page["next"] is None
    bees = next(item for item in page["items"] if item["path"] == "garden/bees.md")
    assert {"id", "path", "shelf", "title", "format", "state", "reason", "chunks"} <= bees.keys()
    assert (bees["shelf"], bees["state"], bees["reason"]) == ("garden", "findable", None)


def test_documents_can_be_filtered_and_paged(house: Appliance) -> None:
    _, garden = house.get("/api/documents", shelf="garden")
    assert [item["path"] for item in garden["items"]] == ["garden/bees.md"]
    _, failed = house.get("/api/documents", state="failed")
    assert failed["items"] == []
    paths, cursor = [], ""
    while cursor is not None:
        _, page = house.get("/api/documents", limit=4, cursor=cursor)
        paths += [item["path"] for item in page["items"]]
        cursor = page["next"]
    assert paths == sorted(set(paths))
    assert len(paths) == page["total"]


def test_shelves_add_up_to_the_documents(house: Appliance) -> None:
    _, shelves = house.get("/api/shelves")
    _, page = house.get("/api/documents", limit=500)
    there = [item for item in page["items"] if item["state"] != "missing"]
    assert {"name": "garden", "documents": 1} in shelves["items"]
    assert sum(shelf["documents"] for shelf in shelves["items"]) == len(there)


def test_a_search_finds_the_passage_and_says_how(house: Appliance) -> None:
    status, found = house.get("/api/search", q="Marigold colony inspection")
    assert status == 200
    first = found["items"][0]
    assert first["document"]["path"] == "garden/bees.md"
    assert first["passage"]["heading_path"] == ["Keeping bees on a flat roof", "Inspection"]
    assert "<mark>Marigold</mark>" in first["passage"]["snippet"]
    assert first["found_by"] == ["words", "meaning"]
    assert first["passage"]["page"] is None
    assert found["degraded"] == []
    assert found["took_ms"] >= 0


def test_a_search_by_meaning_finds_what_shares_no_word(house: Appliance) -> None:
    _, found = house.get("/api/search", q="apiary insects honey", shelf="garden")
    assert found["items"][0]["document"]["path"] == "garden/bees.md"


def test_the_href_opens_the_passage(house: Appliance) -> None:
    _, found = house.get("/api/search", q="Marigold colony inspection")
    passage = found["items"][0]["passage"]
    status, _, page = house.request("GET", passage["href"].split("#")[0])
    assert status == 200
    assert passage["href"].endswith("#passage")
    marked = re.findall(r"<mark[^>]*>(.*?)</mark>", page.decode(), re.DOTALL)
    assert html.unescape(" ".join("".join(marked).split())) == passage["text"]
    assert 'id="passage"' in page.decode()


def test_pages_of_results_do_not_overlap(house: Appliance) -> None:
    seen, cursor = [], ""
    for _ in range(4):
        _, found = house.get("/api/search", q="water", limit=5, cursor=cursor)
        seen += [item["passage"]["id"] for item in found["items"]]
        cursor = found["next"]
    assert len(seen) == len(set(seen)) == 20


def test_a_shelf_limits_a_search(house: Appliance) -> None:
    _, found = house.get("/api/search", q="water", shelf="garden", limit=50)
    assert {item["document"]["shelf"] for item in found["items"]} == {"garden"}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "   ",
        "\x00",
        "…",
        "🜁",
        '"',
        "x" * 20_000,
        "'; DROP TABLE documents; --",
        "../../etc/passwd",
        "<script>alert(1)</script>",
    ],
)
def test_no_query_is_an_error(house: Appliance, query: str) -> None:
    status, found = house.get("/api/search", q=query)
    assert status == 200
    assert "items" in found


@pytest.mark.parametrize(
    ("path", "parameters", "status", "parameter"),
    [
        ("/api/search", {"q": "x", "limit": 0}, 400, "limit"),
        ("/api/search", {"q": "x", "limit": 1000}, 400, "limit"),
        ("/api/search", {"q": "x", "limit": "many"}, 400, "limit"),
        ("/api/search", {"q": "x", "cursor": "99999"}, 400, "cursor"),
        ("/api/search", {"q": "x", "cursor": "-1"}, 400, "cursor"),
        ("/api/search", {"q": "x", "cursor": "١"}, 400, "cursor"),
        ("/api/documents", {"limit": -1}, 400, "limit"),
        ("/api/documents", {"state": "burnt"}, 400, "state"),
        ("/api/documents/nobody", {}, 404, None),
        ("/api/passages/nobody", {}, 404, None),
        ("/api/nothing", {}, 404, None),
    ],
)
def test_a_wrong_request_is_answered_with_what_is_wrong(
    house: Appliance, path: str, parameters: dict[str, object], status: int, parameter: str | None
) -> None:
    got, problem = house.get(path, **parameters)
    assert got == status
    assert problem["detail"].endswith(".")
    assert re.fullmatch(r"[a-z_]+", problem["code"])
    assert problem.get("parameter") == parameter


def test_a_problem_has_its_own_media_type(house: Appliance) -> None:
    _, headers, _ = house.request("GET", "/api/documents/nobody")
    assert headers["content-type"].startswith("application/problem+json")


def test_a_wrong_method_is_not_a_500(house: Appliance) -> None:
    assert house.request("DELETE", "/api/documents")[0] == 405
    assert house.request("GET", "/api/ask")[0] == 405


@pytest.mark.parametrize(
    ("method", "body", "says"),
    [
        ("POST", b"", "The body is empty."),
        ("POST", b"[]", "The body is not valid: Expected `object`, got `array`."),
        (
            "POST",
            b'{"question": "' + b"x" * 5_000_000 + b'"}',
            "The body is longer than 4 MiB. Send less at once.",
        ),
        ("PUT", b"{}", "PUT is not done at /api/ask"),
    ],
)
def test_a_body_or_method_that_cannot_be_is_answered_in_words(
    house: Appliance, method: str, body: bytes, says: str
) -> None:
    problem = json.loads(house.request(method, "/api/ask", body, {"content-type": "application/json"})[2])
    assert problem["detail"].startswith(says)
    assert problem.get("parameter") is None


def test_status_and_health(house: Appliance) -> None:
    assert house.get("/healthz")[0] == 200
    assert house.get("/readyz") == (200, {"ready": True, "missing": []})
    status = house.get("/status")[1]
    assert status["ready"]
    assert status["degraded"] == []
    assert status["chunks"] == status["vectors"] == status["indexes"]["lexical"]["chunks"]
    assert status["model"]["state"] == "ready"


def test_an_answer_streams_as_typed_events_and_its_sources_open(house: Appliance) -> None:
    events = house.ask("How often is the colony called Marigold inspected?")
    names = [name for name, _ in events]
    assert names[0] == "passages"
    assert names[-1] == "done"
    assert names.count("done") == 1
    sources = events[0][1]["passages"]
    assert [source["n"] for source in sources] == list(range(1, len(sources) + 1))
    assert sources[0]["document"]["path"] == "garden/bees.md"
    assert all(1 <= body["n"] <= len(sources) for name, body in events if name == "citation")
    assert "".join(body["text"] for name, body in events if name == "token").strip()
    done = events[-1][1]
    assert done["kind"] == "written"
    assert done["usage"]["completion_tokens"] > 0
    for source in sources:
        assert house.request("GET", source["passage"]["href"].split("#")[0])[0] == 200


def test_what_the_library_does_not_hold_is_said_not_to_be_there(house: Appliance) -> None:
    events = house.ask("Who won the Eurovision song contest in 1974?")
    assert events[-1][1]["kind"] == "not_found"
    assert events[0][1]["passages"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"question": ""},
        {"question": "x" * 20_000},
        {"question": 5},
        {"question": "x", "extra": 1},
        [],
        b"{",
    ],
)
def test_a_question_of_the_wrong_shape_is_refused(house: Appliance, body: object) -> None:
    status, _, answer = house.request("POST", "/api/ask", body)
    assert status == 400, answer


def test_a_question_that_is_no_json_is_refused(house: Appliance) -> None:
    status, _, _ = house.request("POST", "/api/ask", b'{"question": "x"}', {"content-type": "text/plain"})
    assert status == 400
