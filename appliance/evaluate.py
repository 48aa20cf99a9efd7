"""Evaluation wired up: a collection through the very parts that serve, in a house of its own.

Each of the collection's documents becomes a document with one section, cut by
the same chunker, indexed by the same indexes, retrieved by the same retriever.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from appliance.config import Config
from appliance.embedding_models import embedding_model_folder
from appliance.stacks import Stacks, open_stacks
from appliance.word_indexes import BUILDING_WORDS, SERVING_WORDS
from ingest.chunking import WordCounts, chunk
from ingest.indexes import Indexes
from ingest.refill import refill
from library.errors import InvalidRequest, SetupError
from library.texts import Text
from library.values import DocumentState, Extracted, FileSeen, Section
from library.watermark import Watermark
from search.embedder import BUDGET_TOKENS, Embedder, TokenCounter
from search.evaluation import CorpusDocument, evaluate, read_collection, read_corpus
from search.lexical import LexicalIndex
from search.values import Mode

_TOGETHER = 512  # documents a commit and an embedding call


def evaluate_collection(
    config: Config,
    folder: Path,
    *,
    split: str,
    alpha: float,
    workplace: Path,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Means for each mode, as `search.evaluation.METRICS` names them, their intervals, and the sizes.

    Raises InvalidRequest when the folder is not a BEIR collection.
    """
    if not 0 <= alpha <= 1:
        raise InvalidRequest("--alpha", "must be between 0 and 1.")
    collection = read_collection(folder, split)
    with open_collection(config, folder, workplace, progress) as stacks:
        means: dict[str, Any] = {}
        intervals: dict[str, Any] = {}
        for mode in (Mode.LEXICAL, Mode.VECTOR, Mode.HYBRID):
            progress(f"asking {len(collection.queries)} queries, {mode.value}")
            figures = evaluate(
                stacks.retriever, collection, mode=mode, document_key=lambda path: path, alpha=alpha
            )
            means[mode.value] = {metric: one.mean for metric, one in figures.items()}
            intervals[mode.value] = {metric: [one.low, one.high] for metric, one in figures.items()}
        sizes = {
            "queries": len(collection.queries),
            "documents": stacks.catalogue.counts()[DocumentState.FINDABLE],
            "chunks": stacks.lexical.count(),
        }
    return means | {"intervals": intervals} | sizes


@contextmanager
def open_collection(
    config: Config, folder: Path, workplace: Path, progress: Callable[[str], None]
) -> Iterator[Stacks]:
    """The collection's house in `workplace`, indexed if it is not yet. Raises InvalidRequest."""
    models = embedding_model_folder(config)
    paths = msgspec.structs.replace(config.paths, data=str(workplace), models=str(config.models), library="")
    # Never on the house's own server: its collection is that of the library.
    search = msgspec.structs.replace(config.search, vector_url="")
    with open_stacks(msgspec.structs.replace(config, paths=paths, search=search)) as stacks:
        stacks.embedder.open()
        _renew_words(stacks)
        if not stacks.lexical.count():
            _index(stacks, folder, models, progress)
        yield stacks


def _renew_words(stacks: Stacks) -> None:
    """Indexes that were kept for a next run may be of an earlier version, or incomplete. Raises SetupError."""
    building, indexes = stacks.words.building, Indexes(stacks.queue, stacks.words, stacks.meaning)
    if building is not None and isinstance(building.lexical, LexicalIndex):
        refill(stacks.queue, indexes, building.lexical)
        stacks.facts.put_all({SERVING_WORDS: building.generation, BUILDING_WORDS: None})
        stacks.words.swap().lexical.close()
    if (stacks.lexical.count(), stacks.vectors.count()) != stacks.catalogue.indexed_totals():
        raise SetupError("The indexes kept from an earlier run are not complete. Remove that folder.")


def _index(stacks: Stacks, folder: Path, models: Path, progress: Callable[[str], None]) -> None:
    count_tokens = WordCounts(TokenCounter(models))
    embedder = Embedder(models, threads=2)
    corpus, done = read_corpus(folder), 0
    while batch := list(islice(corpus, _TOGETHER)):
        for source in batch:
            _store(stacks, source, count_tokens)
        stacks.words.commit()
        mark = Watermark(stacks.record)
        lacking = mark.lacking(_TOGETHER)
        chunks = [piece for document, _, _ in lacking for piece in stacks.queue.indexed_chunks(document)]
        vectors = embedder.embed([piece.indexed_text for piece in chunks])
        stacks.vectors.upsert(chunks, vectors.tolist())
        mark.raise_to({document.id: document.chunks for document, _, _ in lacking})
        stacks.queue.advance({document.id: digest for document, digest, _ in lacking}, DocumentState.FINDABLE)
        done += len(batch)
        progress(f"indexed {done} documents")


def _store(stacks: Stacks, source: CorpusDocument, count_tokens: WordCounts) -> None:
    text = source.text.strip() or source.title
    if not text:
        return
    seen = FileSeen(source.id, len(text), 0, source.id, "text")
    stacks.arrivals.receive(seen, is_gone=lambda _: False)
    [(document, digest, _)] = stacks.queue.begin_reading()
    section = Section(0, 1, (source.title or source.id,), "", text)
    extracted = Extracted(source.title or source.id, (), None, None, (section,))
    pieces = list(chunk([section], count_tokens=count_tokens, budget_tokens=BUDGET_TOKENS))
    stored = stacks.queue.store_texts([Text(document.id, digest, extracted, pieces)])
    stacks.words.add(stored[document.id])
    stacks.queue.advance({document.id: digest}, DocumentState.FINDABLE_WORDS)
