"""The vector index at a hundred thousand and at a million chunks

Vectors are made from real ones: `--texts` paragraphs of real text are embedded
by the starter model, and each vector is a mixture of two of them (0.55 to 1 of
the first) with noise of a third of their length, so that they cluster as texts
do. They go into the index the house itself uses, which builds its graph with a
child process meanwhile. Queries are vectors of the same making that are not in
it. Recall is against an exact scan in float32. Searches take 200 candidates, as
the retriever does, one at a time.
"""

import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from library.values import IndexedChunk, Labels
from search.embedder import Embedder
from search.query import Filters
from search.soundness import size_bytes
from search.vectors import edge
from search.vectors.edge import EdgeIndex
from tests.bench import material
from tests.places import embedding_model

_BATCH = 10_000
_QUERIES = 200
_OF_A_DOCUMENT = 100  # chunks
_FILTERS = {
    "one shelf of ten": Filters(shelves=("shelf 3",)),
    "half of all (a format)": Filters(formats=("epub",)),
    "all of them (a language)": Filters(languages=("en",)),
    "sixty years of 120": Filters(after=1950, before=2009),
    "format, language and years": Filters(formats=("epub",), languages=("en",), after=1950),
}


def run(chunks: int = 1_000_000, small: int = 100_000, texts: int = 3_000) -> Iterator[str]:
    real = _real(texts)
    queries = _made(real, _QUERIES, seed=10**6)
    best = _Best(queries)
    yield f"{len(real):,} real vectors, {_QUERIES} queries; candidates: 200; p50 in ms, one searcher"
    yield ""
    yield f"filters, p50 against none: {'; '.join(_FILTERS)}"
    yield ""
    yield (
        "| chunks | p50 | p95 | to the first | filters | recall@10 | recall@200 | disk MiB | "
        "main process MiB | filled in s | slowest upsert s | then still s | child's peak MiB |"
    )
    yield "|" + "---|" * 13
    with tempfile.TemporaryDirectory() as scratch:
        path, watch = Path(scratch) / "vectors", _Watch()
        edge._STILL_S = 5.0  # a benchmark has not the patience of a house
        index = EdgeIndex(path, dimensions=real.shape[1])
        first, added = 0.0, 0
        for size in sorted({small, min(3 * small, chunks), chunks}):
            began, slowest = time.monotonic(), 0.0
            for at in range(added, size, _BATCH):
                rows = _made(real, _BATCH, seed=at)
                before = time.perf_counter()
                index.upsert([_chunk(at + n) for n in range(_BATCH)], rows.tolist())
                slowest = max(slowest, time.perf_counter() - before)
                best.take(rows, at)
                watch.look(index)
            added, filled_s = size, time.monotonic() - began
            waited_s = _until_still(index, watch)
            took = _timed(index, queries, Filters())
            p50 = _p(took, 50)
            first = first or p50
            filtered = " ".join(
                f"{_p(_timed(index, queries, one), 50) / p50:.2f}" for one in _FILTERS.values()
            )
            yield (
                f"| {added:,} | {p50:.2f} | {_p(took, 95):.2f} | {p50 / first:.2f} | {filtered} "
                f"| {_recall(index, queries, best, 10):.3f} | {_recall(index, queries, best, 200):.3f} "
                f"| {size_bytes(path) / 2**20:.0f} | {_anonymous_mib():.0f} + {_mapped_mib():.0f} mapped "
                f"| {filled_s:.0f} | {slowest:.1f} | {waited_s:.0f} | {watch.peak_mib:.0f} |"
            )
        index.close()


class _Watch:
    """What the child takes, seen from outside."""

    peak_mib = 0.0

    def look(self, index: EdgeIndex) -> None:
        pid = index.optimiser.pid
        if pid is not None:
            self.peak_mib = max(self.peak_mib, _status_mib(f"/proc/{pid}/status", "VmHWM"))


