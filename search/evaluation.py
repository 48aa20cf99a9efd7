"""Evaluation: how good is the retrieval, in the field's own figures.

Runs judged queries through the same retriever that serves. Knows the BEIR
layout (`corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`) and the metrics;
indexes nothing itself. Passages are ranked, documents are judged: a document
stands where its best passage stands. A figure comes with the interval in which
it would lie if other queries of the same kind had been asked: without it, a
third decimal decides what is only chance.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from library.errors import InvalidRequest
from search.fusion import ALPHA
from search.retriever import CANDIDATES, Retriever
from search.values import Mode

_Row = TypeVar("_Row")

METRICS = ("ndcg@10", "recall@10", "recall@20", "recall@100")
_RESAMPLES = 2_000


class CorpusDocument(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="_id")
    text: str = ""
    title: str = ""


class _Query(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="_id")
    text: str = ""


class Figure(msgspec.Struct, frozen=True):
    """A mean over queries, 0..1, and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class Collection(msgspec.Struct, frozen=True):
    """Judged queries. `judgements[query id][document id]` is a relevance of 1 or more."""

    queries: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]


def read_corpus(folder: Path) -> Iterator[CorpusDocument]:
    """The documents of a BEIR-layout folder. Raises InvalidRequest when it is not one."""
    yield from _read_lines(folder / "corpus.jsonl", CorpusDocument)


def read_collection(folder: Path, split: str) -> Collection:
    """The queries of `qrels/{split}.tsv` and their judgements. Raises InvalidRequest."""
    judgements: dict[str, dict[str, int]] = {}
    path = folder / "qrels" / f"{split}.tsv"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines[1:]:
            query_id, document_id, relevance = line.split("\t")
            if int(relevance) > 0:
                judgements.setdefault(query_id, {})[document_id] = int(relevance)
    except (OSError, ValueError) as error:
        raise InvalidRequest("DIR", f"has no readable {path.name} in its qrels: {error}.") from error
    texts = {query.id: query.text for query in _read_lines(folder / "queries.jsonl", _Query)}
    return Collection({id_: texts[id_] for id_ in judgements if id_ in texts}, judgements)


def evaluate(
    retriever: Retriever,
    collection: Collection,
    *,
    mode: Mode,
    document_key: Callable[[str], str],
    alpha: float = ALPHA,
) -> dict[str, Figure]:
    """Each of METRICS over the collection's queries.

    `document_key` maps the path of a document in the library to its id in the
    judgements.
    """
    measured: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for query_id, query in collection.queries.items():
        ranking = _ranking(retriever, query, mode, document_key, alpha)
        relevant = collection.judgements[query_id]
        measured["ndcg@10"].append(ndcg(ranking, relevant, 10))
        for depth in (10, 20, 100):
            measured[f"recall@{depth}"].append(recall(ranking, relevant, depth))
    return {metric: figure(values) for metric, values in measured.items()}


def figure(values: Sequence[float]) -> Figure:
    """Their mean and its percentile bootstrap interval; the same for the same values."""
    if not values:
        return Figure(0.0, 0.0, 0.0)
    drawn = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    means = np.asarray(values)[drawn].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Figure(*(round(float(value), 4) for value in (np.mean(values), low, high)))


def ndcg(ranking: Sequence[str], relevant: Mapping[str, int], depth: int) -> float:
    """Normalised discounted cumulative gain, linear gains, as trec_eval computes it. 0..1."""
    gained = sum(relevant.get(id_, 0) / math.log2(at + 2) for at, id_ in enumerate(ranking[:depth]))
    best = sorted(relevant.values(), reverse=True)[:depth]
    ideal = sum(gain / math.log2(at + 2) for at, gain in enumerate(best))
    return gained / ideal if ideal else 0.0


def recall(ranking: Sequence[str], relevant: Mapping[str, int], depth: int) -> float:
    """The share of the relevant documents among the first `depth`. 0..1."""
    return len(set(ranking[:depth]) & relevant.keys()) / len(relevant) if relevant else 0.0


def _ranking(
    retriever: Retriever, query: str, mode: Mode, document_key: Callable[[str], str], alpha: float
) -> list[str]:
    ranking: dict[str, None] = {}
    offset: int | None = 0
    while offset is not None and offset < 2 * CANDIDATES and len(ranking) < 100:
        found = retriever.search(query, limit=100, offset=offset, mode=mode, alpha=alpha)
        ranking |= dict.fromkeys(document_key(passage.excerpt.document.path) for passage in found.passages)
        offset = found.next_offset
    return list(ranking)


def _read_lines(path: Path, row_type: type[_Row]) -> Iterator[_Row]:
    decoder = msgspec.json.Decoder(row_type)
    try:
        with path.open("rb") as lines:
            yield from (decoder.decode(line) for line in lines if line.strip())
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidRequest("DIR", f"has no readable {path.name}: {error}.") from error
