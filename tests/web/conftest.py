"""What the tests of `/v1` share: the unmodified client of OpenAI's, and the id of the starter chat model."""

from collections.abc import Iterator

import openai
import pytest

from tests.running import Appliance


@pytest.fixture
def client(house: Appliance) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{house.url}/v1", api_key="none needed", max_retries=0) as client:
        yield client


@pytest.fixture
def model(client: openai.OpenAI) -> str:
    return next(model.id for model in client.models.list() if "SmolLM2" in model.id)