def _chunk(n: int) -> IndexedChunk:
    document = n // _OF_A_DOCUMENT
    labels = Labels(
        shelf=f"shelf {document % 10}",
        authors=(f"author {document % 2000}",),
        language="en" if document % 3 else "en-gb",
        format="epub" if document % 2 else "pdf",
        year=1900 + document % 120,
        subjects=(f"subject {document % 50}", f"kind {document % 7}"),
    )
    return IndexedChunk(_id(n), str(document), n, labels, (), "")


def _real(texts: int) -> np.ndarray:
    """[texts, D]: unit vectors of paragraphs."""
    paragraphs = (
        block
        for page in material.long_pages()
        for block in page.split("\n\n")
        if 200 < len(block) < 1500 and not block.startswith("```")
    )
    found = list(dict.fromkeys(islice(paragraphs, 3 * texts)))[:texts]
    return Embedder(embedding_model(), threads=2).embed(found)


def _made(real: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """[count, D] unit vectors."""
    source = np.random.default_rng(seed)
    one, other = (real[source.integers(0, len(real), count)] for _ in range(2))
    share = source.uniform(0.55, 1, (count, 1)).astype(np.float32)
    noise = source.normal(size=one.shape).astype(np.float32)
    rows = share * one + (1 - share) * other + 0.33 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


class _Best:
    """Of each query the 200 best, by an exact scan: scores and numbers, [queries, 200]."""

    def __init__(self, queries: np.ndarray) -> None:
        self._queries = queries
        self._scores = np.full((len(queries), 200), -2, dtype=np.float32)
        self._numbers = np.zeros((len(queries), 200), dtype=np.int64)

    def take(self, rows: np.ndarray, first: int) -> None:
        scores = np.concatenate([self._scores, self._queries @ rows.T], axis=1)
        numbers = np.arange(first, first + len(rows))[None, :].repeat(len(scores), axis=0)
        numbers = np.concatenate([self._numbers, numbers], axis=1)
        top = np.argpartition(-scores, 200, axis=1)[:, :200]
        self._scores = np.take_along_axis(scores, top, axis=1)
        self._numbers = np.take_along_axis(numbers, top, axis=1)

    def of(self, query: int, most: int) -> set[str]:
        order = np.argsort(-self._scores[query])[:most]
        return {_id(int(self._numbers[query, n])) for n in order}


def _id(n: int) -> str:
    return f"00000000-0000-0000-0000-{n:012d}"


def _recall(index: EdgeIndex, queries: np.ndarray, best: _Best, most: int) -> float:
    found = 0
    for at, query in enumerate(queries):
        held = {candidate.id for candidate in index.search(query.tolist(), limit=200)[:most]}
        found += len(held & best.of(at, most))
    return found / (most * len(queries))


def _timed(index: EdgeIndex, queries: np.ndarray, filters: Filters) -> list[float]:
    took = []
    for query in [*queries[:20], *queries]:
        vector = query.tolist()
        began = time.perf_counter()
        index.search(vector, limit=200, filters=filters)
        took.append((time.perf_counter() - began) * 1000)
    return took[20:]


def _p(took: list[float], percent: int) -> float:
    return float(np.percentile(took, percent))


def _until_still(index: EdgeIndex, watch: _Watch) -> float:
    """Wait until no graph is being built or wanted; how long that took."""
    began, quiet = time.monotonic(), 0
    while quiet < 30:
        watch.look(index)
        if (trouble := index.state().trouble) is not None:
            raise SystemExit(trouble)
        still = index.optimiser.pid is None and index._touched is None
        quiet = quiet + 1 if still else 0
        threading.Event().wait(0.3)
    return time.monotonic() - began - 9


def _status_mib(path: str, field: str) -> float:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":")), 0.0)


def _anonymous_mib() -> float:
    return _status_mib("/proc/self/status", "RssAnon")


def _mapped_mib() -> float:
    return _status_mib("/proc/self/status", "RssFile")
