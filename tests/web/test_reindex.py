"""Reindexing over HTTP and from the command line, while the house serves."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.places import ROOT, embedding_model
from tests.running import Appliance, running
from tests.web.test_jobs import FORM, QUIET, listening

pytestmark = [pytest.mark.models, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """With a few notes."""
    embedding_model()
    folder = tmp_path_factory.mktemp("reindex")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    with running(folder, settings=QUIET) as house:
        for n in range(5):
            house.drop(f"s/{n}.md", f"# Note {n}\n\nThe colony number {n} is inspected.\n")
        for n in range(5):
            house.until_state(f"s/{n}.md", "findable")
        yield house


def ended(house: Appliance) -> dict[str, object]:
    told = house.until(lambda: (now := house.get("/api/reindex")[1])["reindex"] is None and now)
    last: dict[str, object] = told["last"]
    return last


def command(house: Appliance, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", "reindex", *arguments, "--url", house.url],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_both_indexes_are_rebuilt_and_search_never_fails_meanwhile(house: Appliance) -> None:
    done, failures = threading.Event(), []

    def ask() -> None:
        while not done.is_set():
            status, found = house.get("/api/search", q="colony")
            if status != 200 or not found["items"] or found["degraded"]:
                failures.append((status, found))

    asker = threading.Thread(target=ask)
    asker.start()
    status, told = house.post("/api/reindex", {"what": "all"})
    assert status == 202
    assert told["last"]["state"] == "running"
    assert told["reindex"]["what"] == "all"
    assert told["reindex"]["cancellable"] is True
    last = ended(house)
    done.set()
    asker.join()
    assert not failures
    assert last["id"] == told["last"]["id"]
    assert last["state"] == "done"
    assert house.get("/api/jobs")[1]["items"][0] == last


def test_both_indexes_say_how_they_are(house: Appliance) -> None:
    lexical, vector = (house.get("/status")[1]["indexes"][side] for side in ("lexical", "vector"))
    for told in (lexical, vector):
        assert (told["state"], told["share"], told["reason"]) == ("ready", None, None)
        assert told["schema"]
        assert told["size_bytes"] > 0
    assert lexical["chunks"] == vector["vectors"] == 5


def test_while_it_goes_on_it_is_told_everywhere_and_a_second_is_refused(house: Appliance) -> None:
    assert house.post("/api/ingest/pause", None)[0] == 200
    try:
        with listening(house) as listener:
            assert house.post("/api/reindex", {"what": "vectors"})[0] == 202
            progress = listener.until("progress", lambda told: told["reindexing"])
            assert progress["reindexing"]["vectors"] == 0
            assert house.get("/api/jobs")[1]["ingest"]["reindexing"]["what"] == "vectors"
            vector = house.get("/status")[1]["indexes"]["vector"]
            assert (vector["state"], vector["share"]) == ("rebuilding", 0.0)
            _, _, page = house.request("GET", "/library")
            assert "Keep the old indexes" in page.decode()
            assert "The index of vectors is 0% built" in page.decode()
            status, problem = house.post("/api/reindex", {"what": "lexical"})
            assert (status, problem["code"]) == (409, "busy")
            assert "almanac reindex --cancel" in problem["detail"]
            refused = command(house, "lexical")
            assert refused.returncode == 1
            assert "are being rebuilt already" in refused.stderr
    finally:
        given_up = command(house, "--cancel", "--json")
        house.post("/api/ingest/resume", None)
    assert given_up.returncode == 0
    assert json.loads(given_up.stdout)["last"]["kind"] == "reindex"
    assert ended(house)["state"] == "cancelled"
    assert house.request("DELETE", "/api/reindex")[0] == 409


def test_the_library_page_gives_it_up_too(house: Appliance) -> None:
    house.post("/api/ingest/pause", None)
    try:
        assert house.post("/api/reindex", {"what": "vectors"})[0] == 202
        status, headers, _ = house.request("POST", "/library/ingest", b"do=cancel-reindex", FORM)
        assert (status, headers["location"]) == (303, "/library")
    finally:
        house.post("/api/ingest/resume", None)
    assert ended(house)["state"] == "cancelled"


def test_the_command_waits_and_says_how_it_ended(house: Appliance) -> None:
    done = command(house, "lexical")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("A new index of words serves.\n")
    done = command(house, "vectors", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["detail"] == "A new index of vectors serves."


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"what": "everything"}, "what"),
        ({"what": 3}, "what"),
        ({"where": "there"}, "where"),
        ({"what": "vectors", "to": "qdrant.lan"}, "address"),
        ({"what": "lexical", "to": "http://qdrant.lan:6333"}, "vectors alone"),
        ({"to": None}, "already"),
        ([], ""),
        (b"\xff{", ""),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(
    house: Appliance, body: object, sentence: str
) -> None:
    status, problem = house.post("/api/reindex", body)
    assert status == 400
    assert sentence in problem["detail"]
    assert house.get("/api/reindex")[1]["reindex"] is None


def test_a_form_on_a_foreign_page_rebuilds_nothing(house: Appliance) -> None:
    status, _, _ = house.request("POST", "/api/reindex", b'{"what":"all"}', {"content-type": "text/plain"})
    assert status == 400


def test_a_server_for_the_vectors_is_not_named_from_elsewhere_in_the_house(house: Appliance) -> None:
    # uvicorn takes the address from a proxy on this machine, and from nobody else.
    status, _, body = house.request(
        "POST", "/api/reindex", {"to": "http://192.0.2.1:6333"}, {"x-forwarded-for": "192.168.1.7"}
    )
    assert status == 403
    assert b"almanac reindex --to URL" in body
    assert house.get("/api/reindex")[1]["reindex"] is None
