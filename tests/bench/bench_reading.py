"""Everything but embedding, on one core

Extracting, chunking, the record and the lexical index, through a running
appliance whose whole process tree may use one core only, and which has a
tokeniser but no embedding model: documents become findable by their words and
stay so. Megabytes are those of the extracted text in UTF-8, as the chunks hold
it, not of the files. Processor seconds are those of the main process and of
the workers that are alive, the search for the last file included.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from tests.bench import material
from tests.bench.measuring import (
    NO_CHAT,
    WrongResult,
    cpu_s,
    texts_of,
    unfurnished,
    until_all,
    until_received,
    words_only_models,
)
from tests.running import Appliance

SETTLE = "[ingest]\nsettle_s = 0.2\n"


def run(editions: int = 4, pages: int = 2000, texts: int = 150, rounds: int = 3) -> Iterator[str]:
    """`editions` of each EPUB, Markdown `pages` of some thousand characters, plain `texts` of a hundred thousand."""
    yield "| | files | MB of text | MB/s on one core, waiting to found by words | processor seconds | MB per processor second |"
    yield "|---|---|---|---|---|---|"
    for name, fill in (
        ("EPUB", lambda folder: _books(folder, editions)),
        ("Markdown", lambda folder: _written(folder, material.long_pages(), pages, ".md")),
        ("plain text", lambda folder: _written(folder, material.plain_texts(), texts, ".txt")),
    ):
        measured = [on_one_core(fill) for _ in range(rounds)]
        if not measured[0][0]:
            yield f"| {name} | 0 | | | | |"
            continue
        count, size = measured[0][0], measured[0][1] / 1e6
        wall = [size / seconds for _, _, seconds, _ in measured]
        busy = [seconds for _, _, _, seconds in measured]
        yield (
            f"| {name} | {count} | {size:.1f} | {median(wall):.2f} ({min(wall):.2f} to {max(wall):.2f}) "
            f"| {median(busy):.1f} | {size / median(busy):.2f} |"
        )
    yield f"\nMedian (lowest to highest) of {rounds} rounds; default settings but for `settle_s` = 0.2, no chat model."


def on_one_core(fill: Callable[[Path], int]) -> tuple[int, int, float, float]:
    """Files, bytes of their text, wall seconds from the first received to the last found, processor seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = unfurnished(Path(scratch))
        appliance = Appliance(folder, settings=SETTLE + NO_CHAT, models=words_only_models(folder))
        everywhere = os.sched_getaffinity(0)
        # What is started inherits the core; the questions are then asked from another one, if there is one.
        os.sched_setaffinity(0, {max(everywhere)})
        try:
            appliance.start(ready=False)
        finally:
            os.sched_setaffinity(0, everywhere - {max(everywhere)} or everywhere)
        try:
            assert appliance.process
            appliance.drop("warm.md", "# Warm\n\nThe first file loads the tokeniser.\n")
            until_all(appliance, 1, words=True)
            count = fill(appliance.library / "batch")
            if not count:
                return 0, 0, 0.0, 0.0
            busy = cpu_s(appliance.process.pid)
            began = until_received(appliance, 2)
            # Asked seldom: on a machine with one core the questions take from what is measured.
            seconds = until_all(appliance, 1 + count, words=True, every_s=0.1) - began
            found_by_words(appliance)
            busy = cpu_s(appliance.process.pid) - busy
        finally:
            os.sched_setaffinity(0, everywhere)
            appliance.stop()
        chunks = [chunk for chunk in texts_of(appliance) if chunk.shelf == "batch"]
        if len({chunk.document_id for chunk in chunks}) != count:
            raise WrongResult(f"{count} files were read, but not all of them have a chunk")
    return count, sum(len(chunk.text.encode()) for chunk in chunks), seconds, busy


def found_by_words(appliance: Appliance) -> None:
    code, answer = appliance.get("/api/search", q="the", shelf="batch")
    if code != 200 or not answer["items"]:
        raise WrongResult(f"a search finds nothing in the batch: {code} {answer}")


def _books(folder: Path, editions: int) -> int:
    folder.mkdir(parents=True)
    books = material.books()
    for copy in range(editions):
        for book in books:
            material.edition(book, copy, folder / f"{copy}-{book.name}")
    return editions * len(books)


def _written(folder: Path, pages: Iterator[str], count: int, suffix: str) -> int:
    # Beside the library first: what is moved in at once is received at once.
    outside = folder.parent.parent / "outside"
    material.write(outside, pages, count, suffix=suffix)
    shutil.move(outside, folder)
    return count
