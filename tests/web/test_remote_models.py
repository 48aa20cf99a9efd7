"""A model on another machine: one Almanac asks another, and a server that is not well."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from appliance.config import load_config
from library.errors import ConfigurationError
from tests.places import ROOT, chat_model, embedding_model
from tests.running import Appliance, running

pytestmark = pytest.mark.models

KEY = "a key of the other house's"


class Sick(http.server.BaseHTTPRequestHandler):
    """A server that speaks OpenAI's protocol, and answers as it was told to."""

    protocol_version = "HTTP/1.1"
    status, heard = 200, list[tuple[str, str]]()

    def do_GET(self) -> None:
        self.heard.append((self.path, self.headers.get("authorization", "")))
        self._answer(self.status, b'{"object": "list", "data": []}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.heard.append((self.path, body.get("model", "")))
        if self.path.endswith("/redirected"):
            return
        self.send_response(307)
        self.send_header("location", "http://127.0.0.1:9/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def sick() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sick) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory, sick: str) -> Iterator[tuple[Appliance, Appliance]]:
    """One with a model, and one whose only models are the first's and a sick server's."""
    folder = tmp_path_factory.mktemp("houses")
    for name in ("far", "near"):
        (folder / name / "data").mkdir(parents=True)
        (folder / name / "data" / ".furnished").touch()
        (folder / name / "models").mkdir()
        (folder / name / "models" / "embedding").symlink_to(embedding_model().parent)
    (folder / "far" / "models" / "chat").symlink_to(chat_model().parent)
    (folder / "key").write_text(KEY + "\n")
    notes = folder / "near" / "library" / "garden" / "bees.md"
    notes.parent.mkdir(parents=True)
    notes.write_text("# Bees\n\nThe bees of the east wall drink from the cistern at noon.\n")
    with running(folder / "far", models=folder / "far" / "models", ready=False) as far:
        far.until(lambda: far.get("/status")[1]["model"]["state"] == "ready")
        settings = (
            "[ingest]\nsettle_s = 0.2\n"
            f'[[llm.remotes]]\nname = "distant"\nurl = "{far.url}/v1/"\nmodel = "{chat_model().stem}"\ncontext_tokens = 2048\n'
            f'[[llm.remotes]]\nname = "sick"\nurl = "{sick}"\nkey_file = "{folder}/key"\n'
            f'[[llm.remotes]]\nname = "keyless"\nurl = "{sick}"\nkey_file = "{folder}/none"\n'
            '[[llm.remotes]]\nname = "gone"\nurl = "http://127.0.0.1:9"\n'
        )
        with running(folder / "near", settings=settings, models=folder / "near" / "models") as near:
            near.until_state("garden/bees.md", "findable")
            yield far, near


@pytest.fixture
def client(houses: tuple[Appliance, Appliance]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{houses[1].url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def asked(model: str, **more: Any) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": "Where do the bees drink?"}],
        "max_tokens": 12,
        "temperature": 0,
        **more,
    }


def test_it_answers_as_one_in_the_house_does(
    client: openai.OpenAI, houses: tuple[Appliance, Appliance]
) -> None:
    whole = client.chat.completions.create(**asked("distant"))
    there = openai.OpenAI(base_url=f"{houses[0].url}/v1", api_key="none")
    with there:
        said = there.chat.completions.create(**asked(chat_model().stem))
    assert whole.model == "distant"
    assert whole.choices[0].message.content == said.choices[0].message.content
    assert whole.usage
    assert said.usage
    assert whole.usage.total_tokens == said.usage.total_tokens
    streamed = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(**asked("distant"), stream=True)
        if chunk.choices
    )
    assert streamed == said.choices[0].message.content


def test_the_library_is_answered_from_by_it(
    houses: tuple[Appliance, Appliance], client: openai.OpenAI
) -> None:
    events = houses[1].ask("Where do the bees of the east wall drink?")
    done = events[-1][1]
    assert (events[-1][0], done["model"]) == ("done", "distant")
    ids = [model.id for model in client.models.list()]
    assert ids[:5] == ["almanac", "almanac:garden", "distant", "sick", "keyless"]
    assert houses[1].get("/status")[1]["model"]["device"].startswith("the engine at http://127.0.0.1:")


def test_what_is_wrong_there_is_told_here(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**asked("distant", max_tokens="many"))
    assert refused.value.param == "max_tokens"
    long = [{"role": "user", "content": "bees " * 9000}]
    with pytest.raises(openai.BadRequestError, match="context"):
        client.chat.completions.create(**asked("distant", messages=long))
    for name, told in (
        ("gone", "http://127.0.0.1:9 does not answer"),
        ("keyless", "none cannot be used: No such file"),
    ):
        with pytest.raises(openai.InternalServerError, match=told) as unavailable:
            client.chat.completions.create(**asked(name))
        assert unavailable.value.status_code == 503


def test_nobody_is_asked_but_the_server_that_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="status 307"):
        client.chat.completions.create(**asked("sick"))
    assert ("/v1/chat/completions", "sick") in Sick.heard
    assert ("/v1/models", f"Bearer {KEY}") in Sick.heard


def test_one_that_refuses_the_key_says_so_and_is_asked_again(houses: tuple[Appliance, Appliance]) -> None:
    near = houses[1]

    def state() -> tuple[str, str | None]:
        items = {model["id"]: model for model in near.get("/api/models")[1]["items"]}
        return items["sick"]["state"], items["sick"]["reason"]

    assert state() == ("ready", None)
    for status, told in ((401, "refuses the key."), (500, "answers with status 500.")):
        Sick.status = status
        near.until(lambda told=told: (state()[1] or "").endswith(told), 20)
        assert state()[0] == "failed"
    Sick.status = 200
    near.until(lambda: state() == ("ready", None), 20)


def test_check_says_whether_they_answer(houses: tuple[Appliance, Appliance]) -> None:
    config = Path(houses[1].config)
    command = [sys.executable, "-m", "appliance", "--config", str(config), "check", "--json"]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout)
    said = {one["says"].split(":")[0]: one for one in found if one["part"] == "remote"}
    assert said["distant"]["outcome"] == "go"
    assert said["gone"]["outcome"] == "tight"
    assert "does not answer" in said["gone"]["says"]
    assert "cannot be used" in said["keyless"]["says"]


@pytest.mark.parametrize(
    ("names", "whose"), [(("almanac",), "the library's own"), (("a", "a"), "an earlier one's")]
)
def test_a_name_that_is_taken_stops_the_start(tmp_path: Path, names: tuple[str, ...], whose: str) -> None:
    file = tmp_path / "almanac.toml"
    file.write_text("".join(f'[[llm.remotes]]\nname = "{name}"\nurl = "http://x.lan"\n' for name in names))
    with pytest.raises(ConfigurationError, match=whose) as refused:
        load_config(file)
    assert refused.value.key == f"llm.remotes[{len(names) - 1}].name"
