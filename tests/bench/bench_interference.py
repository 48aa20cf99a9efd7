"""Search and answers while a batch is being ingested, beside an idle appliance

One appliance with the starter library and a batch of files in its folder.
Blocks in turn: ingest paused, then ingest going on. In each block somebody
searches at a steady pace, then one answer of fixed length streams from the raw
model through `/v1/chat/completions`. The rate of the vectors during the blocks
tells what the ingest itself still gets done meanwhile.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec

from tests.bench import material
from tests.bench.bench_chat import over_http
from tests.bench.measuring import WrongResult, cpu_s, ingest_workers, percentile, status
from tests.running import Appliance, running

_SUBJECTS = ("water", "fire", "a broken arm", "bread", "radio", "shelter", "snow", "a fever", "seeds", "rope")
_DEEDS = ("store", "find", "treat", "build", "repair", "keep", "carry", "clean", "prepare", "share")


class Block(msgspec.Struct, frozen=True):
    p50_ms: float
    p95_ms: float
    tokens_per_s: float
    first_token_s: float
    # What the ingest got done while somebody searched, and while an answer streamed.
    searched_vectors: int
    searched_s: float
    answered_vectors: int
    answered_s: float


def run(
    files: int = 1500,
    pairs: int = 5,
    searches: int = 100,
    every_s: float = 0.1,
    tokens: int = 200,
    alone_s: float = 20.0,
) -> Iterator[str]:
    idle: list[Block] = []
    during: list[Block] = []
    with tempfile.TemporaryDirectory() as scratch, running(Path(scratch)) as appliance:
        until_quiet(appliance, above=0)
        model = status(appliance)["model"]["id"]
        block(appliance, -1, model, searches, every_s, tokens)  # warms the caches, counts for nothing
        can_pause = appliance.request("POST", "/api/ingest/pause", {})[0] < 300
        if not can_pause:
            idle = [block(appliance, n, model, searches, every_s, tokens) for n in range(pairs)]
        material.write(appliance.library / "batch", material.mixed_pages(), files)
        if can_pause:
            told(appliance, "resume")
        alone = undisturbed(appliance, alone_s)
        for n in range(pairs):
            if can_pause:
                told(appliance, "pause")
                until_still(appliance)
                idle.append(block(appliance, 2 * n, model, searches, every_s, tokens))
                told(appliance, "resume")
                until_under_way(appliance)
            during.append(block(appliance, 1000 + n, model, searches, every_s, tokens))
            if not lacking(appliance):
                raise WrongResult(
                    "The batch was done before the blocks were; take more files, or fewer pairs."
                )
            # The rest is no part of the figures; it has not got in anybody's way.
    yield "| | idle | during ingest | ratio, median of the pairs |"
    yield "|---|---|---|---|"
    yield _row("search p50, ms", idle, during, "p50_ms")
    yield _row("search p95, ms", idle, during, "p95_ms")
    yield _row("an answer's tokens/s", idle, during, "tokens_per_s")
    yield _row("time to its first token, s", idle, during, "first_token_s", digits=3)
    yield (
        f"| vectors/s ({alone:.1f} when nobody asks anything) | 0 "
        f"| {_rate(during, 'searched'):.1f} while searching, "
        f"{_rate(during, 'answered'):.1f} while answering | |"
    )
    way = (
        "in turn, ingest paused for the idle ones"
        if can_pause
        else "idle ones first: ingest cannot be paused"
    )
    yield (
        f"\n{pairs} pairs of blocks, {way}; {searches} searches a block, one every {every_s * 1000:.0f} ms, "
        f"then {tokens} tokens. Batch: {files} files."
    )


def block(appliance: Appliance, n: int, model: str, searches: int, every_s: float, tokens: int) -> Block:
    before, began = status(appliance)["vectors"], time.monotonic()
    times = [search_ms(appliance, n * searches + m, every_s) for m in range(searches)]
    between, searched = status(appliance)["vectors"], time.monotonic()
    first, rate = over_http(
        appliance.url,
        {
            "model": model,
            "messages": [
                {"role": "user", "content": f"{n}. Explain how a household stores water for two weeks."}
            ],
            "temperature": 0,
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
        },
    )
    after, answered = status(appliance)["vectors"], time.monotonic()
    return Block(
        percentile(times, 0.5),
        percentile(times, 0.95),
        rate,
        first,
        between - before,
        searched - began,
        after - between,
        answered - searched,
    )


def search_ms(appliance: Appliance, n: int, every_s: float) -> float:
    """One search as a browser sees it, connection included; then the rest of its turn is waited out."""
    words = f"how to {_DEEDS[n // 10 % 10]} {_SUBJECTS[n % 10]} in month {n}"
    began = time.perf_counter()
    code, answer = appliance.get("/api/search", q=words)
    took = time.perf_counter() - began
    if code != 200 or not answer["items"] or answer["degraded"]:
        raise WrongResult(f"a search for {words!r} is answered {code}: {answer}")
    time.sleep(max(0.0, every_s - took))
    return took * 1000


def told(appliance: Appliance, what: str) -> None:
    code, _, answer = appliance.request("POST", f"/api/ingest/{what}", {})
    if code >= 300:
        raise WrongResult(f"/api/ingest/{what} answers {code}: {answer!r}")


def lacking(appliance: Appliance) -> int:
    now = status(appliance)
    return int(now["chunks"] - now["vectors"]) + now["documents"]["waiting"] + now["documents"]["reading"]


def until_quiet(appliance: Appliance, *, above: int) -> None:
    """Wait until all that there is has been made findable."""
    appliance.until(
        lambda: (
            (now := status(appliance)["documents"])["findable"] > above
            and sum(now.values()) == now["findable"]
        ),
        600,
    )


def until_still(appliance: Appliance) -> None:
    """Wait until the workers of a paused ingest have finished what was in their hands."""
    for _ in range(100):
        before = sum(map(cpu_s, ingest_workers(appliance)))
        time.sleep(1.5)
        if sum(map(cpu_s, ingest_workers(appliance))) - before < 0.05:
            return
    raise WrongResult("ingest goes on although it is paused")


def until_under_way(appliance: Appliance) -> None:
    before = status(appliance)["vectors"]
    appliance.until(lambda: status(appliance)["vectors"] > before, 60)


def undisturbed(appliance: Appliance, seconds: float) -> float:
    """Vectors per second while nobody asks anything, from the first of them on."""
    until_under_way(appliance)
    before, began = status(appliance)["vectors"], time.monotonic()
    time.sleep(seconds)
    return float(status(appliance)["vectors"] - before) / (time.monotonic() - began)


def _rate(blocks: list[Block], what: str) -> float:
    """Over all blocks together: vectors come a window at a time, and a block may see two or three windows."""
    vectors = sum(getattr(block, f"{what}_vectors") for block in blocks)
    return float(vectors / sum(getattr(block, f"{what}_s") for block in blocks))


def _row(name: str, idle: list[Block], during: list[Block], field: str, digits: int = 1) -> str:
    quiet, busy = ([float(getattr(b, field)) for b in blocks] for blocks in (idle, during))
    ratio = median(b / a for a, b in zip(quiet, busy, strict=True))
    return f"| {name} | {median(quiet):.{digits}f} | {median(busy):.{digits}f} | {ratio:.2f} |"
