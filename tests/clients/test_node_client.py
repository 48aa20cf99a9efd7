"""The official JavaScript client, unmodified, on a Node of its own and with nothing on its network but Almanac.

Its tests are Node's own (node/*.test.mjs). Here they are run, and what the client was sent is held against OpenAI's
description, and against what each request was promised.
"""

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.clients.apart import BASE_URL, run_apart
from tests.clients.crowded import full, stopped, struck
from tests.clients.environments import NODE_PACKAGES, node
from tests.clients.recorded import recorded
from tests.running import Appliance
from tests.web.busy import load

# The first test that asks for it waits until the client is installed.
pytestmark = [pytest.mark.models, pytest.mark.timeout(900)]
MATERIAL = Path(__file__).parent / "material.json"


class Node:
    """Runs a file of tests for Node."""

    def __init__(self, folder: Path, model: str, embedding: str) -> None:
        self._folder = folder
        self._program, packages = node()
        # Where the tests are run from is where Node looks for what they import.
        for script in NODE_PACKAGES.glob("*.mjs"):
            shutil.copy(script, folder / script.name)
        (folder / "node_modules").symlink_to(packages / "node_modules")
        self._environment = {
            "ALMANAC_BASE_URL": BASE_URL,
            "ALMANAC_MODEL": model,
            "ALMANAC_EMBEDDING": embedding,
            "ALMANAC_MATERIAL": str(MATERIAL),
        }

    def run(self, script: str, house: Appliance, status: str = "") -> list[str]:
        """The names of the tests that passed; fails, with Node's own words, if one did not.

        `status` is told to tests of what fails.
        """
        with recorded(house, self._folder) as (_, file):
            done = run_apart(
                [str(self._program), "--test-reporter=junit", str(self._folder / script)],
                file,
                home=self._folder / "home",
                environment=self._environment | {"ALMANAC_STATUS": status},
            )
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        cases = list(ET.fromstring(done.stdout).iter("testcase"))
        assert [case.get("name") for case in cases if len(case)] == []  # neither failed nor skipped
        return [str(case.get("name")) for case in cases]


@pytest.fixture(scope="module")
def official(socket_folder: Path, model: str, embedding: str) -> Node:
    return Node(socket_folder, model, embedding)


def test_all_that_the_official_client_is_for(official: Node, house: Appliance) -> None:
    passed = official.run("official.test.mjs", house)
    written = (NODE_PACKAGES / "official.test.mjs").read_text()
    assert len(passed) >= len(re.findall(r"^ *test\(", written, re.MULTILINE)) > 5
    house.until(lambda: load(house)["running"] == 0, 5)  # what was left in the middle is not gone on with


def test_tools(official: Node, house: Appliance) -> None:
    assert len(official.run("tools.test.mjs", house)) == 8


def test_too_many_requests(official: Node, crowded: Appliance) -> None:
    with full(crowded):
        assert len(official.run("crowded.test.mjs", crowded)) == 2
    crowded.until(lambda: load(crowded)["running"] == 0, 10)


def test_a_model_that_dies_under_an_answer(official: Node, crowded: Appliance) -> None:
    with struck(crowded):
        assert official.run("failing.test.mjs", crowded, "502") == [
            "who waits for an answer gets an InternalServerError"
        ]
    crowded.until(lambda: crowded.get("/status")[1]["model"]["state"] == "ready", 10)


def test_a_house_that_is_stopped(official: Node, passing: Appliance) -> None:
    with stopped(passing):
        assert official.run("failing.test.mjs", passing, "503") == [
            "who waits for an answer gets an InternalServerError"
        ]
