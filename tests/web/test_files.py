"""A document's own file over HTTP: whole, in part, not at all, and never half of one edition and half of another."""

import contextlib
import http.client
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.places import embedding_model
from tests.running import Appliance, running
from web.files import disposition

pytestmark = pytest.mark.models

READ = ("findable_words", "findable")
CONTENT = "".join(f"Line {n} of a text that is long enough to be cut.\n\n" for n in range(20_000)).encode()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    embedding_model()
    folder = tmp_path_factory.mktemp("files")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    settings = "[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n"
    with running(folder, settings=settings, ready=False) as house:
        house.drop("shelf/long.txt", CONTENT)
        house.drop('shelf/Čtení "nahlas"; 100%.txt', "Something else to read aloud.\n")
        house.until_state("shelf/long.txt", *READ)
        house.until_state('shelf/Čtení "nahlas"; 100%.txt', *READ)
        yield house


def address(house: Appliance, path: str = "shelf/long.txt") -> str:
    document = house.document(path)
    assert document
    return f"/api/documents/{document['id']}/file"


def fetch(
    house: Appliance, headers: dict[str, str] | None = None, method: str = "GET", path: str = "shelf/long.txt"
) -> tuple[int, dict[str, str], bytes]:
    status, given, body = house.request(method, address(house, path), None, headers)
    return status, {name.lower(): value for name, value in given.items()}, body


def test_the_file_comes_byte_for_byte_with_its_name_and_no_rights(house: Appliance) -> None:
    status, headers, body = fetch(house)
    assert (status, body) == (200, CONTENT)
    assert headers["content-type"] == "text/plain"
    assert headers["content-length"] == str(len(CONTENT))
    assert headers["content-disposition"].startswith('attachment; filename="long.txt"')
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-content-type-options"] == "nosniff"
    assert re.fullmatch(r'"[0-9a-f]{64}"', headers["etag"])


def test_a_file_that_is_shown_after_all_is_shown_in_a_sandbox(house: Appliance) -> None:
    connection = http.client.HTTPConnection(urlsplit(house.url).netloc)
    with contextlib.closing(connection):
        connection.request("HEAD", address(house))
        policies = connection.getresponse().headers.get_all("content-security-policy")
    assert policies is not None
    assert policies[0] == "sandbox; default-src 'none'"  # of several, a browser obeys each


def test_head_says_the_same_without_the_bytes(house: Appliance) -> None:
    _, whole, _ = fetch(house)
    status, headers, body = fetch(house, method="HEAD")
    assert (status, body) == (200, b"")
    own = {"date": "", "x-request-id": ""}  # of each request
    assert headers | own == whole | own


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("Bytes=10-19", 10, 19),
        ("bytes=300000-700000", 300_000, 700_000),
        (f"bytes={len(CONTENT) - 5}-", len(CONTENT) - 5, len(CONTENT) - 1),
        ("bytes=-7", len(CONTENT) - 7, len(CONTENT) - 1),
        ("bytes=-99999999999", 0, len(CONTENT) - 1),
        ("bytes=5-999999999999999999", 5, len(CONTENT) - 1),
    ],
)
def test_a_range_is_sent_alone(house: Appliance, asked: str, first: int, last: int) -> None:
    status, headers, body = fetch(house, {"range": asked})
    assert status == 206
    assert body == CONTENT[first : last + 1]
    assert headers["content-range"] == f"bytes {first}-{last}/{len(CONTENT)}"
    assert headers["content-length"] == str(len(body))
    assert fetch(house, {"range": asked}, "HEAD")[1]["content-range"] == headers["content-range"]


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=9-3",
        "bytes=0-1,5-6",
        "lines=0-5",
        "bytes=--5",
        "bytes=0x0-0x5",
        "bytes=٠-٥",
        "bytes=0-" + "9" * 5000,
        "bytes=" + ",".join("0-0" for _ in range(5000)),
    ],
)
def test_a_range_that_is_none_is_passed_over(house: Appliance, asked: str) -> None:
    status, _, body = house.request("GET", address(house), None, {"range": asked.encode().decode("latin-1")})
    assert (status, body) == (200, CONTENT)


