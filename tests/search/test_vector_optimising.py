"""The graph of the vector index: built by a child while the index serves and changes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from library.errors import IndexUnavailable
from library.values import IndexedChunk, Labels
from search.query import Filters
from search.vectors.edge import EdgeIndex
from tests.places import ROOT

D = 64
FROM = 2_000  # vectors that a graph is built for here


def id_of(n: int) -> str:
    return f"00000000-0000-0000-0000-{n:012d}"


def chunk(n: int, shelf: str = "water") -> IndexedChunk:
    return IndexedChunk(id_of(n), "doc", n, Labels(shelf, year=1900 + n % 100), (), "")


def units(count: int, seed: int = 0) -> np.ndarray:
    """[count, D], around some centres as texts are."""
    source = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(20, D))
    rows = centres[source.integers(0, 20, count)] + source.normal(size=(count, D)) * 0.6
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def until(said: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def fill(index: EdgeIndex, first: int, stop: int) -> None:
    rows = units(stop, 0)
    for at in range(first, stop, 500):
        some = range(at, min(at + 500, stop))
        index.upsert([chunk(n) for n in some], [rows[n].tolist() for n in some])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors"


@pytest.fixture
def index(path: Path) -> Iterator[EdgeIndex]:
    index = EdgeIndex(path, dimensions=D, optimise_from=FROM)
    yield index
    index.close()


def shards(path: Path) -> list[str]:
    return sorted(folder.name for folder in path.glob("shard-*"))


def test_below_the_threshold_nothing_is_built(index: EdgeIndex, path: Path) -> None:
    fill(index, 0, FROM - 1)
    assert index._thread is None
    assert index.state().in_graph == 0
    assert shards(path) == ["shard-1"]


def test_a_graph_is_built_and_finds_what_a_full_look_finds(index: EdgeIndex, path: Path) -> None:
    fill(index, 0, 3 * FROM)
    until(lambda: index.state().in_graph or FROM <= 0)
    until(lambda: not index.state().optimising and len(shards(path)) == 1)
    assert index.count() == 3 * FROM
    assert index.state().trouble is None
    rows, found = units(3 * FROM), 0
    for query in units(20, seed=5):
        best = {id_of(int(n)) for n in np.argsort(-(rows @ query))[:10]}
        found += len(best & {candidate.id for candidate in index.search(query.tolist(), limit=10)})
    assert found >= 190  # recall@10 of 0.95
    only = index.search(rows[0].tolist(), limit=10, filters=Filters(after=1950, before=1960))
    assert len(only) == 10
    assert all(50 <= int(candidate.id[-12:]) % 100 <= 60 for candidate in only)


def test_fewer_are_worth_a_graph_once_nothing_comes_any_more(
    index: EdgeIndex, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(index, 0, FROM)
    until(lambda: shards(path) == ["shard-2"])
    before = index.state().in_graph or 0
    monkeypatch.setattr("search.vectors.edge._STILL_S", 0.5)
    fill(index, FROM, FROM + FROM // 2)
    index._wanted.set()
    until(lambda: (index.state().in_graph or 0) > before)
    assert index.count() == FROM + FROM // 2


def test_it_is_the_same_index_after_a_restart(index: EdgeIndex, path: Path) -> None:
    fill(index, 0, 2 * FROM)
    until(lambda: shards(path) != ["shard-1"] and len(shards(path)) == 1)
    index.close()
    again = EdgeIndex(path, dimensions=D, optimise_from=FROM)
    assert again.count() == 2 * FROM
    assert again.state().in_graph
    assert again.contains(units(2 * FROM)[7].tolist(), id_of(7))
    again.close()


class _Gate:
    """Stands in for the child: lets the test act while a graph is being built."""

    def __init__(self, index: EdgeIndex) -> None:
        self.begun, self.may_end, self._run = threading.Event(), threading.Event(), index.optimiser.run
        index.optimiser.run = self  # type: ignore[method-assign]

    def __call__(self, shard: Path) -> None:
        self.begun.set()
        assert self.may_end.wait(60)
        self._run(shard)


def test_what_changes_meanwhile_is_neither_lost_nor_resurrected(index: EdgeIndex, path: Path) -> None:
    gate = _Gate(index)
    fill(index, 0, FROM)
    assert gate.begun.wait(30)
    rows = units(FROM + 50)
    index.remove([id_of(n) for n in range(100)])
    index.upsert([chunk(n) for n in range(FROM, FROM + 50)], rows[FROM:].tolist())
    index.upsert([chunk(500, "fire")], [rows[FROM].tolist()])  # replaced
    index.relabel([id_of(600)], Labels("fire", year=2020))
    index.remove([id_of(FROM + 1)])  # added and gone again
    index.upsert([chunk(50)], [rows[50].tolist()])  # gone and there again
    assert len(index.search(rows[700].tolist(), limit=10)) == 10  # it serves
    gate.may_end.set()
    until(lambda: shards(path) == ["shard-2"])
    expected = {*range(100, FROM + 50), 50} - {FROM + 1}
    assert index.held([id_of(n) for n in range(FROM + 50)]) == {id_of(n) for n in expected}
    assert index.count() == len(expected)
    assert index.contains(rows[FROM].tolist(), id_of(500))
    assert not index.contains(rows[500].tolist(), id_of(500))
    assert {c.id for c in index.search(rows[0].tolist(), limit=9, filters=Filters(shelves=("fire",)))} == {
        id_of(500),
        id_of(600),
    }
    index.close()
    again = EdgeIndex(path, dimensions=D, optimise_from=FROM)
    assert again.held([id_of(n) for n in range(FROM + 50)]) == {id_of(n) for n in expected}
    again.close()


def test_what_came_while_a_graph_was_built_gets_one_too(index: EdgeIndex) -> None:
    gate = _Gate(index)
    fill(index, 0, FROM)
    assert gate.begun.wait(30)
    fill(index, FROM, 3 * FROM)
    gate.may_end.set()
    until(lambda: (index.state().in_graph or 0) > 2.5 * FROM)
    assert index.count() == 3 * FROM


def test_searches_and_changes_go_on_throughout(index: EdgeIndex) -> None:
    """Random changes against a plain dictionary, over several graphs."""
    chance, rows = random.Random(3), units(9_000)
    truth: set[int] = set()
    ended, errors = threading.Event(), []

    def search() -> None:
        while not ended.is_set():
            try:
                index.search(rows[0].tolist(), limit=20)
            except Exception as error:  # noqa: BLE001 - told below
                errors.append(error)
                return

    searcher = threading.Thread(target=search)
    searcher.start()
    for first in range(0, 9_000, 250):
        added = range(first, first + 250)
        index.upsert([chunk(n) for n in added], rows[first : first + 250].tolist())
        truth |= set(added)
        gone = chance.sample(sorted(truth), 20)
        index.remove([id_of(n) for n in gone])
        truth -= set(gone)
    until(lambda: not index.state().optimising and index._touched is None)
    ended.set()
    searcher.join()
    assert errors == []
    assert (index.state().in_graph or 0) > 0
    assert index.held([id_of(n) for n in range(9_000)]) == {id_of(n) for n in truth}
    assert index.count() == len(truth)


def test_a_child_that_is_killed_costs_nothing_and_is_said(index: EdgeIndex, path: Path) -> None:
    fill(index, 0, FROM - 1)
    run = index.optimiser.run

    def killed(shard: Path) -> None:
        killer = threading.Timer(0.05, lambda: index.optimiser.pid and os.kill(index.optimiser.pid, 9))
        killer.start()
        run(shard)

    index.optimiser.run = killed  # type: ignore[method-assign]
    fill(index, FROM - 1, FROM)
    until(lambda: index.state().trouble)
    assert "graph could not be built" in str(index.state().trouble)
    assert shards(path) == ["shard-1"]
    assert index.count() == FROM
    fill(index, FROM, FROM + 10)
    assert index.count() == FROM + 10


def test_a_full_disk_is_said_and_the_index_serves_on(
    index: EdgeIndex, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.vectors.edge._SPARE_BYTES", 2**62)
    fill(index, 0, FROM)
    until(lambda: index.state().trouble)
    assert "disk is full" in str(index.state().trouble)
    assert shards(path) == ["shard-1"]
    assert len(index.search(units(1)[0].tolist(), limit=5)) == 5


def test_a_house_that_ends_does_not_wait_for_the_graph(index: EdgeIndex, path: Path) -> None:
    gate = _Gate(index)
    gate.may_end.set()
    fill(index, 0, FROM)
    assert gate.begun.wait(30)
    began = time.monotonic()
    index.close()
    assert time.monotonic() - began < 10
    again = EdgeIndex(path, dimensions=D, optimise_from=10 * FROM)
    assert again.count() == FROM
    assert len(shards(path)) == 1
    again.close()


def test_what_is_cleared_while_a_graph_is_built_does_not_come_back(index: EdgeIndex, path: Path) -> None:
    gate = _Gate(index)
    fill(index, 0, FROM)
    assert gate.begun.wait(30)
    index.clear()
    fill(index, 0, 3)
    gate.may_end.set()
    until(lambda: index.state().trouble)
    assert index.count() == 3
    assert len(shards(path)) == 1


def test_a_child_that_is_held_goes_on_when_it_is_let(index: EdgeIndex, path: Path) -> None:
    index.optimiser.halt()
    fill(index, 0, FROM)
    until(lambda: index.optimiser.pid)
    time.sleep(0.3)
    assert Path(f"/proc/{index.optimiser.pid}/stat").read_text().rsplit(")")[1].split()[0] == "T"
    index.optimiser.go_on()
    until(lambda: shards(path) == ["shard-2"])


KILLED = """
import sys, threading
from pathlib import Path
from tests.search.test_vector_optimising import *
index = EdgeIndex(Path(sys.argv[1]), dimensions=D, optimise_from=FROM)
rows = units(40_000)
first = int(sys.argv[2])
for at in range(first, 40_000, 100):
    index.upsert([chunk(n) for n in range(at, at + 100)], rows[at:at + 100].tolist())
    index.remove([id_of(at)])
    print(at + 100, index.optimiser.pid or 0, flush=True)
