"""All EPUBs of the shared data, dropped at once

What became of each, by set; a correctness run that is too long for the tests.
It ends with an error when a book named `-valid` is not findable, when a
document is left without an end state or a reason, when a process outlives the
appliance, or when something was written outside the data folder.
"""

import os
import shutil
import string
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.measuring import LONGEST_S, WrongResult, begun, documents, status, tree, unfurnished
from tests.places import ROOT, SHARED_DATA
from tests.running import Appliance

_STATES = ("findable", "failed")
_OPENS = string.ascii_uppercase + "“"  # what a sentence begins with
_ENDINGS = ("valid", "warning", "error", "fatal")


def run(most: int = 0, folder: str = str(SHARED_DATA / "epub"), settle_s: float = 1.0) -> Iterator[str]:
    """`most`: at most so many books, spread over the sets; 0 for all."""
    books = sorted(Path(folder).rglob("*.epub"))
    if most:
        books = books[:: max(1, len(books) // most)][:most]
    if not books:
        yield f"Not run: no EPUB under {folder}; it is no part of the repository."
        return
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        house = unfurnished(Path(scratch) / "house")
        appliance = Appliance(house, settings=f"[ingest]\nsettle_s = {settle_s}\n")
        paths = {_copy(book, Path(folder), appliance.library): book for book in books}
        aims = _aims(books)
        aimed_at = {aim for aim in aims if os.path.lexists(aim)}
        before = _surroundings(house)
        with _private_folders(Path(scratch)) as private:
            appliance.start(ready=False)
            assert appliance.process
            processes: dict[int, str] = {}
            began = time.monotonic()
            _until_done(appliance, len(books), processes)
            seconds = time.monotonic() - began
            ended = list(documents(appliance))
            states = status(appliance)["documents"]
            code = appliance.stop()
            if code:
                wrong.append(f"the appliance ended with {code}")
            wrong += _left_running(processes)
            wrong += [f"{path} was written" for path in _files(private)]
        wrong += [f"{path} was written or changed" for path in _differences(before, _surroundings(house))]
        wrong += [f"{aim} was written" for aim in aims if os.path.lexists(aim) and aim not in aimed_at]
        wrong += _unended(ended, paths, states)
    yield from _table(ended, paths, Path(folder))
    yield f"\n{len(books)} books in {seconds:.0f} s; {len(processes)} processes were seen, none is left."
    if wrong:
        raise WrongResult("\n".join(wrong))


# --- dropping and waiting ------------------------------------------------------------------------


def _copy(book: Path, folder: Path, library: Path) -> str:
    """Put a book into the library under the path that it has in the data; that path."""
    relative = book.relative_to(folder)
    target = library / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(book, target)
    return relative.as_posix()


def _until_done(appliance: Appliance, books: int, processes: dict[int, str]) -> None:
    """Wait until nothing is under way, and note every process that was seen meanwhile."""
    assert appliance.process
    ends, still = time.monotonic() + LONGEST_S, 0
    while still < 5:  # in a row: a document may be between two states
        if appliance.process.poll() is not None:
            raise WrongResult(f"the appliance ended by itself, with {appliance.process.returncode}")
        processes.update((pid, start) for pid in tree(appliance.process.pid) if (start := begun(pid)))
        told = status(appliance)
        states = told["documents"]
        if time.monotonic() > ends:
            raise WrongResult(f"not done after {LONGEST_S / 3600:.0f} hours: {states}")
        done = sum(states.get(state, 0) for state in _STATES)
        still = still + 1 if done == sum(states.values()) >= books and not told["ingest"]["noticed"] else 0
        time.sleep(0.2)


# --- checks --------------------------------------------------------------------------------------


def _unended(ended: list[dict[str, Any]], paths: dict[str, Path], states: dict[str, int]) -> list[str]:
    """What is wrong with the documents, as sentences."""
    wrong = []
    seen = {document["path"]: document for document in ended}
    wrong += [f"{path} is on the disk and not in the record" for path in paths.keys() - seen.keys()]
    wrong += [f"{path} is in the record and not on the disk" for path in seen.keys() - paths.keys()]
    if sum(states.values()) != len(paths):
        wrong.append(f"the totals do not add up to the {len(paths)} files on the disk: {states}")
    for path, document in sorted(seen.items()):
        state, reason = document["state"], document["reason"]
        if state not in _STATES:
            wrong.append(f"{path} is {state}")
        if state == "failed" and not (reason and reason[0] in _OPENS and reason[-1] in ".?!"):
            wrong.append(f"{path} has failed, and its reason is no sentence: {reason!r}")
        if _ending(path) == "valid" and state != "findable":
            wrong.append(f"{path} is valid and {state}: {reason}")
        if path.endswith("hostile/ok-control.epub") and state != "findable":
            wrong.append(f"{path} is healthy and {state}: {reason}")
    return wrong


def _left_running(processes: dict[int, str]) -> list[str]:
    """Processes of the appliance's that are still there a moment after its end."""
    ends = time.monotonic() + 5
    while time.monotonic() < ends and any(begun(pid) == start for pid, start in processes.items()):
        time.sleep(0.1)
    return [
        f"process {pid} outlived the appliance" for pid, start in processes.items() if begun(pid) == start
    ]


def _aims(books: list[Path]) -> set[str]:
    """Where names inside the archives lead when they are taken at their word, outside of any folder of ours."""
    aims = set()
    for book in books:
        try:
            with zipfile.ZipFile(book) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError):
            continue
        for name in names:
            plain = name.replace("\\", "/")
            if plain.startswith("/") or ".." in plain.split("/"):
                last = plain.rpartition("/")[2]
                aims |= {
                    os.path.normpath(f"/{plain}"),
                    f"/tmp/{last}",
                    str(ROOT / last),
                    str(ROOT.parent / last),
                }
    return aims


def _surroundings(house: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file that the appliance has no business with: the library, the configuration, the code."""
    seen = {}
    for top, left_out in ((house, {"data", "serve.log"}), (ROOT, {"var", ".git", ".venv"})):
        for entry in top.iterdir():
            if entry.name in left_out or entry.name.startswith("."):
                continue
            for path in (entry, *entry.rglob("*")) if entry.is_dir() and not entry.is_symlink() else (entry,):
                if "__pycache__" not in path.parts and not path.is_dir():
                    look = path.lstat()
                    seen[str(path)] = (look.st_size, look.st_mtime_ns)
    return seen


def _differences(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


class _private_folders:  # noqa: N801 - used as a statement
    """HOME and the folder for temporary files, its own for the appliance that is started meanwhile."""

    def __init__(self, scratch: Path) -> None:
        self._folder = scratch / "private"
        self._before = {name: os.environ.get(name) for name in ("HOME", "TMPDIR")}

    def __enter__(self) -> Path:
        self._folder.mkdir()
        os.environ.update(dict.fromkeys(self._before, str(self._folder)))
        return self._folder

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


# --- the table -----------------------------------------------------------------------------------


def _ending(path: str) -> str:
    """What epubcheck's authors call the book: valid, warning, error, fatal; "" for the others."""
    last = Path(path).stem.rpartition("-")[2]
    return last if "epubcheck" in path and last in _ENDINGS else ""


def _table(ended: list[dict[str, Any]], paths: dict[str, Path], folder: Path) -> Iterator[str]:
    by_set: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    for document in ended:
        path = document["path"]
        ending = _ending(path)
        name = path.split("/")[0] + (f", `-{ending}`" if ending else "")
        by_set.setdefault(name, Counter())[document["state"]] += 1
        if document["state"] == "failed":
            reasons.setdefault(name, Counter())[document["reason"] or "(none)"] += 1
    yield "| set | books | findable | failed | why they failed |"
    yield "|---|---|---|---|---|"
    for name, states in sorted(by_set.items()):
        why = "<br>".join(
            f"{times} × {reason}" for reason, times in reasons.get(name, Counter()).most_common()
        )
        yield (
            f"| {name} | {states.total()} | {states['findable']} | {states['failed']} "
            f"| {why.replace('|', '/')} |"
        )