@pytest.mark.parametrize("asked", [f"bytes={len(CONTENT)}-", "bytes=99999999999-", "bytes=-0"])
def test_a_range_beyond_the_file_is_refused_with_its_size(house: Appliance, asked: str) -> None:
    status, headers, body = fetch(house, {"range": asked})
    assert status == 416
    assert headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert headers["content-type"].startswith("application/problem+json")
    assert b"none of those asked for" in body


def test_who_has_it_is_not_sent_it_again(house: Appliance) -> None:
    _, headers, _ = fetch(house)
    etag, changed = headers["etag"], headers["last-modified"]
    for known in (
        {"if-none-match": etag},
        {"if-none-match": f'"other", W/{etag}'},
        {"if-none-match": "*"},
        {"if-modified-since": changed},
        {"if-none-match": etag, "if-modified-since": "Thu, 01 Jan 1970 00:00:01 GMT"},
        {"if-none-match": etag, "range": "bytes=0-5"},
    ):
        status, again, body = fetch(house, known)
        assert (status, body, again["etag"]) == (304, b"", etag), known
    for unknown in (
        {"if-none-match": '"other"'},
        {"if-none-match": '"other"', "if-modified-since": changed},
        {"if-modified-since": "Thu, 01 Jan 1970 00:00:01 GMT"},
        {"if-modified-since": "yesterday"},
        {"if-modified-since": "Thu, 01 Jan 2099 00:00:01 -0000"},
    ):
        assert fetch(house, unknown)[0] == 200, unknown


def test_a_download_is_taken_up_only_where_the_file_is_the_same(house: Appliance) -> None:
    _, headers, _ = fetch(house)
    for same in (headers["etag"], headers["last-modified"]):
        assert fetch(house, {"range": "bytes=5-9", "if-range": same})[0] == 206
    for other in ('"other"', f"W/{headers['etag']}", "Thu, 01 Jan 1970 00:00:01 GMT", ""):
        assert fetch(house, {"range": "bytes=5-9", "if-range": other})[0] == 200


def test_a_name_that_is_no_ascii_is_told_both_ways(house: Appliance) -> None:
    _, headers, body = fetch(house, path='shelf/Čtení "nahlas"; 100%.txt')
    assert body == b"Something else to read aloud.\n"
    assert headers["content-disposition"] == (
        'attachment; filename="Cteni _nahlas__ 100_.txt"; '
        "filename*=UTF-8''%C4%8Cten%C3%AD%20%22nahlas%22%3B%20100%25.txt"
    )


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("草枕.epub", "document.epub"),
        ("مقدمة.pdf", "document.pdf"),
        ("a\r\nset-cookie: x.txt", "a__set-cookie: x.txt"),
        ("..", ".."),
        ("x" * 300 + ".txt", "x" * 300 + ".txt"),
        ("\udcff.txt", "document.txt"),
        ("no ending", "no ending"),
        ("日本", "document"),
    ],
)
def test_no_name_breaks_out_of_its_header(name: str, plain: str) -> None:
    told = disposition(name)
    assert f'filename="{plain}"' in told
    assert told.isascii()
    assert told.isprintable()


@pytest.mark.parametrize(
    "path",
    [
        "/api/documents/nobody/file",
        "/api/documents/..%2f..%2fetc%2fpasswd/file",
        "/api/documents/%00/file",
        "/api/documents/shelf%2Flong.txt/file",
        "/api/documents/" + "x" * 5000 + "/file",
    ],
)
def test_only_documents_have_files(house: Appliance, path: str) -> None:
    for method in ("GET", "HEAD"):
        assert house.request(method, path)[0] == 404, path


