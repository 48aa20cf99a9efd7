"""A relay before the house; whatever went through it is held against OpenAI's description when its test ends."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.clients.crowded import SETTINGS
from tests.clients.recorded import assert_as_promised
from tests.clients.relay import Relay, relay_to
from tests.places import chat_model, embedding_model
from tests.running import Appliance, running


@pytest.fixture(scope="session")
def material() -> dict[str, Any]:
    """What all clients ask."""
    return json.loads((Path(__file__).parent / "material.json").read_text())


@pytest.fixture
def relay(house: Appliance) -> Iterator[Relay]:
    with relay_to(house.url) as relay:
        yield relay
        assert_as_promised(relay)


@pytest.fixture
def client(relay: Relay) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{relay.listen()}/v1", api_key="none needed", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def model(house: Appliance) -> str:
    return _model(house, "SmolLM2")


@pytest.fixture(scope="session")
def embedding(house: Appliance) -> str:
    return _model(house, "MiniLM")


def _model(house: Appliance, name: str) -> str:
    return next(model["id"] for model in house.get("/v1/models")[1]["data"] if name in model["id"])


@pytest.fixture(scope="session")
def socket_folder() -> Iterator[Path]:
    """A folder for sockets: the path of one may be no longer than 107 bytes, and pytest's folders are deep."""
    with tempfile.TemporaryDirectory(prefix="almanac-clients-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A house of its own, whose model has one slot and a line of one."""
    with _small_house(tmp_path_factory.mktemp("crowded")) as appliance:
        yield appliance


@pytest.fixture
def passing(tmp_path: Path) -> Iterator[Appliance]:
    """The same for one test alone, which may stop it."""
    with _small_house(tmp_path) as appliance:
        yield appliance


def _small_house(folder: Path) -> AbstractContextManager[Appliance]:
    chat_model()
    embedding_model()
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    return running(folder, settings=SETTINGS)
