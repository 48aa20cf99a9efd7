"""Five hundred chat clients connected at once, four slots

Every client has a key and a connection of its own and asks the bare model for
one short streamed answer; all connect within the same moment. A client that is
refused (429) does as it is told: it waits for `Retry-After` and asks again.
Counted is what became of every request, and the main process's memory is
looked at all the while. The clients share the machine with the house.
"""

import asyncio
import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import msgspec

from tests.bench.measuring import percentile, resident_mib, unfurnished
from tests.running import Appliance, running


class Outcome(msgspec.Struct, frozen=True):
    """What became of one client."""

    end: str  # "answered", or what went wrong
    refusals: int = 0
    head_s: float = 0.0  # until it knew that it is answered or waits
    whole_s: float = 0.0


def run(
    clients: int = 500, slots: int = 4, tokens: int = 8, in_all: int = 256, wait_s: float = 1800.0
) -> Iterator[str]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, clients * 2 + 200), hard), hard))
    settings = f"[llm]\nparallel = {slots}\ncontext_tokens = 1024\n[llm.queue]\nin_all = {in_all}\nwait_s = {wait_s}\n"
    with (
        tempfile.TemporaryDirectory() as scratch,
        running(unfurnished(Path(scratch) / "house"), settings=settings) as house,
    ):
        assert house.process
        before = resident_mib(house.process.pid)
        began = time.monotonic()
        outcomes, most = asyncio.run(_crowd(house, clients, tokens))
        lasted = time.monotonic() - began
        queue = house.get("/status")[1]["model"]["queue"]
        after = resident_mib(house.process.pid)
    ends = Counter(outcome.end for outcome in outcomes)
    heads = [outcome.head_s for outcome in outcomes]
    wholes = [outcome.whole_s for outcome in outcomes if outcome.end == "answered"] or [0.0]
    refusals = sum(outcome.refusals for outcome in outcomes)
    yield "| | | target |"
    yield "|---|---|---|"
    yield f"| clients answered | {ends['answered']} of {clients} | all |"
    yield f"| errors other than 429 | {clients - ends['answered']} | 0 |"
    yield f"| 429s, each obeyed and asked again ({in_all} may wait) | {refusals} | |"
    yield f"| first byte of the first answer, s: median, slowest | {median(heads):.2f}, {max(heads):.2f} | |"
    yield (
        f"| whole answer of {tokens} tokens, s: median, p95, slowest "
        f"| {median(wholes):.1f}, {percentile(wholes, 0.95):.1f}, {max(wholes):.1f} | |"
    )
    yield f"| turns a second, {slots} at a time | {clients / lasted:.1f} | |"
    yield (
        f"| main process, resident MiB: before, most, after | {before:.0f}, **{most:.0f}**, {after:.0f} | 300 MB |"
    )
    yield f"\nIn the end the queue says: {json.dumps(queue)}."
    for end, count in sorted(ends.items()):
        if end != "answered":
            yield f"\n{count} times: {end}"


async def _crowd(house: Appliance, clients: int, tokens: int) -> tuple[list[Outcome], float]:
    """What became of all, and the most MiB that the main process had meanwhile."""
    model, most = house.get("/status")[1]["model"]["id"], 0.0

    async def watch() -> None:
        nonlocal most
        assert house.process
        while True:
            most = max(most, resident_mib(house.process.pid))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    outcomes = await asyncio.gather(*(_client(house.url, n, model, tokens) for n in range(clients)))
    watching.cancel()
    return outcomes, most


async def _client(url: str, n: int, model: str, tokens: int) -> Outcome:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"{n}. How is water stored?"}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": True,
    }
    began, refusals, head_s = time.monotonic(), 0, 0.0
    while True:
        try:
            status, retry_after_s, answer, head_at = await _asked(
                url, f"client-{n}", json.dumps(body).encode()
            )
        except (OSError, EOFError, ValueError) as error:
            return Outcome(f"{type(error).__name__}: {error}", refusals)
        head_s = head_s or head_at - began
        if status == 429:
            refusals += 1
            await asyncio.sleep(retry_after_s)
            continue
        whole = answer.count(b'"content":"') >= tokens - 1 and b"data: [DONE]" in answer
        end = "answered" if status == 200 and whole else f"{status}: {answer[-300:]!r}"
        return Outcome(end, refusals, head_s, time.monotonic() - began)


async def _asked(url: str, key: str, body: bytes) -> tuple[int, float, bytes, float]:
    """(status, Retry-After, all of the answer, when its head came): one request on a connection of its own."""
    host, port = urlsplit(url).netloc.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n"
            f"content-type: application/json\r\nauthorization: Bearer {key}\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        head_at = time.monotonic()
        fields = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
        return int(head.split()[1]), float(fields.get("retry-after", 0)), await reader.read(), head_at
    finally:
        writer.close()
