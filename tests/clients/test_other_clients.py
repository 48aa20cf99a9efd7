"""litellm, langchain-openai and the `llm` command, unmodified, each in an environment of its own.

None has anything on its network but Almanac, so that what works here works in a house without a line. What they
were sent is held against OpenAI's description.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.apart import BASE_URL, run_apart
from tests.clients.environments import environment
from tests.clients.exchanges import exchanges
from tests.clients.recorded import recorded
from tests.running import Appliance

# The first test that asks for an environment waits until it is installed.
pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]
SCRIPTS = Path(__file__).parent / "scripts"

# What each client would look for on the network, or tell somebody there, switched off by its own switch.
SILENT = {
    "litellm": {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True"},
    "langchain-openai": {"LANGCHAIN_TRACING_V2": "false", "LANGSMITH_TRACING": "false"},
    "llm": {},
}


class Outside:
    """A client at home in its environment, with Almanac at the usual address."""

    def __init__(self, name: str, relay_file: Path, home: Path, told: dict[str, str]) -> None:
        self._bin, self._relay_file, self._home = environment(name) / "bin", relay_file, home
        self._environment = SILENT[name] | {"ALMANAC_BASE_URL": BASE_URL} | told

    def run(self, program: str, *arguments: str) -> str:
        """What the client prints; fails, with what it said, if it does not end well."""
        done = run_apart(
            [str(self._bin / program), *arguments],
            self._relay_file,
            home=self._home,
            environment=self._environment,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def told(model: str, embedding: str, material: dict[str, Any]) -> dict[str, str]:
    return {
        "ALMANAC_MODEL": model,
        "ALMANAC_EMBEDDING": embedding,
        "ALMANAC_QUESTION": material["question"],
    }


@pytest.mark.parametrize(
    ("name", "script"), [("litellm", "with_litellm.py"), ("langchain-openai", "with_langchain.py")]
)
def test_a_library_for_python(
    house: Appliance, socket_folder: Path, tmp_path: Path, told: dict[str, str], name: str, script: str
) -> None:
    with recorded(house, socket_folder) as (relay, file):
        said = json.loads(Outside(name, file, tmp_path / "home", told).run("python", str(SCRIPTS / script)))
    assert len(said["chats"]) == 2
    for model, answer in said["chats"].items():
        assert answer
        assert "".join(said["streams"][model]) == answer
        assert len([piece for piece in said["streams"][model] if piece]) > 1
    assert set(said["dimensions"]) == {384}
    assert said["errors"] == [404]
    asked = [(one.path, one.streamed) for one in exchanges(relay.conversations) if one.status == 200]
    assert {
        ("/v1/chat/completions", False),
        ("/v1/chat/completions", True),
        ("/v1/embeddings", False),
    } <= set(asked)


def test_the_llm_command(
    house: Appliance,
    socket_folder: Path,
    tmp_path: Path,
    told: dict[str, str],
    model: str,
    embedding: str,
    material: dict[str, Any],
) -> None:
    folder = tmp_path / "llm"
    folder.mkdir()
    entries = [
        {"model_id": name, "model_name": of, "api_base": BASE_URL}
        for name, of in (("library", "almanac:garden"), ("bare", model))
    ]
    (folder / "extra-openai-models.yaml").write_text(json.dumps(entries))  # JSON is YAML
    told |= {
        "LLM_USER_PATH": str(folder),
        "PYTHONPATH": str(SCRIPTS / "llm_plugin"),
        "OPENAI_BASE_URL": BASE_URL,  # of its embedding models only
        "OPENAI_API_KEY": "none needed",
    }
    with recorded(house, socket_folder) as (relay, file):
        llm = Outside("llm", file, tmp_path / "home", told)
        assert {"almanac", model, embedding} <= set(
            llm.run("llm", "openai", "endpoint", BASE_URL, "--models").split()
        )
        for name in ("library", "bare"):
            asked = ("llm", "-m", name, "-o", "temperature", "0", "-o", "max_tokens", "40")
            whole = llm.run(*asked, "--no-stream", material["question"])
            assert llm.run(*asked, material["question"]) == whole
            assert whole.strip()
        vector = json.loads(llm.run("llm", "embed", "-m", "almanac-embedding", "-c", "a jar of water"))
        assert len(vector) == 384
        asked_for = [(one.path, one.streamed) for one in exchanges(relay.conversations)]
    chats = [("/v1/chat/completions", False), ("/v1/chat/completions", True)]
    assert asked_for == [("/v1/models", False), *chats, *chats, ("/v1/embeddings", False)]
