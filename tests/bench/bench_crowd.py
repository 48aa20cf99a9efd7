"""Sixty-four searchers at once, beside one

One stocked house (see `stocked`). In turn, round after round: one searcher
with the house held to a single core, one searcher with all cores, then the
crowd. Every searcher has a connection of its own, kept alive, and asks again
as soon as it is answered, another question each time. The searchers share the
machine with the house; what they use of it is told.

One search alone already asks both indexes side by side, so it uses more than
one core; the rate of a single thread is the one with the house on one core.
"""

import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import msgspec

from tests.bench import material, stocked
from tests.bench.bench_search import until_still
from tests.bench.keep_alive import KeepAlive
from tests.bench.measuring import NO_CHAT, cpu_s, percentile
from tests.running import Appliance, running


class Spell(msgspec.Struct, frozen=True):
    """What so many searchers got done in a spell of time."""

    per_s: float
    p50_ms: float
    p95_ms: float
    worst_ms: float
    errors: tuple[str, ...]
    house_cores: float  # processor seconds a second
    client_cores: float


def run(
    chunks: int = 100_000, searchers: int = 64, spell_s: float = 10.0, rounds: int = 3, settle_s: float = 10.0
) -> Iterator[str]:
    cores = len(os.sched_getaffinity(0))
    spells: dict[str, list[Spell]] = {"one core": [], "alone": [], "crowd": []}
    with tempfile.TemporaryDirectory() as scratch:
        stocked.fill(Path(scratch) / "house", chunks)
        with running(Path(scratch) / "house", settings=NO_CHAT) as house:
            until_still(house, settle_s)
            spell(house, 4, spell_s / 4)  # warms the caches, counts for nothing
            for _ in range(rounds):
                held_to(house, 1)
                spells["one core"].append(spell(house, 1, spell_s))
                held_to(house, cores)
                spells["alone"].append(spell(house, 1, spell_s))
                spells["crowd"].append(spell(house, searchers, spell_s))
    yield "| | searches/s | p50 ms | p95 ms | slowest ms | errors | cores used: house, searchers |"
    yield "|---|---|---|---|---|---|---|"
    yield _row("one searcher, the house on one core", spells["one core"])
    yield _row(f"one searcher, {cores} cores", spells["alone"])
    yield _row(f"{searchers} searchers, {cores} cores", spells["crowd"])
    yield ""
    yield "| | ratio | target |"
    yield "|---|---|---|"
    yield f"| crowd ÷ ({cores} cores × one searcher on one core) | **{_ratio(spells, 'one core', cores)}** | 0.8 |"
    yield f"| crowd ÷ ({cores} cores × one searcher on all of them) | {_ratio(spells, 'alone', cores)} | |"
    for sentence in sorted({error for found in spells.values() for one in found for error in one.errors}):
        yield f"\nError: {sentence}"


def spell(house: Appliance, searchers: int, lasts_s: float) -> Spell:
    """Let them search for so long; what they were answered with is looked at, not trusted."""
    # Whoever asks for a phrase may rightly find nothing.
    asked = [text for text in material.questions() if '"' not in text]
    times: list[list[float]] = [[] for _ in range(searchers)]
    errors: list[str] = []
    begin = threading.Barrier(searchers + 1)

    def search(searcher: int) -> None:
        with KeepAlive(house.url) as client:
            begin.wait()
            ends = time.monotonic() + lasts_s
            n = searcher * 37
            while time.monotonic() < ends:
                n += 1
                began = time.perf_counter()
                try:
                    code, body = client.get("/api/search", q=asked[n % len(asked)])
                except OSError as error:
                    errors.append(f"{type(error).__name__}: {error}")
                    return
                times[searcher].append((time.perf_counter() - began) * 1000)
                wrong = _wrong(code, body)
                if wrong:
                    errors.append(wrong)

    threads = [threading.Thread(target=search, args=(n,)) for n in range(searchers)]
    for thread in threads:
        thread.start()
    assert house.process
    begin.wait()
    began, house_before, client_before = time.monotonic(), cpu_s(house.process.pid), time.process_time()
    for thread in threads:
        thread.join()
    lasted = time.monotonic() - began
    all_times = [one for own in times for one in own]
    return Spell(
        len(all_times) / lasted,
        median(all_times),
        percentile(all_times, 0.95),
        max(all_times),
        tuple(errors),
        (cpu_s(house.process.pid) - house_before) / lasted,
        (time.process_time() - client_before) / lasted,
    )


def held_to(house: Appliance, cores: int) -> None:
    """Have all threads of the main process run on so many cores."""
    assert house.process
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    for thread in Path(f"/proc/{house.process.pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), allowed)


def _wrong(code: int, body: bytes) -> str | None:
    if code != 200:
        return f"{code}: {body.decode()}"
    # Every hit of an answer is looked at only where it is cheap: the searchers share the machine.
    if not body.startswith(b'{"items":[{') or b'"degraded":[]' not in body:
        return f"an answer without hits, or degraded: {json.loads(body).get('degraded')}"
    return None


def _row(name: str, spells: Sequence[Spell]) -> str:
    def middle(field: str) -> float:
        return median(getattr(one, field) for one in spells)

    errors = sum(len(one.errors) for one in spells)
    return (
        f"| {name} | {middle('per_s'):.1f} | {middle('p50_ms'):.1f} | {middle('p95_ms'):.1f} "
        f"| {max(one.worst_ms for one in spells):.0f} | {errors} "
        f"| {middle('house_cores'):.2f}, {middle('client_cores'):.2f} |"
    )


def _ratio(spells: dict[str, list[Spell]], single: str, cores: int) -> str:
    ratios = [
        crowd.per_s / (cores * one.per_s) for crowd, one in zip(spells["crowd"], spells[single], strict=True)
    ]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
