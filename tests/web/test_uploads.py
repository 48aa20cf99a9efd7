"""Uploads, sent over HTTP to a running appliance: honest ones, hostile ones, and halves."""

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.places import embedding_model
from tests.running import Appliance, running

pytestmark = pytest.mark.models

BOUNDARY = "----almanac-test"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*files: tuple[str, bytes], shelf: str | None = None) -> bytes:
    before = b"" if shelf is None else part("shelf", shelf.encode())
    return (
        before
        + b"".join(part("files", content, name) for name, content in files)
        + f"--{BOUNDARY}--\r\n".encode()
    )


def upload(house: Appliance, *files: tuple[str, bytes], shelf: str | None = None) -> list[dict[str, Any]]:
    status, _, answer = house.request("POST", "/api/uploads", form(*files, shelf=shelf), FORM)
    assert status == 201, answer
    return json.loads(answer)["items"]  # type: ignore[no-any-return]


def unfinished(house: Appliance) -> list[Path]:
    return list(house.library.rglob(".almanac-upload-*"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A house without a chat model and without books: files arrive and are read, which is all that is asked here."""
    embedding_model()
    folder = tmp_path_factory.mktemp("bare")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    settings = "[ingest]\nsettle_s = 0.2\nmax_file_mib = 300\n[llm]\nenabled = false\n"
    with running(folder, settings=settings) as house:
        yield house


def test_several_files_at_once_are_stored_and_read(bare: Appliance) -> None:
    items = upload(
        bare,
        ("owls.md", b"# Owls\n\nThe barn owl takes four voles.\n"),
        ("bats.txt", b"Bats hang."),
        ("picture.png", b"\x89PNG"),
        shelf="barn",
    )
    assert [(item["name"], item["path"], item["outcome"]) for item in items] == [
        ("owls.md", "barn/owls.md", "stored"),
        ("bats.txt", "barn/bats.txt", "stored"),
        ("picture.png", None, "refused"),
    ]
    assert ".epub" in items[2]["reason"]
    assert (bare.library / "barn" / "bats.txt").read_bytes() == b"Bats hang."
    document = bare.until_state("barn/owls.md", "findable_words", "findable")
    assert document["title"] == "Owls"
    assert unfinished(bare) == []


def test_the_same_file_again_is_already_there_and_its_document_is_named(bare: Appliance) -> None:
    upload(bare, ("mice.txt", b"Mice nibble."), shelf="barn")
    document = bare.until_state("barn/mice.txt", "findable_words", "findable")
    again = upload(bare, ("mice.txt", b"Mice nibble."), shelf="barn")
    assert [(item["outcome"], item["document_id"]) for item in again] == [("already_there", document["id"])]
    other = upload(bare, ("mice.txt", b"Mice squeak."), shelf="barn")
    assert [(item["outcome"], item["path"]) for item in other] == [("stored", "barn/mice (2).txt")]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("../../escaped.md", "escaped.md"),
        ("/etc/absolute.md", "absolute.md"),
        (r"C:\\Users\\me\\windows.md", "windows.md"),
        ("%2e%2e%2fpercent.md", "%2e%2e%2fpercent.md"),
        ("Ἰλιάς 戦争.md", "Ἰλιάς 戦争.md"),
        ("n" * 400 + ".md", "n" * 252 + ".md"),
        ("...", None),
        ("..", None),
        (".hidden.md", None),
        ("~$lock.md", None),
        ("book.md.part", None),
        ("CON.md", None),
        ("line%0Abreak.md", None),
        ("nul%00l.md", None),
    ],
)
def test_a_hostile_name_is_mended_or_refused_and_leads_nowhere(
    bare: Appliance, name: str, path: str | None
) -> None:
    outside = set(bare.folder.rglob("*.md")) - set(bare.library.rglob("*"))
    (item,) = upload(bare, (name, name.encode()))
    if path is None and item["path"] is not None:  # an escape that the form's reader leaves as it is
        assert re.fullmatch(r"[^/\\\x00-\x1f]+", item["path"])
    else:
        assert item["path"] == path
    assert (item["outcome"] == "refused") == (item["path"] is None)
    assert set(bare.folder.rglob("*.md")) - set(bare.library.rglob("*")) == outside
    assert unfinished(bare) == []


@pytest.mark.parametrize("shelf", ["..", "../out", "/etc", "a/b", r"a\b", ".git", "x" * 300, "a\nb", "nul"])
def test_a_hostile_shelf_is_refused(bare: Appliance, shelf: str) -> None:
    status, _, answer = bare.request("POST", "/api/uploads", form(("owls.md", b"hoot"), shelf=shelf), FORM)
    assert status == 400
    assert json.loads(answer)["parameter"] == "shelf"
    assert unfinished(bare) == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", FORM),
        (b"no form at all", FORM),
        (form(), FORM),
        (form(("", b"")), FORM),
        (form(("owls.md", b"hoot"))[:-10], FORM),
        (b"--" + BOUNDARY.encode() + b"\r\nX: y\r\n\r\nz\r\n--" + BOUNDARY.encode() + b"--\r\n", FORM),
        (form(("owls.md", b"hoot")), {"content-type": "multipart/form-data"}),
        (form(("owls.md", b"hoot")), {"content-type": "application/json"}),
        (part("files", b"hoot", "a.md") + form(("b.md", b"hoot"), shelf="late"), FORM),
        (part("note", b"x" * 10_000) + form(("b.md", b"hoot")), FORM),
    ],
)
def test_what_is_no_form_is_refused_and_leaves_nothing(
    bare: Appliance, body: bytes, headers: dict[str, str]
) -> None:
    before = set(bare.library.rglob("*"))
    status, answered, answer = bare.request("POST", "/api/uploads", body, headers)
    assert status == 400, answer
    assert answered["content-type"].startswith("application/problem+json")
    assert set(bare.library.rglob("*")) == before


def test_a_page_of_another_site_cannot_upload(bare: Appliance) -> None:
    for path in ("/api/uploads", "/library/uploads"):
        for foreign in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
        ):
            assert bare.request("POST", path, form(("foreign.md", b"hoot")), FORM | foreign)[0] == 403
    assert not (bare.library / "foreign.md").exists()


def test_a_client_that_vanishes_leaves_nothing(bare: Appliance) -> None:
    body = form(("first.md", b"whole"), ("second.md", b"x" * 3_000_000))
    head = f"POST /api/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['content-type']}\r\n"
    for sent in (2_000_000, 2_900_000):
        with socket.create_connection((urlsplit(bare.url).hostname, urlsplit(bare.url).port)) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:sent])
            bare.until(lambda: len(unfinished(bare)) == 2)
        bare.until(lambda: not unfinished(bare))
    assert not (bare.library / "first.md").exists()
    assert not (bare.library / "second.md").exists()


def test_many_uploads_of_one_name_at_once_all_arrive(bare: Appliance) -> None:
    found: list[dict[str, Any]] = []
    threads = [
        threading.Thread(
            target=lambda n=n: found.extend(upload(bare, ("twins.txt", b"twin %d" % n), shelf="same"))
        )
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({item["path"] for item in found}) == 12
    contents = {path.read_bytes() for path in (bare.library / "same").iterdir()}
    assert contents == {b"twin %d" % n for n in range(12)}


def resident_mib(pid: int, field: str) -> float:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found.group(1)) / 1024


def send_generated(house: Appliance, name: str, mib: int) -> tuple[int, Any]:
    """A file that exists nowhere, sent as it is made."""
    head, tail = part("files", b"", name)[:-2], f"\r\n--{BOUNDARY}--\r\n".encode()
    piece = (b"Nothing to be read here. " * 41_944)[: 1024 * 1024]
    connection = http.client.HTTPConnection(urlsplit(house.url).netloc, timeout=120)
    connection.putrequest("POST", "/api/uploads")
    connection.putheader("content-type", FORM["content-type"])
    connection.putheader("content-length", str(len(head) + mib * len(piece) + len(tail)))
    connection.endheaders(head)
    for _ in range(mib):
        connection.send(piece)
    connection.send(tail)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def test_a_large_file_is_never_in_memory(bare: Appliance) -> None:
    assert bare.process
    bare.post("/api/ingest/pause", None)
    try:
        send_generated(bare, "warm.txt", 4)
        before = resident_mib(bare.process.pid, "VmRSS")
        Path(f"/proc/{bare.process.pid}/clear_refs").write_text("5")  # forget the highest so far
        status, answer = send_generated(bare, "large.txt", 250)
        grown = resident_mib(bare.process.pid, "VmHWM") - before
        assert (status, answer["items"][0]["outcome"]) == (201, "stored")
        assert (bare.library / "large.txt").stat().st_size == 250 * 1024 * 1024
        assert grown < 40, f"{grown:.0f} MiB for a file of 250"
    finally:
        for name in ("warm.txt", "large.txt"):
            (bare.library / name).unlink()
        bare.post("/api/ingest/cancel", None)
        bare.post("/api/ingest/resume", None)


def test_a_file_that_is_too_large_is_refused_with_the_limit_and_leaves_nothing(bare: Appliance) -> None:
    status, answer = send_generated(bare, "too-large.txt", 301)
    (item,) = answer["items"]
    assert (status, item["outcome"]) == (201, "refused")
    assert "larger than 300 MiB" in item["reason"]
    assert unfinished(bare) == []
    assert not (bare.library / "too-large.txt").exists()


def test_other_routes_still_refuse_large_bodies(bare: Appliance) -> None:
    assert bare.request("POST", "/api/ask", b"x" * 5_000_000)[0] == 413


def test_a_form_without_scripts_leads_back_to_the_page_that_tells_what_became_of_it(bare: Appliance) -> None:
    body = form(("plain.md", b"# Plain\n\nWords.\n"), ("odd<b>.exe", b"MZ"))
    status, headers, _ = bare.request("POST", "/library/uploads?shelf=barn", body, FORM)
    assert status == 303
    assert headers["location"].startswith("/library?shelf=barn&uploaded=")
    page = bare.request("GET", headers["location"])[2].decode()
    assert "stored as <bdi>plain.md</bdi>" in page
    assert "odd&lt;b&gt;.exe" in page
    assert "cannot be read. Readable are:" in page
    assert bare.request("GET", "/library?uploaded=nothing-of-the-kind")[0] == 200


def test_low_disk_refuses_and_says_so(data_folder: Path) -> None:
    settings = "[ingest]\nmin_free_mib = 900000000\n[llm]\nenabled = false\n"
    with running(data_folder, settings=settings, models=None, ready=False) as house:
        house.until(house.library.exists)
        (item,) = upload(house, ("owls.md", b"hoot"))
        assert item["outcome"] == "refused"
        assert "ingest.min_free_mib" in item["reason"]
        assert list(house.library.iterdir()) == []


def test_what_a_crash_left_of_an_upload_is_gone_after_the_next_start(data_folder: Path) -> None:
    house = Appliance(data_folder, settings="[llm]\nenabled = false\n", models=None).start(ready=False)
    try:
        house.until(house.library.exists)
        head = f"POST /api/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['content-type']}\r\n"
        with socket.create_connection((urlsplit(house.url).hostname, urlsplit(house.url).port)) as client:
            client.sendall(
                f"{head}Content-Length: 9000000\r\n\r\n".encode() + form(("a.md", b"x" * 2_000_000))
            )
            house.until(lambda: unfinished(house))
            house.kill()
        assert unfinished(house)
        house.start(ready=False)
        assert unfinished(house) == []
    finally:
        house.stop()


def test_a_file_already_complete_in_a_form_waits_for_the_rest(bare: Appliance) -> None:
    body = form(("patient.md", b"whole"), ("late.md", b"late"))
    cut = body.index(b"late.md")
    head = f"POST /api/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['content-type']}\r\n"
    with socket.create_connection((urlsplit(bare.url).hostname, urlsplit(bare.url).port)) as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:cut])
        bare.until(lambda: unfinished(bare))
        assert not (bare.library / "patient.md").exists()
        client.sendall(body[cut:])
        assert client.recv(100).startswith(b"HTTP/1.1 201")
    assert (bare.library / "patient.md").read_bytes() == b"whole"