"""


def test_kill_9_at_any_moment_loses_nothing_and_brings_nothing_back(path: Path) -> None:
    """Six kills, at random moments of filling and of building graphs."""
    chance, acknowledged, children = random.Random(8), 0, set()
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(acknowledged)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as house:
            assert house.stdout is not None
            for _ in range(chance.randint(1, 40)):
                words = house.stdout.readline().split()
                acknowledged = int(words[0])
                children.add(int(words[1]))
            time.sleep(chance.random() * 0.05)
            house.send_signal(signal.SIGKILL)
            # What was acknowledged while it was being killed.
            for line in house.stdout.read().splitlines():
                if len(words := line.split()) == 2:
                    acknowledged = int(words[0])
        index = EdgeIndex(path, dimensions=D, optimise_from=10**9)
        assert len(shards(path)) == 1
        held = index.held([id_of(n) for n in range(acknowledged)])
        assert held == {id_of(n) for n in range(acknowledged) if n % 100}
        index.close()
    assert children - {0}, "no kill came while a graph was being built"
    for child in children - {0}:
        until(lambda child=child: not Path(f"/proc/{child}").exists(), 5)


# --- what earlier versions left -------------------------------------------------------------------


def old_index(path: Path) -> None:
    """As before there were several shards: the shard in the folder itself, the shelf its only label."""
    index = EdgeIndex(path, dimensions=D)
    fill(index, 0, 20)
    index.close()
    for part in (path / "shard-1").iterdir():
        part.rename(path / part.name)
    (path / "shard-1").rmdir()
    (path / "index.json").unlink()


def test_an_index_of_an_earlier_version_serves_and_says_what_it_lacks(path: Path) -> None:
    old_index(path)
    index = EdgeIndex(path, dimensions=D)
    query = units(20)[3].tolist()
    assert index.count() == 20
    assert not index.labelled()
    assert index.search(query, limit=1)[0].id == id_of(3)
    assert len(index.search(query, limit=30, filters=Filters(shelves=("water",)))) == 20
    with pytest.raises(IndexUnavailable, match="After the upgrade"):
        index.search(query, limit=5, filters=Filters(languages=("en",)))
    index.relabel([id_of(n) for n in range(20)], Labels("water", language="en"))
    index.note_labelled()
    assert len(index.search(query, limit=30, filters=Filters(languages=("en",)))) == 20
    index.close()
    again = EdgeIndex(path, dimensions=D)
    assert again.labelled()
    assert len(again.search(query, limit=30, filters=Filters(languages=("en",)))) == 20
    again.close()


def test_an_index_of_an_earlier_version_gets_a_graph_and_leaves_nothing_behind(path: Path) -> None:
    old_index(path)
    index = EdgeIndex(path, dimensions=D, optimise_from=FROM)
    fill(index, 20, FROM)
    until(lambda: shards(path) == ["shard-1"] and not (path / "segments").exists())
    assert not (path / "edge_config.json").exists()
    assert index.count() == FROM
    assert not index.labelled()
    index.close()
    again = EdgeIndex(path, dimensions=D)
    assert again.count() == FROM
    again.close()


def test_half_built_shards_are_deleted_at_the_start(index: EdgeIndex, path: Path) -> None:
    fill(index, 0, 10)
    index.close()
    shutil.copytree(path / "shard-1", path / "shard-2")
    (path / "shard-3").mkdir()
    again = EdgeIndex(path, dimensions=D)
    assert shards(path) == ["shard-1"]
    assert again.count() == 10
    again.close()


@pytest.mark.parametrize("note", ["", "{", '{"shard": 1}', json.dumps({"shard": "shard-9", "labels": 2})])
def test_a_damaged_note_says_so(index: EdgeIndex, path: Path, note: str) -> None:
    fill(index, 0, 10)
    index.close()
    (path / "index.json").write_text(note)
    with pytest.raises(IndexUnavailable, match="delete that folder"):
        EdgeIndex(path, dimensions=D)
