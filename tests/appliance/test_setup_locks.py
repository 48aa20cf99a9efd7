"""The lock files: what a first run installs, to the byte."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.places import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")


def pins(name: str) -> dict[str, list[Requirement]]:
    """Requirements by name: a library may be pinned once for each range of Pythons."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found: dict[str, list[Requirement]] = {}
    for line in re.findall(r"^[^\s#][^\\\n]*", text, re.MULTILINE):
        requirement = Requirement(line.strip())
        found.setdefault(requirement.name.lower(), []).append(requirement)
    return found


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_library_is_pinned_by_digest(name: str):
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 30
    for entry in entries:
        assert re.match(r"\S+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("name", LOCKS)
def test_no_host_is_named(name: str):
    assert "://" not in (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LOCKS)
def test_no_second_engine_comes_along(name: str):
    assert not {"torch", "llama-cpp-python", "tensorflow", "transformers"} & set(pins(name))


def test_everything_that_runs_is_the_same_in_tests():
    dev = pins("requirements-dev.lock")
    for name, requirements in pins("requirements.lock").items():
        assert dev[name] == requirements


@pytest.mark.parametrize(("name", "extra"), [("requirements.lock", ""), ("requirements-dev.lock", "dev")])
def test_the_lock_fits_what_the_project_asks_for(name: str, extra: str):
    locked = pins(name)
    asked = [*project()["dependencies"], *(project()["optional-dependencies"][extra] if extra else [])]
    for wish in map(Requirement, asked):
        pinned = locked.get(wish.name.lower())
        assert pinned, f"{wish.name} is not locked; run `make lock`"
        for requirement in pinned:
            version = next(iter(requirement.specifier)).version
            assert wish.specifier.contains(version, prereleases=True), f"{wish}; run `make lock`"


def test_almanac_itself_can_be_installed_without_a_network():
    assert "setuptools" in pins("requirements.lock")
