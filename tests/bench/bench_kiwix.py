"""Beside Kiwix: the same pages, the same questions, in turn

Abstracts of SciFact and pages of tldr as HTML files: packed by `zimwriterfs`
and served by `kiwix-serve` on the one side, dropped into an appliance's folder
on the other. Questions with known answers: SciFact's claims, as sentences, and
the first words of abstracts' titles, as somebody types who knows what he is
looking for. Each goes to Kiwix, to the appliance by words only and to the
appliance as it is. The appliance keeps its connection; Kiwix ends its own with
every search, so the next one is opened before the clock runs. A hit is a page
that answers among the first ten results; the appliance's results are passages,
so two of one page take two of its ten places.

Needs Debian's kiwix-tools and zim-tools, and says so where they are not.
"""

import contextlib
import html
import itertools
import json
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from urllib.parse import unquote

import msgspec
from markdown_it import MarkdownIt

from tests.bench import material
from tests.bench.keep_alive import KeepAlive
from tests.bench.measuring import NO_CHAT, WrongResult, percentile, unfurnished, until_all
from tests.places import SHARED_DATA
from tests.running import running

COLLECTION = SHARED_DATA / "retrieval-scifact"
TOOLS = ("zimwriterfs", "kiwix-serve")
BOOK = "pages"
RESULTS = 10
TITLE_WORDS = 4
FEWEST_QUESTIONS = 300  # for a figure that means something


class Question(msgspec.Struct, frozen=True):
    text: str
    answered_by: frozenset[str]  # names of pages


class Answers(msgspec.Struct):
    """What one side made of one kind of question."""

    times_ms: list[float] = []
    hits: int = 0
    empty: int = 0


# Names of the pages found, best first, and how long it took.
Ask = Callable[[str], tuple[list[str], float]]


