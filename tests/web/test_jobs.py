"""Jobs, decisions and events, over HTTP."""

import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.places import ROOT, embedding_model
from tests.running import Appliance, running

pytestmark = [
    pytest.mark.models,
    pytest.mark.timeout(90),
]  # a stream that says nothing must not keep us waiting

QUIET = "[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A house without a chat model and without books."""
    embedding_model()
    folder = tmp_path_factory.mktemp("quiet")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    with running(folder, settings=QUIET) as house:
        yield house


class Listening:
    """An open /api/events, read an event at a time."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        self._connection.request("GET", "/api/events")
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        assert self._response.headers["content-type"].startswith("text/event-stream")

    def event(self) -> tuple[str, Any] | None:
        """The next event; None at the stream's orderly end."""
        name = ""
        while line := self._response.readline():
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                return name, json.loads(value)
        return None

    def until(self, name: str, wanted: Any) -> Any:
        while found := self.event():
            if found[0] == name and wanted(found[1]):
                return found[1]
        raise AssertionError("the stream has ended")

    def close(self) -> None:
        self._response.close()
        self._connection.close()


@contextmanager
def listening(house: Appliance) -> Iterator[Listening]:
    listener = Listening(house.url)
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def paused(house: Appliance) -> Iterator[None]:
    assert house.post("/api/ingest/pause", None)[1]["paused"] is True
    try:
        yield
    finally:
        assert house.post("/api/ingest/resume", None)[1]["paused"] is False


def test_jobs_tell_how_far_ingest_has_come_and_the_numbers_add_up(quiet: Appliance) -> None:
    quiet.drop("barn/owls.md", "# Owls\n\nThe barn owl takes four voles.\n")
    quiet.until_state("barn/owls.md", "findable")
    quiet.request("POST", "/api/scan")
    status, answer = quiet.get("/api/jobs")
    ingest = answer["ingest"]
    assert status == 200
    assert sum(ingest["documents"].values()) == ingest["total"] == quiet.get("/api/documents")[1]["total"]
    assert (ingest["paused"], ingest["to_read"], ingest["to_embed"], ingest["share"]) == (False, 0, 0, 1)
    assert ingest["chunks"] == ingest["embedded"] > 0
    assert ingest["summary"] == "Everything has been read."
    assert answer["items"][0]["kind"] == "scan"
    assert answer["items"][0]["state"] == "done"
    status_of_ingest = quiet.get("/status")[1]["ingest"]
    assert status_of_ingest.keys() == {*ingest, "last_scan", "watched_by", "passed_over"}
    assert status_of_ingest["watched_by"] == "events"


def test_pause_keeps_documents_waiting_until_resumed(quiet: Appliance) -> None:
    with paused(quiet):
        quiet.drop("barn/bats.md", "# Bats\n\nBats hang from the beams.\n")
        quiet.until_state("barn/bats.md", "waiting")
        ingest = quiet.get("/api/jobs")[1]["ingest"]
        assert (ingest["paused"], ingest["to_read"]) == (True, 1)
        assert ingest["summary"].startswith("Paused.")
        assert ingest["share"] < 1
        assert quiet.post("/api/ingest/pause", None)[0] == 200  # may be repeated
    quiet.until_state("barn/bats.md", "findable")


def test_one_document_can_be_cancelled_and_retried(quiet: Appliance) -> None:
    with paused(quiet):
        quiet.drop("barn/mice.md", "# Mice\n\nMice nibble.\n")
        id_ = quiet.until_state("barn/mice.md", "waiting")["id"]
        status, document = quiet.post(f"/api/documents/{id_}/cancel", None)
        assert (status, document["state"]) == (200, "failed")
        assert "cancelled" in document["reason"]
        status, problem = quiet.post(f"/api/documents/{id_}/cancel", None)
        assert (status, problem["code"]) == (409, "state_conflict")
        assert "barn/mice.md" in problem["detail"]
        status, document = quiet.post(f"/api/documents/{id_}/retry", None)
        assert (status, document["state"], document["reason"]) == (200, "waiting", None)
        assert quiet.post(f"/api/documents/{id_}/retry", None)[0] == 409
    quiet.until_state("barn/mice.md", "findable")


def test_all_unfinished_can_be_cancelled_and_all_failed_retried(quiet: Appliance) -> None:
    with paused(quiet):
        for n in range(3):
            quiet.drop(f"barn/hen-{n}.md", f"# Hen {n}\n\nA hen named {n}.\n")
        for n in range(3):
            quiet.until_state(f"barn/hen-{n}.md", "waiting")
        status, answer = quiet.post("/api/ingest/cancel", None)
        assert (status, answer["documents"], answer["ingest"]["documents"]["failed"]) == (200, 3, 3)
        assert quiet.post("/api/ingest/cancel", None)[1]["documents"] == 0
        status, answer = quiet.post("/api/documents/retry", None)
        assert (status, answer["documents"], answer["ingest"]["to_read"]) == (200, 3, 3)
    for n in range(3):
        quiet.until_state(f"barn/hen-{n}.md", "findable")


@pytest.mark.parametrize("path", ["/api/documents/nothing/retry", "/api/documents/nothing/cancel"])
def test_a_document_that_is_not_there_is_a_404(quiet: Appliance, path: str) -> None:
    status, problem = quiet.post(path, None)
    assert (status, problem["code"]) == (404, "document_not_found")


@pytest.mark.parametrize(
    "path",
    [
        "/api/ingest/pause",
        "/api/ingest/resume",
        "/api/ingest/cancel",
        "/api/documents/retry",
        "/library/ingest",
    ],
)
def test_a_page_of_another_site_decides_nothing(quiet: Appliance, path: str) -> None:
    status, _, _ = quiet.request("POST", path, b"do=pause", FORM | {"origin": "http://evil.example"})
    assert status == 403
    assert quiet.get("/api/jobs")[1]["ingest"]["paused"] is False


