"""What only a server can do: be away, refuse a key, be asked in a certain way.

A small HTTP server that writes down what it is asked stands in for Qdrant's;
the client is qdrant-client itself.
"""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from appliance.config import Config, SearchConfig, VectorServerConfig, load_config
from appliance.preflight import Outcome, _vector_server
from appliance.vector_places import server_settings
from library.errors import ConfigurationError, IndexUnavailable
from library.values import IndexedChunk, Labels
from search.vectors.server import ServerIndex, ServerSettings, reach
from search.vectors.troubles import shown
from tests.places import ROOT

D = 4
VECTOR = [1.0, 0.0, 0.0, 0.0]
CHUNK = IndexedChunk("00000000-0000-0000-0000-000000000001", "doc", 0, Labels("s"), (), "")


class Asked:
    """What the stand-in was asked, and what it answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any, str | None]] = []
        self.status, self.exists = 200, False
        self.size, self.is_qdrant, self.owner = D, True, "house 1"

    def answer(self, method: str, path: str) -> Any:
        if path.endswith("/exists"):
            return {"exists": self.exists}
        if method == "GET":
            return {
                "status": "green", "optimizer_status": "ok", "segments_count": 1, "payload_schema": {},
                "config": {
                    "params": {"vectors": {"size": self.size, "distance": "Cosine"}},
                    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
                    "optimizer_config": {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
                                         "default_segment_number": 0, "flush_interval_sec": 5},
                    "metadata": {"almanac_labels": 2, "almanac_house": self.owner},
                },
            }  # fmt: skip
        if path.endswith("/query"):
            return {"points": [{"id": CHUNK.id, "version": 1, "score": 0.5}]}
        if path.endswith("/count"):
            return {"count": 1} if self.is_qdrant else "hello"
        return {"operation_id": 1, "status": "completed"} if "points" in path or "index" in path else True


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def url(asked: Asked) -> Iterator[str]:
    class Server(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked.requests.append(
                (self.command, self.path, json.loads(body) if body else None, self.headers.get("api-key"))
            )
            said = json.dumps(
                {"result": asked.answer(self.command, self.path), "status": "ok", "time": 0}
            ).encode()
            self.send_response(asked.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(url: str, clock: Clock | None = None, **settings: Any) -> ServerIndex:
    settings = {"timeout_s": 2, **settings}
    return ServerIndex(
        ServerSettings(url, **settings), model="mini-1", dimensions=D, owner="house 1", clock=clock or Clock()
    )


def test_nothing_is_asked_before_it_is_used(url: str, asked: Asked) -> None:
    index = opened(url)
    assert index.state().place == url
    index.close()
    assert asked.requests == []


def test_every_setting_and_the_key_are_passed_on(url: str, asked: Asked) -> None:
    index = opened(
        url, key="secret", collection="home", shards=3, replicas=2, write_replicas=2, on_disk=False
    )
    index.upsert([CHUNK], [VECTOR])
    index.close()
    assert {key for *_, key in asked.requests} == {"secret"}
    [made] = [
        body
        for method, path, body, _ in asked.requests
        if (method, path) == ("PUT", "/collections/home-mini-1")
    ]
    assert made["shard_number"] == 3
    assert made["replication_factor"] == 2
    assert made["write_consistency_factor"] == 2
    assert made["vectors"] == {"size": D, "distance": "Cosine", "on_disk": False}
    assert made["quantization_config"]["scalar"]["type"] == "int8"
    assert made["metadata"] == {"almanac_labels": 2, "almanac_house": "house 1"}
    indexed = {
        body["field_name"]: body["field_schema"] for _, path, body, _ in asked.requests if "/index" in path
    }
    assert indexed["authors"] == "keyword"
    assert indexed["year"] == "integer"
    [put] = [path for _, path, *_ in asked.requests if "/points" in path]
    assert "wait=true" in put  # durable on return
    assert "secret" not in repr(index._settings)


def test_a_collection_that_is_there_is_not_made_again(url: str, asked: Asked) -> None:
    asked.exists = True
    index = opened(url)
    assert [c.id for c in index.search(VECTOR, limit=3)] == [CHUNK.id]
    assert index.labelled()
    index.close()
    assert not [path for method, path, *_ in asked.requests if method == "PUT" and path.count("/") == 2]


def test_a_collection_of_other_dimensions_is_left_alone(url: str, asked: Asked) -> None:
    asked.exists, asked.size = True, 768
    index = opened(url)
    with pytest.raises(IndexUnavailable, match=r"768 dimensions.*search.vector_server.collection"):
        index.upsert([CHUNK], [VECTOR])
    index.close()
    assert not [method for method, *_ in asked.requests if method != "GET"]


def test_a_collection_of_another_library_is_left_alone(url: str, asked: Asked) -> None:
    asked.exists, asked.owner = True, "house 2"
    index = opened(url)
    for change in (lambda: index.upsert([CHUNK], [VECTOR]), index.clear, index.erase):
        with pytest.raises(IndexUnavailable, match="belongs to another library"):
            change()
    assert not [method for method, *_ in asked.requests if method != "GET"]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "refuses the key.*ALMANAC_VECTOR_KEY"),
        (403, "refuses the key"),
        (404, "no longer has the collection"),
        (400, "refused what it was asked"),
        (503, "fails .HTTP 503"),
    ],
)
def test_a_refusal_is_told_in_words(url: str, asked: Asked, status: int, sentence: str) -> None:
    asked.exists = True
    index = opened(url)
    index.count()
    asked.status = status
    with pytest.raises(IndexUnavailable, match=sentence):
        index.search(VECTOR, limit=1)
    index.close()


def test_what_is_no_qdrant_server_is_said(url: str, asked: Asked) -> None:
    asked.exists, asked.is_qdrant = True, False
    index = opened(url)
    with pytest.raises(IndexUnavailable, match="no Qdrant server"):
        index.count()
    index.close()


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_server_that_is_away_is_said_at_once_and_asked_again_later() -> None:
    clock, tries = Clock(), []
    index = opened(f"http://127.0.0.1:{closed_port()}", clock)
    connect = index._connect
    index._connect = lambda: tries.append(1) or connect()  # type: ignore[func-returns-value, assignment]
    with pytest.raises(IndexUnavailable, match="does not answer"):
        index.search(VECTOR, limit=1)
    index._connect = lambda: pytest.fail("asked too early")  # type: ignore[assignment]
    client, index._client = index._client, None
    with pytest.raises(IndexUnavailable, match="does not answer"):
        index.search(VECTOR, limit=1)
    assert "does not answer" in str(index.state().trouble)
    index._client = client
    clock.now += 6
    with pytest.raises(IndexUnavailable, match="does not answer"):
        index.search(VECTOR, limit=1)
    index.close()


def test_a_server_that_comes_back_is_used_again(url: str, asked: Asked) -> None:
    clock = Clock()
    asked.exists, asked.status = True, 503
    index = opened(url, clock)
    with pytest.raises(IndexUnavailable):
        index.search(VECTOR, limit=1)
    asked.status = 200
    clock.now += 6
    assert index.search(VECTOR, limit=1)
    assert index.state().trouble is None
    index.close()


def test_a_server_that_says_nothing_is_given_up_after_the_time_limit() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        index = opened(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=1)
        with pytest.raises(IndexUnavailable, match="does not answer"):
            index.count()
        index.close()


def test_a_proxy_of_the_environment_is_not_used(
    url: str, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{closed_port()}")
    asked.exists = True
    index = opened(url)
    assert index.search(VECTOR, limit=1)
    index.close()


def test_a_certificate_that_nobody_vouches_for_is_said(url: str, tmp_path: Path) -> None:
    index = opened(url.replace("http:", "https:"))
    with pytest.raises(IndexUnavailable, match="does not answer"):  # no TLS there at all
        index.count()
    index.close()
    (tmp_path / "ca.pem").write_text("no certificate")
    index = opened("https://127.0.0.1:1", ca_file=str(tmp_path / "ca.pem"))
    with pytest.raises(IndexUnavailable, match="ca_file"):
        index.count()
    index.close()


def test_the_check_says_whether_it_can_be_used(url: str, asked: Asked) -> None:
    config = Config(search=SearchConfig(vector_url=f"http://127.0.0.1:{closed_port()}"))
    [finding] = _vector_server(config)
    assert finding.outcome is Outcome.TIGHT
    assert "does not answer" in finding.says
    asked.status = 401
    with pytest.raises(IndexUnavailable, match="refuses the key"):
        reach(ServerSettings(url))
    assert list(_vector_server(Config())) == []


def test_the_key_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("of the file\n")

    def settings(file: Path) -> ServerSettings:
        server = VectorServerConfig(key_file=str(file))
        return server_settings(Config(search=SearchConfig(vector_server=server)), "http://nas.lan")

    assert settings(tmp_path / "key").key == "of the file"
    monkeypatch.setenv("ALMANAC_VECTOR_KEY", "of the environment")
    assert settings(tmp_path / "key").key == "of the environment"
    monkeypatch.delenv("ALMANAC_VECTOR_KEY")
    with pytest.raises(ConfigurationError, match="key_file"):
        settings(tmp_path / "none")


@pytest.mark.parametrize("wrong", ["nas.lan:6333", "ftp://nas.lan", "http://", "http://nas lan"])
def test_an_address_that_is_none_stops_the_start(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "almanac.toml").write_text(f'[search]\nvector_url = "{wrong}"\n')
    with pytest.raises(ConfigurationError, match=r"search\.vector_url"):
        load_config(tmp_path / "almanac.toml")


def test_a_house_without_a_server_never_loads_the_client() -> None:
    script = (
        "import sys, appliance.reading_room, appliance.preflight, search.vectors.edge\n"
        "print('LOADED', sorted({'qdrant_client', 'grpc', 'pydantic'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "LOADED []" in done.stdout


def test_a_password_in_the_address_is_never_shown() -> None:
    assert shown("https://anna:geheim@nas.lan:6333/q?key=1") == "https://nas.lan:6333/q"
