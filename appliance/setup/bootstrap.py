"""Bootstrap: from the machine's own Python to .venv with everything in it.

    python3 -m appliance.setup.bootstrap [--dev]      set up what is missing
    python  -m appliance.setup.bootstrap --ready      exit 0 if nothing is missing; touches nothing

Runs before anything is installed, so it imports the standard library and its
neighbours only. Knows nothing of what Almanac does.

What is finished is written in one stamp, .venv/almanac.json: for which folder
and which Python .venv was made, and the digests of what was installed into it.
Hard rule: the stamp is taken away before .venv is touched and put back when
the work is done. A .venv without a stamp is never repaired, it is made again:
a pip that was killed leaves packages that look installed and are not.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from appliance.setup import models
from appliance.setup.pip import Pip, bytes_under
from appliance.setup.progress import Progress, SetupStopped, Step, in_one_sentence
from appliance.setup.scratch import alone

ROOT = Path(__file__).resolve().parents[2]
RUNTIME_LOCK = "requirements.lock"
DEV_LOCK = "requirements-dev.lock"

_STAMP = "almanac.json"
_OLDEST_PYTHON = (3, 11)
_ROOM_FOR_LIBRARIES = 1_200_000_000  # bytes: .venv with the dev extra, and pip's copies on the way


class Checkout:
    """A folder with Almanac's sources, its .venv and its var/."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.stamp = self.venv / _STAMP
        self.var = root / "var"
        self.log = self.var / "setup.log"

    def is_ready(self, *, dev: bool, models_folder: Path) -> bool:
        """True when nothing is missing. Trusts that the Python which asks is .venv's own."""
        return self.wanted(dev=dev).items() <= self.installed().items() and models.are_ready(models_folder)

    def wanted(self, *, dev: bool) -> dict[str, str]:
        """What the stamp must say for .venv to do."""
        named = {RUNTIME_LOCK, "pyproject.toml"} | ({DEV_LOCK} if dev else set())
        return {name: self.digest(name) for name in sorted(named)}

    def installed(self) -> dict[str, str]:
        """What the stamp says; nothing if it was made for another folder (scripts name their own)."""
        try:
            stamp = json.loads(self.stamp.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(stamp, dict) or stamp.get("root") != str(self.root):
            return {}
        return {str(key): str(value) for key, value in stamp.items()}

    def write_stamp(self, stamp: dict[str, str]) -> None:
        fresh = self.stamp.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as out:
            json.dump(stamp, out, indent=2)
            out.flush()
            os.fsync(out.fileno())
        fresh.rename(self.stamp)

    def digest(self, name: str) -> str:
        return hashlib.sha256((self.root / name).read_bytes()).hexdigest()


def set_up(checkout: Checkout, progress: Progress, *, dev: bool, models_folder: Path) -> None:
    """Do what is missing, one set-up at a time. Raises SetupStopped with the reason in words."""
    with alone(checkout.var, progress) as (scratch, lock_fd):
        pip = Pip(checkout.python, log=checkout.log, scratch=scratch, lock_fd=lock_fd)
        _set_up_venv(checkout, pip, progress)
        _set_up_libraries(checkout, pip, progress, scratch, dev=dev)
        _set_up_almanac(checkout, pip, progress)
        if not models.are_ready(models_folder):
            _set_up_models(checkout, lock_fd, models_folder)
        if models.are_ready(models_folder):
            progress.say("Everything is in place.")


def _set_up_venv(checkout: Checkout, pip: Pip, progress: Progress) -> None:
    stamp = checkout.installed()
    if stamp and stamp.get("python") == _version_of(checkout.python):
        return
    _require_room(checkout.root)
    progress.tell(Step.PYTHON, 0.0, f"Python {sys.version_info.major}.{sys.version_info.minor}")
    shutil.rmtree(checkout.venv, ignore_errors=True)
    # The Python behind a virtual environment, if this is one: it may be the very .venv that has just gone.
    base = getattr(sys, "_base_executable", None) or sys.executable
    pip.run([base, "-m", "venv", "--clear", str(checkout.venv)], lambda _line: None)
    checkout.write_stamp({"root": str(checkout.root), "python": _version_of(checkout.python)})


def _set_up_libraries(checkout: Checkout, pip: Pip, progress: Progress, scratch: Path, *, dev: bool) -> None:
    stamp = checkout.installed()
    wanted = checkout.wanted(dev=dev)
    del wanted["pyproject.toml"]
    if wanted.items() <= stamp.items():
        return
    _require_room(checkout.root)
    lock = checkout.root / (DEV_LOCK if dev else RUNTIME_LOCK)
    checkout.stamp.unlink(missing_ok=True)
    pip.install_locked(lock, _Libraries(progress, lock, checkout.venv, scratch).watch)
    # The dev lock holds the runtime lock, line for line; a test watches over it.
    checkout.write_stamp(stamp | wanted)


def _set_up_almanac(checkout: Checkout, pip: Pip, progress: Progress) -> None:
    stamp = checkout.installed()
    project = checkout.digest("pyproject.toml")
    if stamp.get("pyproject.toml") == project:
        return
    progress.tell(Step.ALMANAC, 0.0)
    checkout.stamp.unlink(missing_ok=True)
    pip.install_editable(checkout.root)
    checkout.write_stamp(stamp | {"pyproject.toml": project})


def _set_up_models(checkout: Checkout, lock_fd: int, models_folder: Path) -> None:
    # A child, since it needs what was just installed; it says its own reasons.
    command = [str(checkout.python), "-m", "appliance.setup.models", "--models", str(models_folder)]
    code = subprocess.run(command, cwd=checkout.root, pass_fds=(lock_fd,), check=False).returncode
    if code:
        raise SystemExit(code)


class _Libraries:
    """pip's output, turned into how many libraries there are of how many."""

    def __init__(self, progress: Progress, lock: Path, venv: Path, scratch: Path) -> None:
        self._progress = progress
        self._total = len(re.findall(r"^\S+==", lock.read_text(encoding="utf-8"), re.MULTILINE))
        self._venv, self._scratch = venv, scratch
        self._before = self._in_place()
        self._fetching, self._fetched = "", 0
        self._installing = False

    def watch(self, line: str | None) -> None:
        """Take a line of pip's output, or None for a moment in which it said nothing."""
        if line is None:
            self._tell()
        elif collecting := re.match(r"Collecting ([A-Za-z0-9._-]+)", line):
            self._fetching = collecting[1]
            self._fetched += 1
            self._tell()
        elif line.startswith("Installing collected packages"):
            self._total = line.count(",") + 1
            self._installing = True
            self._tell()

    def _tell(self) -> None:
        if self._installing:
            # pip is silent while it installs, so what has arrived is counted instead.
            there = self._in_place() - self._before
            done, words = 0.5 + 0.5 * there / self._total, f"{there} of {self._total}"
        else:
            done = 0.5 * self._fetched / self._total
            words = f"fetching {self._fetched} of {self._total}" + (
                f" ({self._fetching})" if self._fetching else ""
            )
            if arrived := bytes_under(self._scratch) >> 20:
                words += f", {arrived} MiB so far"
        self._progress.tell(Step.LIBRARIES, done, words)

    def _in_place(self) -> int:
        return sum(1 for _ in self._venv.glob("lib/python*/site-packages/*.dist-info"))


def _version_of(python: Path) -> str:
    """'3.11', or '' when it does not run (a Python that was moved or removed leaves a dead link)."""
    asked = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _require_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _ROOM_FOR_LIBRARIES:
        raise SetupStopped(
            f"Only {free / 1e9:.1f} GB are free on the disk of {folder}, and the libraries need "
            f"{_ROOM_FOR_LIBRARIES / 1e9:.1f} GB: make room, then start again."
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m appliance.setup.bootstrap",
        description="Make .venv, install the libraries by digest, fetch the starter models.",
        epilog=f"{models.FROM_VARIABLE} names a folder to take the models from instead of the network.",
    )
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    parser.add_argument("--ready", action="store_true", help="only ask: exit 0 if nothing is missing, else 1")
    parser.add_argument("--models", type=Path, default=Path("var/models"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    checkout = Checkout(ROOT)
    if given.ready:
        return 0 if checkout.is_ready(dev=given.dev, models_folder=given.models) else 1
    progress = Progress()
    if sys.version_info < _OLDEST_PYTHON:
        progress.say("Almanac needs Python 3.11 or newer.")
        return 1
    return in_one_sentence(
        progress, lambda: set_up(checkout, progress, dev=given.dev, models_folder=given.models)
    )


if __name__ == "__main__":
    sys.exit(main())