def test_a_file_that_is_gone_is_said_to_be(house: Appliance) -> None:
    house.drop("shelf/short.txt", "Here for a short while.\n")
    document = house.until_state("shelf/short.txt", *READ)
    (house.library / "shelf" / "short.txt").unlink()
    place = f"/api/documents/{document['id']}/file"
    status, problem = house.get(place)  # at once, and again when the record knows it, too
    assert (status, problem["code"]) == (404, "file_gone")
    house.until_state("shelf/short.txt", "missing")
    status, problem = house.get(place)
    assert (status, problem["code"]) == (404, "file_gone")
    assert problem["detail"].startswith("The file 'shelf/short.txt' is not in the library folder")


@pytest.mark.parametrize("kind", ["link out", "folder", "pipe", "link folder out"])
def test_what_takes_a_files_place_is_not_handed_out(house: Appliance, kind: str, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("secret")
    folder = f"swapped-{kind.replace(' ', '-')}"
    house.drop(f"{folder}/long.txt", f"Taken out later: {kind}.\n")
    document = house.until_state(f"{folder}/long.txt", *READ)
    place = house.library / folder / "long.txt"
    place.unlink()
    if kind == "link out":
        place.symlink_to(tmp_path / "long.txt")
    elif kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.parent.rmdir()
        place.parent.symlink_to(tmp_path)
    status, problem = house.get(f"/api/documents/{document['id']}/file")
    assert (status, problem["code"]) == (404, "file_gone")


def test_a_new_edition_goes_by_another_tag_at_once(house: Appliance) -> None:
    house.drop("shelf/edition.txt", "First edition.\n")
    house.until_state("shelf/edition.txt", *READ)
    _, first, _ = fetch(house, path="shelf/edition.txt")
    house.drop("shelf/edition.txt", "Second edition, and longer.\n")
    status, second, body = fetch(house, {"if-none-match": first["etag"]}, path="shelf/edition.txt")
    assert (status, body) == (200, b"Second edition, and longer.\n")
    assert second["etag"] != first["etag"]


@pytest.mark.parametrize("change", ["grown", "cut", "rewritten"])
def test_a_file_that_changes_on_the_way_is_never_sent_to_its_end(house: Appliance, change: str) -> None:
    name = f"shelf/{change}.cbz"  # which Almanac cannot read, and hands out all the same
    line = b"A line of what it was before.\n\n"
    house.drop(name, line * 2_000_000)  # more than all buffers between here and there hold
    document = house.until_state(name, "failed")
    with socket.create_connection((urlsplit(house.url).hostname, urlsplit(house.url).port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.sendall(
            f"GET /api/documents/{document['id']}/file HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        )
        response = http.client.HTTPResponse(connection)
        response.begin()
        promised = int(response.headers["content-length"])
        begun = response.read(1000)
        with (house.library / name).open("r+b") as file:
            if change == "grown":
                file.seek(0, os.SEEK_END)
                file.write(b"more")
            elif change == "cut":
                file.truncate(5000)
            else:
                file.write(b"B")
        with pytest.raises(http.client.IncompleteRead) as raised:
            response.read()
        assert begun + raised.value.partial == (line * 2_000_000)[: 1000 + len(raised.value.partial)]
        assert 1000 + len(raised.value.partial) < promised
    (house.library / name).unlink()
    assert house.get("/healthz")[0] == 200


def test_a_client_that_leaves_is_not_read_for(house: Appliance) -> None:
    house.drop("shelf/wide.cbz", b"Nobody waits for the end of this.\n\n" * 2_000_000)
    document = house.until_state("shelf/wide.cbz", "failed")
    assert house.process

    def held() -> bool:
        for link in Path(f"/proc/{house.process.pid}/fd").iterdir():  # type: ignore[union-attr]
            with contextlib.suppress(OSError):
                if str(link.readlink()).endswith("wide.cbz"):
                    return True
        return False

    with socket.create_connection((urlsplit(house.url).hostname, urlsplit(house.url).port)) as connection:
        connection.sendall(
            f"GET /api/documents/{document['id']}/file HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        )
        connection.recv(1000)
        house.until(held, 10)
    house.until(lambda: not held(), 10)
    (house.library / "shelf" / "wide.cbz").unlink()


def test_a_foreign_name_gets_no_file(house: Appliance) -> None:
    assert fetch(house, {"host": "evil.example"})[0] == 403
