"""A stocked house: stores filled directly with as many chunks of real text as asked for.

What reading and embedding would take an hour for is written through the same
verbs in a minute: the record's rows, the lexical index, the vectors. Texts are
the pages and abstracts of `material`; when they run out, new chunks are made of
their sentences, so that the words keep their frequencies. Vectors are those of
the embedding model for the first `EMBEDDED` texts; every other is one of these
with noise on it, so that the neighbourhoods stay as dense as real ones. Labels
(shelf, authors, language, format, year) are dealt out in known shares.

Its hard rule: the house that is opened on it finds nothing left to do.
"""

import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from appliance.config import Config, PathsConfig
from appliance.stacks import Stacks, open_stacks
from library.record import batches
from library.texts import Text
from library.values import Chunk, DocumentState, Extracted, FileSeen, IndexedChunk, Section
from library.watermark import Watermark
from search.embedder import DIMENSIONS, Embedder
from tests.bench import material
from tests.places import EMBEDDING_MODEL, MODELS, ROOT

EMBEDDED = 3000
CHUNKS_A_DOCUMENT, CHUNKS_A_SECTION = 20, 4
CHUNK_CHARS = 900
# Of how many documents one has it: known shares, so that filters of every width can be measured.
SHELVES = {"wide": 2, "middle": 10, "narrow": 100}  # the rest stand on "rest"
LANGUAGES, FORMATS = {"de": 10}, {"epub": 4}  # the rest are "en" and "markdown"
YEARS = range(1950, 2026)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\n")
_DOCUMENTS_TOGETHER = 100
_NOISE = 0.6  # its length beside a unit vector: cosines of about 0.86 to what it was made of
_CACHE = ROOT / "var" / "bench" / "stocked"


class Piece(msgspec.Struct, frozen=True):
    title: str
    text: str


def pieces() -> Iterator[Piece]:
    """Chunks of text without end: first what there is, then its sentences put together anew."""
    real = []
    for piece in _real():
        real.append(piece)
        yield piece
    drawn = random.Random(4)
    sentences = [
        sentence for piece in real for sentence in _SENTENCE_END.split(piece.text) if len(sentence) > 40
    ]
    while True:
        text, title = "", drawn.choice(real).title
        while len(text) < CHUNK_CHARS * 2 // 3:
            text += drawn.choice(sentences) + " "
        yield Piece(title, text[:CHUNK_CHARS].strip())


def _real() -> Iterator[Piece]:
    pages = itertools.chain(material.abstracts(), material.each_page())
    for title, text in pages:
        for part in _cut(text):
            yield Piece(title, part)


def _cut(text: str) -> Iterator[str]:
    """Runs of sentences and lines of at most about CHUNK_CHARS."""
    held = ""
    for sentence in _SENTENCE_END.split(text):
        if held and len(held) + len(sentence) > CHUNK_CHARS:
            yield held
            held = ""
        held = f"{held} {sentence}".strip()[:CHUNK_CHARS]
    if len(held) > 60:
        yield held


def fill(folder: Path, chunks: int) -> None:
    """A data folder with so many chunks; the files they came from stand in the library folder, unread."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / ".furnished").touch()
    with open_stacks(config(folder)) as stacks:
        vectors = like_real_ones()
        source = itertools.islice(pieces(), chunks)
        grouped = iter(lambda: list(itertools.islice(source, CHUNKS_A_DOCUMENT)), [])
        for first in range(0, chunks, CHUNKS_A_DOCUMENT * _DOCUMENTS_TOGETHER):
            together = list(itertools.islice(grouped, _DOCUMENTS_TOGETHER))
            _store(stacks, folder, first // CHUNKS_A_DOCUMENT, together, vectors)
        stacks.lexical.commit()


def config(folder: Path) -> Config:
    return Config(
        paths=PathsConfig(data=str(folder / "data"), models=str(MODELS), library=str(folder / "library"))
    )


def held(folder: Path) -> Iterator[IndexedChunk]:
    """Every chunk of a stocked house that nobody serves."""
    with open_stacks(config(folder)) as stacks:
        for some in batches(stacks.queue.all_indexed(), 50):
            for document in some:
                yield from stacks.queue.indexed_chunks(document)


def like_real_ones() -> Iterator[list[float]]:
    """Unit vectors without end, in the order of `pieces`: the model's own, then those with noise on them."""
    real = _embedded()
    yield from real.tolist()
    drawn = np.random.default_rng(4)
    while True:
        noise = drawn.standard_normal((1000, DIMENSIONS)).astype(np.float32) * (_NOISE / DIMENSIONS**0.5)
        made = real[drawn.integers(0, len(real), 1000)] + noise
        yield from (made / np.linalg.norm(made, axis=1, keepdims=True)).tolist()


