"""The lock files of the outside clients: all that is installed is named by digest, and no host is."""

import json
import re
from pathlib import Path

import pytest

from tests.clients.environments import LOCKS, NODE_PACKAGES

NAMES = sorted(path.stem for path in LOCKS.glob("*.in"))


@pytest.mark.parametrize("name", NAMES)
def test_every_library_of_a_client_is_pinned_by_digest(name: str) -> None:
    text = re.sub(r"^#.*\n", "", (LOCKS / f"{name}.lock").read_text(), flags=re.MULTILINE)
    entries = re.split(r"\n(?=\S)", text.strip())
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry
    for wish in re.findall(r"^[^#\s]+", (LOCKS / f"{name}.in").read_text(), re.MULTILINE):
        assert any(entry.startswith(f"{wish}==") for entry in entries), f"{wish}: run `make lock`"


def test_what_node_gets_is_pinned_by_digest() -> None:
    wanted = json.loads((NODE_PACKAGES / "package.json").read_text())["dependencies"]
    packages = json.loads((NODE_PACKAGES / "package-lock.json").read_text())["packages"]
    assert packages.pop("")["dependencies"] == wanted
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


@pytest.mark.parametrize(
    "path", sorted([*LOCKS.iterdir(), *NODE_PACKAGES.iterdir()]), ids=lambda path: path.name
)
def test_no_host_is_named(path: Path) -> None:
    assert "://" not in path.read_text()
