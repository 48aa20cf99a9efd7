"""Cost and memory over a growing library

Small documents, a thousand at a time, into one running appliance: each
thousand is dropped when the one before is through, and timed from the first
one received to the last one findable (all steps; `--words-only 1` leaves the
embedding model out and times until they are found by their words). Memory is
resident memory, read from /proc when a thousand is through. Writes
`ingest-throughput.csv` and `.svg` into the folder `--out`.
"""

import csv
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec

from tests.bench import material
from tests.bench.measuring import (
    WrongResult,
    memory,
    status,
    unfurnished,
    until_all,
    until_received,
    words_only_models,
)
from tests.bench.picture import Line, Panel, svg
from tests.places import MODELS
from tests.running import Appliance, running

_NEIGHBOURS = 3  # windows at either end whose median is taken


class Window(msgspec.Struct, frozen=True):
    documents: int  # in the library once this window is through
    chunks: int
    seconds: float  # for `step` documents
    main_mib: float
    reading_mib: float
    embedding_mib: float


def run(
    documents: int = 20_000, step: int = 1000, words_only: int = 0, out: str = "docs/pictures"
) -> Iterator[str]:
    if documents % step or documents < 2 * step:
        raise SystemExit(f"--documents is some multiple of --step ({step}), at least twice as much")
    words = bool(words_only)
    windows: list[Window] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = unfurnished(Path(scratch))
        models = words_only_models(folder) if words else MODELS
        settings = "[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n"
        with running(folder, settings=settings, models=models, ready=not words) as appliance:
            appliance.drop("warm.md", "# Warm\n\nThe first file loads the models.\n")
            until_all(appliance, 1, words=words)
            pages = material.tiny_pages()
            windows.extend(
                window(appliance, itertools.islice(pages, step), first, step, words=words)
                for first in range(0, documents, step)
            )
            for n in (0, documents // 2, documents - 1):
                findable(appliance, n, step)
    yield from _table(windows, step)
    name = "ingest-throughput-words" if words else "ingest-throughput"
    _write(Path(out), name, windows, step, words=words)
    yield f"\n{step} documents a window; series and picture: `{Path(out) / name}.csv` and `.svg`."


def window(appliance: Appliance, pages: Iterator[str], first: int, step: int, *, words: bool) -> Window:
    """Take `step` more documents from dropped to findable."""
    material.write(appliance.library / f"shelf{first // step:03d}", pages, step, first=first)
    began = until_received(appliance, 1 + first + 1)
    seconds = until_all(appliance, 1 + first + step, words=words) - began
    told = status(appliance)
    if not words and told["chunks"] != told["vectors"]:
        raise WrongResult(f"{told['chunks']} chunks have {told['vectors']} vectors")
    return Window(first + step, told["chunks"], seconds, *memory(appliance))


def findable(appliance: Appliance, n: int, step: int) -> None:
    """The word that only this document has leads to it."""
    path = f"shelf{n // step:03d}/page-{n:06d}.md"
    _, answer = appliance.get("/api/search", q=material.sheet(n))
    if not any(hit["document"]["path"] == path for hit in answer["items"]):
        raise WrongResult(f"{path} is called findable and is not found")


def _table(windows: Sequence[Window], step: int) -> Iterator[str]:
    first, last = windows[0], windows[-1]
    ends = min(_NEIGHBOURS, len(windows) // 2)
    early = median(w.seconds for w in windows[:ends])
    late = median(w.seconds for w in windows[-ends:])
    yield f"| | first {step} | last {step} | ratio |"
    yield "|---|---|---|---|"
    yield f"| seconds | {first.seconds:.1f} | {last.seconds:.1f} | {last.seconds / first.seconds:.2f} |"
    yield f"| seconds, median of {ends} windows at either end | {early:.1f} | {late:.1f} | {late / early:.2f} |"
    per_chunk = [
        w.seconds / (w.chunks - chunks) * 1000
        for w, chunks in zip(windows, [0, *(w.chunks for w in windows)], strict=False)
    ]
    yield (
        f"| ms a chunk, the same medians | {median(per_chunk[:ends]):.1f} | {median(per_chunk[-ends:]):.1f} "
        f"| {median(per_chunk[-ends:]) / median(per_chunk[:ends]):.2f} |"
    )
    for name, field in (
        ("main process", "main_mib"),
        ("reading workers", "reading_mib"),
        ("embedding worker", "embedding_mib"),
    ):
        a, b = getattr(first, field), getattr(last, field)
        most = max(getattr(w, field) for w in windows)
        yield f"| {name}, resident MiB (most: {most:.0f}) | {a:.0f} | {b:.0f} | {f'{b / a:.2f}' if a else ''} |"
    yield f"\n{last.documents} documents, {last.chunks} chunks, {sum(w.seconds for w in windows):.0f} s in all."


def _write(out: Path, name: str, windows: Sequence[Window], step: int, *, words: bool) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{name}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            ("documents", "chunks", f"seconds_per_{step}", "main_mib", "reading_mib", "embedding_mib")
        )
        rows.writerows(
            (
                w.documents,
                w.chunks,
                f"{w.seconds:.2f}",
                *(f"{mib:.1f}" for mib in (w.main_mib, w.reading_mib, w.embedding_mib)),
            )
            for w in windows
        )
    state = "findable by words" if words else "findable by words and meaning"
    rates = Line("documents per second", [(w.documents, step / w.seconds) for w in windows])
    resident = [
        Line("main process", [(w.documents, w.main_mib) for w in windows]),
        Line("reading workers", [(w.documents, w.reading_mib) for w in windows]),
        *([] if words else [Line("embedding worker", [(w.documents, w.embedding_mib) for w in windows])]),
    ]
    picture = svg(
        f"Ingest of {windows[-1].documents:,} small documents",
        "documents in the library",
        [Panel(f"Documents per second, from received to {state}", [rates]), Panel("Resident MiB", resident)],
    )
    (out / f"{name}.svg").write_text(picture)
