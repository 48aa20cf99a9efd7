"""Findable by words while a batch is being embedded

A batch of files lands in the folder of a running appliance with its default
settings. One after another, single files with a word of their own are dropped,
and that word is searched for through HTTP until the very file is found by its
words. The time runs from the moment at which the file has settled (its
modification time and `settle_s`) to the hit. It counts for the state of the
batch when the file was dropped: while the batch was still being read, or when
only its vectors were lacking.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median

from tests.bench import material
from tests.bench.measuring import WrongResult, percentile, status, unfurnished, until_all
from tests.running import Appliance, running

SETTLE_S = 1.0  # the default
_LONGEST_S = 120.0


def run(
    files: int = 1000, probes: int = 30, probes_while_reading: int = 10, every_s: float = 1.0
) -> Iterator[str]:
    rng = random.Random(3)
    found: dict[str, list[float]] = {"reading": [], "embedding": []}
    lacking: list[int] = []
    with tempfile.TemporaryDirectory() as scratch:
        settings = f"[ingest]\nsettle_s = {SETTLE_S}\n"
        with running(unfurnished(Path(scratch)), settings=settings) as appliance:
            appliance.drop("warm.md", "# Warm\n\nThe first file loads the models.\n")
            until_all(appliance, 1)
            size = material.write(appliance.library / "batch", material.mixed_pages(), files)
            dropped = 0
            for n in count():
                told = status(appliance)
                states = told["documents"]
                read = 1 + dropped + files <= states["findable"] + states["findable_words"]
                phase = "embedding" if read else "reading"
                if len(found["embedding"]) >= probes or (read and not states["findable_words"]):
                    break
                if phase == "reading" and len(found["reading"]) >= probes_while_reading:
                    time.sleep(0.2)
                    continue
                if read:
                    lacking.append(told["chunks"] - told["vectors"])
                began = time.monotonic()
                found[phase].append(probe(appliance, n, _word(rng)))
                dropped += 1
                time.sleep(max(0.0, every_s - (time.monotonic() - began)))
            chunks = until_findable(appliance, 1 + dropped + files)
    yield "| files dropped | probes | p50, s | p95, s | max, s |"
    yield "|---|---|---|---|---|"
    for phase, name in (
        ("embedding", "while the batch was being embedded"),
        ("reading", "while it was still being read"),
    ):
        times = found[phase]
        if times:
            yield (
                f"| {name} | {len(times)} | {median(times):.2f} | {percentile(times, 0.95):.2f} "
                f"| {max(times):.2f} |"
            )
        else:
            yield f"| {name} | 0 | | | |"
    if len(found["embedding"]) < probes:
        yield f"\nThe batch was embedded before {probes} probes were through; take more files."
    state = (
        f"; {lacking[0]} chunks lacked their vectors at the first probe, {lacking[-1]} at the last"
        if lacking
        else ""
    )
    yield (
        f"\nBatch: {files} files, {size / 1e6:.1f} MB, with the probes {chunks} chunks{state}. "
        f"`settle_s` = {SETTLE_S}; a probe is asked for every 30 ms. All files were findable in the end."
    )


def probe(appliance: Appliance, n: int, word: str) -> float:
    """Seconds from a file's settling to the first search that finds it by its words."""
    path = f"probes/{word}.md"
    file = appliance.drop(path, f"# Sheet {n}\n\nUnder the stairs lies the {word}, wrapped in wax cloth.\n")
    settled = file.stat().st_mtime + SETTLE_S
    time.sleep(max(0.0, settled - time.time()))
    while True:
        code, answer = appliance.get("/api/search", q=word)
        took = time.time() - settled
        if code != 200:
            raise WrongResult(f"/api/search answers {code}: {answer}")
        if any(hit["document"]["path"] == path and "words" in hit["found_by"] for hit in answer["items"]):
            return took
        if took > _LONGEST_S:
            raise WrongResult(f"{path} was not found within {_LONGEST_S:.0f} s")
        time.sleep(0.03)


def until_findable(appliance: Appliance, documents: int) -> int:
    until_all(appliance, documents, every_s=0.5)
    told = status(appliance)
    if told["chunks"] != told["vectors"]:
        raise WrongResult(f"{told['chunks']} chunks have {told['vectors']} vectors")
    return int(told["chunks"])


def _word(rng: random.Random) -> str:
    """A word that no book holds, and that no stemmer shortens into another."""
    return "zq" + "".join(rng.choice("bcdfghjklmnprtvw") for _ in range(9))
