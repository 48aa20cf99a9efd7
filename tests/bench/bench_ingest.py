"""Full ingest, beside the bare embedder on the same texts

All of a folder dropped into a running appliance and taken from waiting to
findable (extracting, chunking, the record, both indexes, the proof included),
then the very texts that were embedded through nothing but a tokeniser and a
session, in batches of 8: in the order of the folder, and sorted by length
within windows of 64 as the embedder does it. One after the other, in the same
run; the appliance had its models loaded by a first small file.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from search.embedder import BATCH
from tests.bench import material
from tests.bench.measuring import (
    WrongResult,
    bare_embedding_s,
    status,
    texts_of,
    unfurnished,
    until_all,
    until_received,
)
from tests.running import running

WINDOW = 64


def run(books: int = 12, long_texts: int = 5, files: int = 1500, rounds: int = 3) -> Iterator[str]:
    """`books` and `long_texts`: at most so many; `files`: so many tiny ones."""
    yield "| | files | chunks | chunks/s through ingest | ÷ bare, order of the folder | ÷ bare, sorted in windows |"
    yield "|---|---|---|---|---|---|"
    for name, fill in (
        ("books", lambda folder: _books(folder, books, long_texts)),
        ("tiny files", lambda folder: _tiny(folder, files)),
    ):
        through, in_order, by_length = [], [], []
        for _ in range(rounds):
            count, texts, seconds = through_ingest(fill)
            rate = len(texts) / seconds
            through.append(rate)
            in_order.append(rate * bare_embedding_s(texts) / len(texts))
            by_length.append(rate * bare_embedding_s(_by_length(texts)) / len(texts))
        yield (
            f"| {name} | {count} | {len(texts)} | {_spread(through, 1)} | {_spread(in_order, 2)} "
            f"| {_spread(by_length, 2)} |"
        )
    yield f"\nMedian (lowest to highest) of {rounds} rounds; batches of {BATCH}; default settings but for `settle_s` = 0.2."


def through_ingest(fill: Callable[[Path], int]) -> tuple[int, list[str], float]:
    """Files, every text that was embedded for them, and seconds from the first received to the last findable."""
    with tempfile.TemporaryDirectory() as scratch:
        with running(unfurnished(Path(scratch)), settings="[ingest]\nsettle_s = 0.2\n") as appliance:
            appliance.drop("warm.md", "# Warm\n\nThe first file loads the models.\n")
            until_all(appliance, 1)
            warm = status(appliance)["vectors"]
            count = fill(appliance.library / "batch")
            began = until_received(appliance, 2)
            seconds = until_all(appliance, 1 + count) - began
            vectors = status(appliance)["vectors"] - warm
        texts = [chunk.indexed_text for chunk in texts_of(appliance) if chunk.shelf == "batch"]
        if len(texts) != vectors:
            raise WrongResult(f"{len(texts)} chunks have {vectors} vectors")
    return count, texts, seconds


def _books(folder: Path, books: int, long_texts: int) -> int:
    chosen = [*material.books()[:books], *material.long_texts()[:long_texts]]
    folder.mkdir(parents=True)
    for path in chosen:
        shutil.copyfile(path, folder / path.name)
    return len(chosen)


def _tiny(folder: Path, files: int) -> int:
    material.write(folder, material.tiny_pages(), files)
    return files


def _by_length(texts: list[str]) -> list[str]:
    """The same windows, each sorted, so that a batch holds texts of like length."""
    return [
        text
        for first in range(0, len(texts), WINDOW)
        for text in sorted(texts[first : first + WINDOW], key=len)
    ]


def _spread(figures: list[float], digits: int) -> str:
    return f"{median(figures):.{digits}f} ({min(figures):.{digits}f} to {max(figures):.{digits}f})"