def run(pages: int = 8000, questions: int = 400) -> Iterator[str]:
    lacking = [name for name in TOOLS if shutil.which(name) is None]
    if lacking:
        yield f"Not run: {' and '.join(lacking)} not installed (Debian: apt install kiwix-tools zim-tools)."
        return
    if not COLLECTION.exists():
        yield f"Not run: {COLLECTION} is not there; it is not part of the repository."
        return
    kinds = {"claims, as sentences": claims(questions), "words of titles": titles(questions)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = unfurnished(Path(scratch) / "house")
        written = write_pages(folder / "library" / "pages", pages, kinds.values())
        zim = pack(folder / "library" / "pages", Path(scratch))
        with running(folder, settings=NO_CHAT) as house, serving(zim) as kiwix_url:
            until_all(house, written, every_s=1)
            with KeepAlive(house.url) as ours:
                sides: dict[str, Ask] = {
                    "Kiwix": lambda text: ask_kiwix(kiwix_url, text),
                    "Almanac, words only": lambda text: ask_almanac(ours, text, "words"),
                    "Almanac": lambda text: ask_almanac(ours, text, "hybrid"),
                }
                for warming in material.questions()[-20:]:
                    for ask in sides.values():
                        ask(warming)
                for kind, asked in kinds.items():
                    yield from rows(kind, answered(sides, asked), len(asked))
                    yield ""
    yield f"{written:,} pages; every question once, the order of the three changes with each."
    yield f"zimwriterfs and kiwix-serve {version()}."


def rows(kind: str, found: dict[str, Answers], questions: int) -> Iterator[str]:
    kiwix, words, hybrid = found.values()
    first = median(kiwix.times_ms)
    yield f"| {questions} {kind} | hit@{RESULTS} | nothing found | p50 ms | p95 ms |"
    yield "|---|---|---|---|---|"
    for side, answers in found.items():
        yield (
            f"| {side} | {answers.hits / questions:.1%} | {answers.empty / questions:.1%} "
            f"| {median(answers.times_ms):.2f} | {percentile(answers.times_ms, 0.95):.2f} |"
        )
    yield f"| words only ÷ Kiwix, p50 (target 1) | | | **{median(words.times_ms) / first:.2f}** | |"
    yield f"| Almanac - Kiwix, p50, ms (target 3) | | | **{median(hybrid.times_ms) - first:+.2f}** | |"


def answered(sides: dict[str, Ask], asked: Sequence[Question]) -> dict[str, Answers]:
    found = {side: Answers() for side in sides}
    for n, question in enumerate(asked):
        turn = n % len(sides)
        for side in [*sides][turn:] + [*sides][:turn]:
            pages, took_ms = sides[side](question.text)
            found[side].times_ms.append(took_ms)
            found[side].hits += not question.answered_by.isdisjoint(pages[:RESULTS])
            found[side].empty += not pages
    return found


# --- pages and questions ---------------------------------------------------------------------------


def claims(count: int) -> list[Question]:
    """SciFact's claims of test, then of train, with the abstracts that speak of them."""
    texts = {
        one["_id"]: one["text"]
        for one in map(json.loads, (COLLECTION / "queries.jsonl").read_text().splitlines())
    }
    answers: dict[str, set[str]] = {}
    for split in ("test", "train"):
        for line in (COLLECTION / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]:
            query, document, score = line.split("\t")
            if int(score) > 0:
                answers.setdefault(query, set()).add(f"paper-{document}.html")
    return [
        Question(texts[query], frozenset(found)) for query, found in itertools.islice(answers.items(), count)
    ]


def titles(count: int) -> list[Question]:
    """The first words of titles that no other title begins with."""
    beginnings: dict[str, list[str]] = {}
    for paper in papers():
        words = re.findall(r"\w+", paper["title"])[:TITLE_WORDS]
        if len(words) == TITLE_WORDS:
            beginnings.setdefault(" ".join(words), []).append(f"paper-{paper['_id']}.html")
    alone = (Question(text, frozenset(found)) for text, found in beginnings.items() if len(found) == 1)
    return list(itertools.islice(alone, count))


def papers() -> list[dict[str, str]]:
    return [json.loads(line) for line in (COLLECTION / "corpus.jsonl").read_text().splitlines()]


def write_pages(folder: Path, count: int, kinds: Iterator[list[Question]] | Sequence[list[Question]]) -> int:
    """Write the pages that answer something, then others, `count` in all; returns how many there are."""
    folder.mkdir(parents=True)
    wanted = {name for asked in kinds for question in asked for name in question.answered_by}
    everything = sorted(papers(), key=lambda paper: f"paper-{paper['_id']}.html" not in wanted)
    rendered = itertools.chain(
        (
            (f"paper-{paper['_id']}.html", paper["title"], f"<p>{html.escape(paper['text'])}</p>")
            for paper in everything
        ),
        (
            (f"note-{n}.html", title, MarkdownIt().render(text))
            for n, (title, text) in enumerate(material.each_page())
        ),
    )
    written = 0
    for name, title, body in itertools.islice(rendered, max(count, len(wanted))):
        heading = "" if body.startswith("<h1") else f"<h1>{html.escape(title)}</h1>"
        (folder / name).write_text(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>'
            f"<body>{heading}{body}</body></html>"
        )
        written += 1
    return written


# --- the two sides ---------------------------------------------------------------------------------


def ask_almanac(client: KeepAlive, text: str, mode: str) -> tuple[list[str], float]:
    began = time.perf_counter()
    code, body = client.get("/api/search", q=text, mode=mode, limit=RESULTS)
    took = (time.perf_counter() - began) * 1000
    answer = json.loads(body)
    if code != 200 or answer["degraded"]:
        raise WrongResult(f"{text!r} is answered with {code}: {body.decode()[:500]}")
    return [hit["document"]["path"].rpartition("/")[2] for hit in answer["items"]], took


def ask_kiwix(url: str, text: str) -> tuple[list[str], float]:
    with KeepAlive(url) as client:
        began = time.perf_counter()
        code, body = client.get("/search", pattern=text, **{"books.name": BOOK}, pageLength=RESULTS)
        took = (time.perf_counter() - began) * 1000
    page = body.decode()
    if code == 500:  # its own page of results cannot show some titles: nothing found
        return [], took
    if code != 200 or 'class="results"' not in page:
        raise WrongResult(f"Kiwix answers {text!r} with {code}: {page[:500]}")
    results = page.partition('class="results"')[2]
    return [unquote(path) for path in re.findall(rf'href="[^"]*/{BOOK}/([^"]+)"', results)], took


def pack(folder: Path, scratch: Path) -> Path:
    """The folder's pages as a ZIM file with a full-text index."""
    source, target = scratch / "zim-source", scratch / f"{BOOK}.zim"
    shutil.copytree(folder, source)
    (source / "illustration.png").write_bytes(blank_png(48))
    welcome = min(path.name for path in source.glob("*.html"))
    described = {
        "title": "Pages",
        "description": "Pages",
        "creator": "none",
        "publisher": "none",
        "name": BOOK,
    }
    command = ["zimwriterfs", "--welcome", welcome, "--illustration", "illustration.png", "--language", "eng"]
    for name, value in described.items():
        command += [f"--{name}", value]
    done = subprocess.run([*command, str(source), str(target)], capture_output=True, text=True, check=False)
    if done.returncode or not target.exists():
        raise WrongResult(f"zimwriterfs failed: {done.stderr[-1000:]}")
    return target


@contextlib.contextmanager
def serving(zim: Path) -> Iterator[str]:
    """kiwix-serve over one book, on this machine only, for the length of a block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["kiwix-serve", "--address", "127.0.0.1", "--port", str(port), str(zim)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            ends = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                if time.monotonic() > ends or process.poll() is not None:
                    raise WrongResult("kiwix-serve does not answer")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def version() -> str:
    told = subprocess.run(["kiwix-serve", "--version"], capture_output=True, text=True, check=False).stdout
    return "; ".join(told.split("\n")[:3]).strip("; ")


def blank_png(side: int) -> bytes:
    """A white square; every ZIM file must have a picture."""

    def part(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\x00" + b"\xff" * side) * side)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")
