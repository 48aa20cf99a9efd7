"""What the tests of `/v1` share: the unmodified client of OpenAI's, and the id of the starter chat model.

Whatever the client was sent is held against OpenAI's description when its test ends.
"""

from collections.abc import Iterator

import openai
import pytest

from tests.clients.recorded import assert_as_promised
from tests.clients.relay import relay_to
from tests.running import Appliance


@pytest.fixture
def client(house: Appliance) -> Iterator[openai.OpenAI]:
    with relay_to(house.url) as relay:
        with openai.OpenAI(base_url=f"{relay.listen()}/v1", api_key="none needed", max_retries=0) as client:
            yield client
        assert_as_promised(relay)


@pytest.fixture
def model(house: Appliance) -> str:
    return next(model["id"] for model in house.get("/v1/models")[1]["data"] if "SmolLM2" in model["id"])