def _embedded() -> np.ndarray:
    """The vectors of the first EMBEDDED pieces; kept, since they take a minute and never change."""
    embedder = Embedder(EMBEDDING_MODEL, threads=2)
    kept = _CACHE / f"{embedder.card.id}-{EMBEDDED}.npy"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        texts = [f"{piece.title}\n{piece.text}" for piece in itertools.islice(pieces(), EMBEDDED)]
        np.save(kept, embedder.embed(texts))
    vectors: np.ndarray = np.load(kept)
    return vectors


def _store(
    stacks: Stacks, folder: Path, first: int, documents: list[list[Piece]], vectors: Iterator[list[float]]
) -> None:
    seen = [_file(folder, first + n) for n in range(len(documents))]
    receipts = stacks.arrivals.receive_all(seen, is_gone=lambda _: False)
    taken = {one.document.id: one.digest for one in stacks.queue.begin_reading(len(documents))}
    texts = [
        _text(id_, taken[id_], first + n, parts)
        for n, ((_, id_), parts) in enumerate(zip(receipts, documents, strict=True))
    ]
    stored = stacks.queue.store_texts(texts)
    chunks = [chunk for text in texts for chunk in stored[text.document_id]]
    stacks.lexical.add(chunks)
    for some in batches(chunks, 1000):
        stacks.vectors.upsert(some, list(itertools.islice(vectors, len(some))))
    stacks.queue.advance(taken, DocumentState.FINDABLE_WORDS)
    Watermark(stacks.record).raise_to({id_: len(held) for id_, held in stored.items()})
    stacks.queue.advance(taken, DocumentState.FINDABLE)


def _file(folder: Path, n: int) -> FileSeen:
    """A file of the library folder that the record takes for read."""
    shelf = _dealt(n, SHELVES, "rest")
    kind = _dealt(n, FORMATS, "markdown")
    path = f"{shelf}/book-{n:06d}.{'md' if kind == 'markdown' else kind}"
    target = folder / "library" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(str(n))
    stat = target.stat()
    return FileSeen(path, stat.st_size, stat.st_mtime_ns, f"{n:064x}", kind)


def _text(document_id: str, digest: str, n: int, parts: list[Piece]) -> Text:
    title = f"{parts[0].title} ({n})"
    sections, chunks = [], []
    for section, own in enumerate(batches(parts, CHUNKS_A_SECTION)):
        at = 0
        for piece in own:
            chunks.append(Chunk(len(chunks), section, at, at + len(piece.text), piece.text))
            at += len(piece.text) + 2
        whole = "\n\n".join(piece.text for piece in own)
        sections.append(Section(section, 1, (title, own[0].title), "", whole))
    extracted = Extracted(
        title,
        (f"Author {n % 200}",),
        _dealt(n, LANGUAGES, "en"),
        YEARS[n % len(YEARS)],
        tuple(sections),
        subjects=(f"subject {n % 40}",),
    )
    return Text(document_id, digest, extracted, chunks)


def _dealt(n: int, shares: dict[str, int], rest: str) -> str:
    """The narrowest of the shares that the n-th document falls into."""
    fitting = [name for name, one_in in shares.items() if n % one_in == 0]
    return max(fitting, key=shares.__getitem__, default=rest)