def test_plain_forms_decide_and_lead_back(quiet: Appliance) -> None:
    def send(query: str = "", **fields: str) -> tuple[int, str]:
        status, headers, _ = quiet.request(
            "POST", f"/library/ingest{query}", urlencode(fields).encode(), FORM
        )
        return status, headers.get("location", "")

    assert send("?shelf=barn&state=failed", do="pause") == (303, "/library?shelf=barn&state=failed")
    quiet.drop("barn/cats.md", "# Cats\n\nCats wait.\n")
    id_ = quiet.until_state("barn/cats.md", "waiting")["id"]
    page = quiet.request("GET", "/library")[2].decode()
    assert "Resume" in page
    assert f'value="{id_}"' in page
    assert send(do="cancel", document=id_) == (303, "/library")
    assert send(do="cancel", document=id_)[0] == 409
    assert send(do="cancel", document="nothing")[0] == 404
    assert send(do="retry") == (303, "/library")
    assert send(do="fly")[0] == 400
    assert send()[0] == 400
    assert send(do="pause", document=id_)[0] == 400
    assert send(do="resume") == (303, "/library")
    quiet.until_state("barn/cats.md", "findable")


def test_events_begin_with_the_whole_truth_and_then_tell_what_changes(quiet: Appliance) -> None:
    with listening(quiet) as first:
        assert first.event() == ("progress", quiet.get("/api/jobs")[1]["ingest"])
        name, changes = first.event() or ("", {})
        assert (name, changes["reload"]) == ("documents", True)
        quiet.drop("barn/dogs.md", "# Dogs\n\nDogs bark.\n")
        found = first.until(
            "documents",
            lambda body: any((i["path"], i["state"]) == ("barn/dogs.md", "findable") for i in body["items"]),
        )
        assert found["reload"] is False
        (item,) = [item for item in found["items"] if item["path"] == "barn/dogs.md"]
        assert {"id", "path", "title", "state", "reason", "chunks", "progress", "updated_at"} == item.keys()
        with listening(quiet) as second:  # while the first goes on
            assert (second.event() or ("",))[0] == "progress"
            name, changes = second.event() or ("", {})
            assert changes["reload"] is True
            assert item in changes["items"]
        quiet.drop("barn/broken.epub", b"PK\x03\x04 no book")
        failed = first.until(
            "documents", lambda body: any(item["state"] == "failed" for item in body["items"])
        )
        assert failed["items"][0]["reason"]
    (quiet.library / "barn" / "broken.epub").unlink()


def test_more_changes_than_an_event_holds_come_with_a_hint_to_reload(quiet: Appliance) -> None:
    with paused(quiet), listening(quiet) as listener:
        listener.until("documents", lambda body: body["reload"])
        for n in range(250):
            quiet.drop(f"flock/sheep-{n}.txt", f"sheep {n}")
        quiet.until(lambda: quiet.get("/api/documents", shelf="flock")[1]["total"] == 250)
        quiet.post("/api/ingest/cancel", None)
        progress = listener.until("progress", lambda body: body["documents"]["failed"] == 250)
        assert sum(progress["documents"].values()) == progress["total"]
        told = listener.until(
            "documents",
            lambda body: body["reload"] and {item["state"] for item in body["items"]} == {"failed"},
        )
        assert len(told["items"]) == 100
    for n in range(250):
        (quiet.library / "flock" / f"sheep-{n}.txt").unlink()


def test_many_listeners_are_told_the_same_and_their_leaving_is_noticed(quiet: Appliance) -> None:
    listeners = [Listening(quiet.url) for _ in range(40)]
    with paused(quiet):
        for listener in listeners:
            assert listener.until("progress", lambda body: body["paused"])["paused"]
    for listener in listeners[:-1]:
        listener.close()
    listeners[-1].until("progress", lambda body: not body["paused"])
    listeners[-1].close()


def test_listeners_let_the_house_close(data_folder: Path) -> None:
    embedding_model()
    ends: list[object] = []
    with running(data_folder, settings=QUIET) as house:
        listeners = [Listening(house.url) for _ in range(3)]
        for listener in listeners:
            listener.until("documents", lambda body: body["reload"])

        def listen(listener: Listening) -> None:
            while (event := listener.event()) is not None:
                assert event
            ends.append(None)

        threads = [threading.Thread(target=listen, args=(listener,)) for listener in listeners]
        for thread in threads:
            thread.start()
        assert house.stop() == 0
        for thread in threads:
            thread.join(10)
    for listener in listeners:
        listener.close()
    assert ends == [None, None, None]  # an orderly end each; a stream that is cut off raises IncompleteRead


def test_the_whole_library_is_proven_on_demand(house: Appliance) -> None:
    _, headers, body = house.request("POST", "/api/ingest/verify", {})
    assert headers["content-type"].startswith("text/event-stream")
    blocks = [
        dict(line.split(": ", 1) for line in block.split("\n"))
        for block in body.decode().strip().split("\n\n")
    ]
    assert {block["event"] for block in blocks} == {"progress", "done"}
    done = json.loads(blocks[-1]["data"])
    assert done["lost"] == 0
    assert done["checked"] == house.get("/status")[1]["documents"]["findable"] > 10


def test_the_command_proves_the_library_too(house: Appliance) -> None:
    command = [sys.executable, "-m", "appliance", "ingest", "--verify", "--json", "--url", house.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["lost"] == []
