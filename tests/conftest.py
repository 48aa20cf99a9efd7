"""Fixtures that more than one folder of tests uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import chat_model, embedding_model
from tests.running import Appliance, running

BEES = """# Keeping bees on a flat roof

## The smoker

Light the smoker with dry sumac bobs, and keep a bucket of wet sand beside the hive stand.

## Inspection

The colony on the flat roof is called Marigold, and it is inspected every eleventh day.
"""


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A running appliance with the starter library and models, all of it findable; shared by tests that only read."""
    embedding_model()
    chat_model()
    with running(tmp_path_factory.mktemp("house"), settings="[ingest]\nsettle_s = 0.2\n") as appliance:
        appliance.drop("garden/bees.md", BEES)
        appliance.until_state("garden/bees.md", "findable", timeout_s=240)
        appliance.until(
            lambda: all(
                count == 0 or state == "findable"
                for state, count in appliance.get("/status")[1]["documents"].items()
            ),
            240,
        )
        yield appliance


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """A folder for a house that brings its own books: no starter library."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".furnished").touch()
    return tmp_path
