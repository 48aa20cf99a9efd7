"""Search end to end over HTTP, beside the bare engines

One stocked house (see `stocked`), served as a service serves it, and the bare
engines (see `bare`) over the same texts and vectors in this process. Every
query goes to the one and to the other in turn; the order changes with every
query. The appliance answers over one connection that is kept alive: ten hits
with texts, snippets and documents, as JSON.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from search.vectors.edge import OPTIMISE_FROM
from tests.bench import material, stocked
from tests.bench.bare import Bare
from tests.bench.keep_alive import KeepAlive
from tests.bench.measuring import NO_CHAT, WrongResult, cpu_s, percentile, resident_mib, size_mib, status
from tests.running import Appliance, running

# Name in the table, what is asked for, and what every hit's document must then be.
FILTERS: tuple[tuple[str, dict[str, str], str, dict[str, object]], ...] = (
    ("shelf, 1 % of the documents", {"shelf": "narrow"}, "", {"shelf": "narrow"}),
    ("shelf, 40 %", {"shelf": "wide"}, "", {"shelf": "wide"}),
    ("`lang:de`, 10 %", {}, "lang:de ", {"language": "de"}),
    ("`type:epub`, 25 %", {}, "type:epub ", {"format": "epub"}),
    ("`lang:de type:epub`, 5 %", {}, "lang:de type:epub ", {"language": "de", "format": "epub"}),
)
WARM = 200
TYPED = 60  # of the queries, key by key


def run(chunks: int = 100_000, queries: int = 300, settle_s: float = 10.0) -> Iterator[str]:
    asked, others = material.questions()[:queries], material.questions()[queries : queries + WARM]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        began = time.monotonic()
        stocked.fill(folder / "house", chunks)
        filled_s = time.monotonic() - began
        bare = Bare(
            folder / "bare",
            stocked.held(folder / "house"),
            stocked.like_real_ones(),
            threads=stocked.config(folder).search.query_threads,
        )
        with running(folder / "house", settings=NO_CHAT) as house, KeepAlive(house.url) as client:
            until_still(house, settle_s)
            for text in others:  # a house that runs for months has its pages and words at hand
                search_ms(client, text)
                bare.query(text)
            yield from beside_bare(client, bare, asked)
            yield ""
            yield from filtered(client, asked)
            yield ""
            yield from typed(client, asked)
            assert house.process
            yield (
                f"\n{status(house)['chunks']:,} chunks, {len(asked)} queries. Filled in {filled_s:.0f} s. "
                f"Main process {resident_mib(house.process.pid):.0f} MiB resident; on disk: "
                f"lexical {size_mib(folder / 'house/data/index/lexical'):.0f} MiB, vectors "
                f"{size_mib(folder / 'house/data/index') - size_mib(folder / 'house/data/index/lexical'):.0f} MiB, "
                f"record {size_mib(folder / 'house/data') - size_mib(folder / 'house/data/index'):.0f} MiB."
            )
        bare.close()


def beside_bare(client: KeepAlive, bare: Bare, asked: Sequence[str]) -> Iterator[str]:
    times: dict[str, list[float]] = {
        name: [] for name in ("embedding", "tantivy", "edge", "sum", "hybrid", "inside", "words", "idle")
    }
    for n, text in enumerate(asked):
        if n % 2:
            searched(client, text, times)
        engines = bare.query(text)
        for name, took in engines._asdict().items():
            times[name].append(took)
        times["sum"].append(sum(engines))
        if not n % 2:
            searched(client, text, times)
    p50 = {name: median(figures) for name, figures in times.items()}
    p95 = {name: percentile(figures, 0.95) for name, figures in times.items()}
    ratio = median(ours / theirs for ours, theirs in zip(times["hybrid"], times["sum"], strict=True))
    yield "| | p50 ms | p95 ms | ratio | target |"
    yield "|---|---|---|---|---|"
    for name, words in (
        ("embedding", "bare query embedding"),
        ("tantivy", "bare tantivy, 200 candidates"),
        ("edge", "bare Qdrant Edge, optimised, 200 candidates"),
        ("sum", "the three, one after the other"),
    ):
        yield f"| {words} | {p50[name]:.2f} | {p95[name]:.2f} | | |"
    yield f"| **hybrid search over HTTP** | {p50['hybrid']:.2f} | {p95['hybrid']:.2f} | **{p50['hybrid'] / p50['sum']:.2f}** of the three's p50 | 1.5 |"
    yield f"| the same, query by query | | | {ratio:.2f} | |"
    yield f"| its p95 to its p50 | | | **{p95['hybrid'] / p50['hybrid']:.2f}** | 3 |"
    yield f"| of it, inside the retriever | {p50['inside']:.2f} | {p95['inside']:.2f} | | |"
    yield f"| by words only, over HTTP | {p50['words']:.2f} | {p95['words']:.2f} | | |"
    yield f"| `/healthz`, over HTTP | {p50['idle']:.2f} | {p95['idle']:.2f} | | |"


def searched(client: KeepAlive, text: str, times: dict[str, list[float]]) -> None:
    took, answer = search_ms(client, text)
    if not answer["items"] or answer["degraded"]:
        raise WrongResult(f"{text!r} is answered with {answer}")
    times["hybrid"].append(took)
    times["inside"].append(answer["took_ms"])
    times["words"].append(search_ms(client, text, mode="words")[0])
    began = time.perf_counter()
    client.get("/healthz")
    times["idle"].append((time.perf_counter() - began) * 1000)


def filtered(client: KeepAlive, asked: Sequence[str]) -> Iterator[str]:
    """Each filter beside the same queries without it, in turn."""
    yield "| filter | p50 ms without | p50 ms with | ratio | target |"
    yield "|---|---|---|---|---|"
    for name, parameters, operators, wanted in FILTERS:
        without, with_filter, honoured = [], [], True
        for text in asked:
            without.append(search_ms(client, text)[0])
            took, answer = search_ms(client, operators + text, **parameters)
            with_filter.append(took)
            honoured &= bool(answer["items"]) and all(
                hit["document"][field] == value for hit in answer["items"] for field, value in wanted.items()
            )
        if honoured:
            plain, narrowed = median(without), median(with_filter)
            yield f"| {name} | {plain:.2f} | {narrowed:.2f} | **{narrowed / plain:.2f}** | 1.5 |"
        else:
            yield f"| {name} | | | not honoured | 1.5 |"


def typed(client: KeepAlive, asked: Sequence[str]) -> Iterator[str]:
    """What comes while the queries are typed, a request a key."""
    times, answered = [], 0
    for text in asked[:TYPED]:
        for end in range(1, min(len(text), 24) + 1):
            began = time.perf_counter()
            code, body = client.get("/api/suggest", q=text[:end])
            times.append((time.perf_counter() - began) * 1000)
            if code != 200:
                raise WrongResult(f"suggestions for {text[:end]!r} are answered with {code}: {body.decode()}")
            answered += bool(json.loads(body)["items"])
    yield "| suggestions while typing | p50 ms | p95 ms | longest ms | target |"
    yield "|---|---|---|---|---|"
    yield (
        f"| {len(times):,} keys, {answered / len(times):.0%} of them with suggestions | {median(times):.2f} | "
        f"**{percentile(times, 0.95):.2f}** | {max(times):.2f} | 50 |"
    )


def search_ms(client: KeepAlive, text: str, **parameters: str) -> tuple[float, dict]:
    """Milliseconds from sending the query to having its whole answer, and the answer."""
    began = time.perf_counter()
    code, body = client.get("/api/search", q=text, **parameters)
    took = (time.perf_counter() - began) * 1000
    if code != 200:
        raise WrongResult(f"{text!r} is answered with {code}: {body.decode()}")
    return took, json.loads(body)


def until_still(house: Appliance, settle_s: float) -> None:
    """Wait until the appliance has been without work for so long: it may put its indexes in order first."""
    still_since, before = time.monotonic(), 0.0
    while time.monotonic() - still_since < settle_s:
        time.sleep(1)
        assert house.process
        worked = cpu_s(house.process.pid)
        # A graph is built by a child, and takes a minute.
        vectors = status(house)["indexes"]["vector"]
        without_graph = vectors["vectors"] - vectors["in_graph"]
        if worked - before > 0.1 or vectors["optimising"] or without_graph >= OPTIMISE_FROM:
            still_since = time.monotonic()
        before = worked
