"""Both engines on the starter model: xllamacpp as published, ctransformers as converted

Each in its worker, asked in turn, alone and beside a process that keeps one
core busy at nice 19. Tokens per second are the engine's own: of the prompt while
it is read, of the answer while it is written.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from llm.engines.supervisor import ModelSettings, Supervisor
from tests.contracts.engines import converted_model
from tests.places import chat_model

TEXT = "Explain in detail how a household stores drinking water safely for two weeks. " * 2


def run(rounds: int = 5, tokens: int = 50) -> Iterator[str]:
    rates = asyncio.run(_measured(rounds, tokens))
    cores = len(os.sched_getaffinity(0))
    yield "| engine | threads | beside | prompt, tokens/s | answer, tokens/s | of xllamacpp beside the same |"
    yield "|---|---:|---|---:|---:|---:|"
    for (engine, threads, beside), told in rates.items():
        base = rates["xllamacpp", cores, beside]
        ratio = median(ours[1] / theirs[1] for ours, theirs in zip(told, base, strict=True))
        yield (
            f"| {engine} | {threads} | {beside} | {median(r[0] for r in told):.0f} "
            f"| {median(r[1] for r in told):.1f} | {ratio:.2f} |"
        )
    load = os.getloadavg()[1]
    yield f"\n{tokens} tokens, {rounds} rounds, taken in turn; ratios are medians over the rounds. Load {load:.1f}."


Rates = dict[tuple[str, int, str], list[tuple[float, float]]]


async def _measured(rounds: int, tokens: int) -> Rates:
    files = {"xllamacpp": chat_model(), "ctransformers": converted_model()}
    counts = sorted({1, len(os.sched_getaffinity(0))})
    hosts = {}
    rates: Rates = {}
    with tempfile.TemporaryDirectory() as scratch:
        for engine, file in files.items():
            for threads in counts:
                settings = ModelSettings(context_tokens=1024, parallel=1, threads=threads)
                hosts[engine, threads] = Supervisor(file, Path(scratch), settings)
        try:
            for host in hosts.values():
                await host.start()
                await host.settled.wait()
            for beside in ("nothing", "a busy process"):
                with _beside(beside):
                    for round_ in range(-1, rounds):
                        for (engine, threads), host in hosts.items():
                            told = (await host.engine().chat(_body(round_, tokens)))["timings"]
                            if round_ >= 0:  # the first warms all
                                read = told["prompt_n"] * 1000 / told["prompt_ms"]
                                rates.setdefault((engine, threads, beside), []).append(
                                    (read, told["predicted_n"] * 1000 / told["predicted_ms"])
                                )
        finally:
            for host in hosts.values():
                await host.stop()
    return rates


def _body(round_: int, tokens: int) -> dict[str, Any]:
    # Another first word in each round, so that no prompt is remembered.
    messages = [{"role": "system", "content": f"{round_}. Be thorough."}, {"role": "user", "content": TEXT}]
    return {"messages": messages, "temperature": 0, "max_tokens": tokens, "ignore_eos": True}


@contextlib.contextmanager
def _beside(what: str) -> Iterator[None]:
    if what == "nothing":
        yield
        return
    busy = subprocess.Popen(["nice", "-n", "19", sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        busy.kill()
        busy.wait()
