"""From a bare Python to .venv, with real virtual environments and a real pip, and wheels of a few bytes."""

import base64
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from appliance.setup import models
from tests.places import ROOT

BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)

PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "almanac"
version = "0"
"""

# The smallest build backend: an editable install is a wheel with a .pth in it.
BACKEND = """
import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "almanac-0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("almanac.pth", "")
        wheel.writestr("almanac-0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: almanac\\nVersion: 0\\n")
        wheel.writestr("almanac-0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("almanac-0.dist-info/RECORD", "")
    return name
"""


def wheel(folder: Path, name: str) -> str:
    """Make a wheel with one module in it, and give its line for a lock file."""
    info = f"{name}-1.0.dist-info"
    contents = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    packed = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in (contents | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(path, content)
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(packed.read_bytes()).hexdigest()}\n"


class Checkout:
    """A small clone: the real set-up, two small libraries, models that are already there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = root / ".venv" / "bin" / "python"
        self.stamp = root / ".venv" / "almanac.json"
        wheels = root / "wheels"
        wheels.mkdir(parents=True)
        shutil.copytree(ROOT / "appliance" / "setup", root / "appliance" / "setup")
        shutil.copy(ROOT / "Makefile", root)
        (root / "appliance" / "__init__.py").touch()
        (root / "pyproject.toml").write_text(PYPROJECT)
        (root / "backend.py").write_text(BACKEND)
        runtime, dev = wheel(wheels, "bees"), wheel(wheels, "smoker")
        (root / "requirements.lock").write_text(runtime)
        (root / "requirements-dev.lock").write_text(runtime + dev)
        self._put_models()
        kept = {
            name: os.environ[name] for name in ("PATH", "PYENV_ROOT", "PYENV_VERSION") if name in os.environ
        }
        self.environment = kept | {
            "HOME": str(root),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def _put_models(self) -> None:
        folder = models.embedder_folder(self.root / "var" / "models")
        folder.mkdir(parents=True)
        for name in models.EMBEDDER_FILES:
            (folder / name).write_bytes(b"model")
        sizes = {name: {"bytes": 5} for name in models.EMBEDDER_FILES}
        (folder / "model.json").write_text(json.dumps({"digest": models.embedder_digest(), "files": sizes}))
        chat = self.root / "var" / "models" / "chat" / models.CHAT_FILE
        chat.parent.mkdir()
        chat.write_bytes(b"GGUF")

    def start(self, *arguments: str, python: str | Path = BASE_PYTHON) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(python), "-m", "appliance.setup.bootstrap", *arguments],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def set_up(self, *arguments: str) -> tuple[int, str]:
        with self.start(*arguments) as running:
            said, _ = running.communicate()
        return running.returncode, said

    def is_ready(self, *arguments: str) -> bool:
        with self.start(*arguments, "--ready", python=self.python) as running:
            said, _ = running.communicate()
        assert said == ""
        return running.returncode == 0

    def has(self, module: str) -> bool:
        asked = [str(self.python), "-c", f"import {module}"]
        return subprocess.run(asked, capture_output=True, check=False, env=self.environment).returncode == 0

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shutil.which("make") or "make", *arguments],
            cwd=self.root,
            env=self.environment | environment,
            capture_output=True,
            check=False,
            text=True,
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "clone")


def test_a_first_run_then_the_tests_then_nothing(checkout: Checkout):
    code, said = checkout.set_up()
    assert code == 0, said
    assert said.splitlines()[-1] == "Everything is in place."
    assert checkout.is_ready()
    assert checkout.has("bees")

    assert not checkout.is_ready("--dev")
    assert not checkout.has("smoker")
    made = checkout.python.lstat().st_mtime_ns
    code, said = checkout.set_up("--dev")
    assert code == 0, said
    assert checkout.is_ready("--dev")
    assert checkout.is_ready(), "what the tests need includes what running needs"
    assert checkout.has("smoker")
    assert checkout.python.lstat().st_mtime_ns == made, "tests only add to .venv"

    log = (checkout.root / "var" / "setup.log").read_text()
    code, said = checkout.set_up()
    assert (code, said) == (0, "Everything is in place.\n")
    assert (checkout.root / "var" / "setup.log").read_text() == log, "pip was not asked again"


def test_what_was_made_for_another_time_or_place_is_made_again(checkout: Checkout, tmp_path: Path):
    assert checkout.set_up()[0] == 0

    extra = wheel(checkout.root / "wheels", "honey")
    with (checkout.root / "requirements.lock").open("a") as lock:
        lock.write(extra)
    assert not checkout.is_ready(), "the lock has changed"
    assert checkout.set_up()[0] == 0
    assert checkout.has("honey")

    checkout.python.unlink()
    checkout.python.symlink_to("/nowhere/python3")
    code, said = checkout.set_up()
    assert code == 0, said
    assert "Preparing Python" in said, "a Python that moved away takes .venv with it"
    assert checkout.is_ready()

    moved = checkout.root.rename(tmp_path / "moved")
    with subprocess.Popen(
        [str(moved / ".venv" / "bin" / "python"), "-m", "appliance.setup.bootstrap", "--ready"],
        cwd=moved,
        env=checkout.environment,
    ) as asked:
        assert asked.wait() == 1, "the scripts of .venv name the folder they were made in"


def test_a_library_with_another_digest_is_refused_and_nothing_counts_as_done(checkout: Checkout):
    lock = checkout.root / "requirements.lock"
    right = lock.read_text()
    lock.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", right))
    code, said = checkout.set_up()
    assert code == 1
    assert "A download was not the file that was expected" in said.splitlines()[-1]
    assert "var/setup.log" in said.splitlines()[-1]
    assert not checkout.stamp.exists()
    assert not checkout.is_ready()
    lock.write_text(right)
    assert checkout.set_up()[0] == 0
    assert checkout.is_ready()


def test_a_set_up_that_is_killed_leaves_nothing_that_counts_as_done(checkout: Checkout):
    with checkout.start() as running:
        until(checkout.python.exists)
        os.killpg(running.pid, signal.SIGKILL)
    assert not checkout.stamp.exists()
    code, said = checkout.set_up()
    assert code == 0, said
    assert checkout.is_ready()
    assert not list((checkout.root / "var").glob(".setup-*")), "its scratch is cleared away"


def test_a_set_up_that_is_told_to_stop_says_so(checkout: Checkout):
    with checkout.start() as running:
        until(checkout.python.exists)
        os.killpg(running.pid, signal.SIGTERM)
        said, _ = running.communicate()
    assert running.returncode == 130
    assert said.splitlines()[-1] == "Set-up was stopped; the next start takes it up again."
    assert not checkout.stamp.exists()


def test_a_second_set_up_waits_for_the_first(checkout: Checkout):
    with (checkout.root / "var" / ".setup.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with checkout.start() as running:
            assert running.stdout is not None
            assert running.stdout.readline().startswith("Another set-up is at work in this folder")
            fcntl.flock(held, fcntl.LOCK_UN)
            said, _ = running.communicate()
    assert running.returncode == 0, said


def test_no_network_is_one_sentence(checkout: Checkout):
    environment = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    checkout.environment = {
        name: value
        for name, value in checkout.environment.items()
        if name not in {"PIP_NO_INDEX", "PIP_FIND_LINKS"}
    } | environment
    code, said = checkout.set_up()
    assert code == 1
    assert said.splitlines()[-1].startswith("The package registry cannot be reached: check the network")
    assert not checkout.is_ready()


def test_asking_whether_it_is_ready_loads_the_standard_library_only():
    probe = (
        "import sys; from appliance.setup import bootstrap\n"
        "outside = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(outside - {'__main__', 'appliance', 'sitecustomize', 'usercustomize'}))"
    )
    asked = [BASE_PYTHON, "-S", "-E", "-c", probe]
    found = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_make_help_names_every_target():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", text, re.MULTILINE))
    said = subprocess.run(
        ["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True, env=bare()
    ).stdout
    assert targets == {"run", "test", "check", "bench", "lock", "clean", "help"}
    assert set(re.findall(r"^  make (\w+)", said, re.MULTILINE)) == targets


def test_make_without_a_python_says_what_to_install(checkout: Checkout, tmp_path: Path):
    bare_machine = tmp_path / "bin"
    bare_machine.mkdir()
    for program in ("sh", "false", "echo"):
        (bare_machine / program).symlink_to(shutil.which(program) or program)
    too_old = bare_machine / "python3"
    too_old.write_text("#!/bin/sh\nexit 1\n")
    too_old.chmod(0o755)
    done = checkout.make("run", PATH=str(bare_machine))
    assert done.returncode != 0
    assert done.stdout == (
        "Almanac needs Python 3.11 or newer with its venv module: sudo apt install python3 python3-venv\n"
    )


def test_make_run_serves_with_what_it_is_given(checkout: Checkout):
    assert checkout.set_up()[0] == 0
    almanac = checkout.python.with_name("almanac")
    almanac.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    almanac.chmod(0o755)
    done = checkout.make("run", "PORT=8181", "CONFIG=my house.toml", "ARGS=--host ::")
    assert done.stdout == "--config my house.toml serve --port 8181 --host ::\n"
    assert "Error 7" in done.stderr
    almanac.write_text("#!/bin/sh\nexit 0\n")
    done = checkout.make("run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "a second start has nothing to say"


def test_make_clean_keeps_the_library(checkout: Checkout):
    (checkout.root / "var" / "library").mkdir()
    (checkout.root / "var" / "library" / "__pycache__").mkdir()
    (checkout.root / ".venv").mkdir()
    (checkout.root / "web" / "__pycache__").mkdir(parents=True)
    before = sorted(path for path in (checkout.root / "var").rglob("*"))
    done = checkout.make("clean")
    assert done.returncode == 0, done.stderr
    assert sorted((checkout.root / "var").rglob("*")) == before
    assert not (checkout.root / ".venv").exists()
    assert not (checkout.root / "web" / "__pycache__").exists()


def bare() -> dict[str, str]:
    """The environment without what an outer make left in it."""
    return {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }


def until(there: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not there():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)
