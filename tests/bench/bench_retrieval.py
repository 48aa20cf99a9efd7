"""Retrieval: what each step of the ranking brings, and how often the passage shown answers

Two collections. SciFact has judged documents; parameters are chosen on its
train queries and reported on its test queries. Chroma's chunking evaluation has
the exact spans that answer 472 questions: its five texts are dropped into a
running Almanac, the questions go through GET /api/search, and a question counts
when every one of its spans stands whole in one of the first five passages as
they are shown. Ends with an error when that is so for fewer than nine in ten.

`--reranker NAME` adds what reading the first passages again brings, with the
model in that folder of {models}/rerank. `--sweep 1` tries the parameters of fusion on the train queries instead.
`--keep FOLDER` is where the indexes are kept for the next run.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from appliance.config import Config, PathsConfig, SearchConfig, load_config
from appliance.evaluate import open_collection
from appliance.stacks import Stacks, open_stacks
from library.values import Excerpt, indexed_text
from search.evaluation import Collection, ndcg, read_collection, recall
from search.folding import HEAD, fold
from search.fusion import ALPHA, fuse
from search.neighbours import context
from search.query import parse
from search.reranker import reordered
from search.retriever import CANDIDATES
from search.values import Candidate
from tests.bench.bench_chunking import COLLECTION, read_questions
from tests.places import MODELS, ROOT, SHARED_DATA
from tests.running import Appliance

SCIFACT = SHARED_DATA / "retrieval-scifact"
DEPTH = 5
TARGET = 0.9
WIDEST = 800  # characters on either side
_KEPT = ROOT / "var" / "bench" / "retrieval"

Sides = tuple[Sequence[Candidate], Sequence[Candidate]]
Rank = Callable[[Sides], Sequence[Candidate]]


class Judged(msgspec.Struct, frozen=True):
    """The queries of one split with both sides' candidates, and the document of each chunk."""

    sides: Sequence[Sides]
    relevant: Sequence[Mapping[str, int]]
    document_of: Mapping[str, str]
    read_again: Sequence[
        Sequence[float]
    ] = ()  # of each query's first HEAD fused candidates, where there is a reranker


class Spanned(msgspec.Struct, frozen=True):
    """A question and the spans that answer it, in letters and digits only: how a text is laid out is not asked."""

    text: str
    document: str
    spans: tuple[str, ...]


def run(sweep: int = 0, keep: str = str(_KEPT), reranker: str = "") -> Iterator[str]:
    if not SCIFACT.exists() or not COLLECTION.exists():
        yield f"{SCIFACT} or {COLLECTION} is not there; they are not part of the repository."
        return
    kept = Path(keep)
    if sweep:
        yield from swept(judged(kept / "scifact", "train")["train"])
        return
    yield from on_scifact(judged(kept / "scifact", "train", "test", reranker=reranker))
    yield ""
    yield from on_spans(kept / "spans", reranker)


# --- SciFact -------------------------------------------------------------------------------------


def judged(house: Path, *splits: str, reranker: str = "") -> dict[str, Judged]:
    house.mkdir(parents=True, exist_ok=True)
    config = Config(
        paths=PathsConfig(data=str(house), models=str(MODELS)), search=SearchConfig(reranker=reranker)
    )
    with open_collection(config, SCIFACT, house, lambda _: None) as stacks:
        return {split: _judged(stacks, read_collection(SCIFACT, split)) for split in splits}


def _judged(stacks: Stacks, collection: Collection) -> Judged:
    sides = [_sides(stacks, text) for text in collection.queries.values()]
    chunks = {candidate.id for both in sides for side in both for candidate in side}
    origins = stacks.excerpts.origins(list(chunks))
    paths: dict[str, str] = {}
    cursor = None
    while True:
        page = stacks.catalogue.documents(limit=500, cursor=cursor)
        paths |= {document.id: document.path for document in page.items}
        cursor = page.next
        if cursor is None:
            break
    return Judged(
        sides,
        [collection.judgements[id_] for id_ in collection.queries],
        {id_: paths[origin.document_id] for id_, origin in origins.items()},
        [_read_again(stacks, *asked) for asked in zip(collection.queries.values(), sides, strict=True)]
        if stacks.retriever.reranker is not None
        else (),
    )


def _read_again(stacks: Stacks, text: str, sides: Sides) -> list[float]:
    head = [one.id for one in fused(sides)[:HEAD]]
    excerpts = stacks.excerpts.by_id(head)
    assert stacks.retriever.reranker is not None
    passages = [indexed_text(excerpts[id_].heading_path, excerpts[id_].text) for id_ in head]
    return stacks.retriever.reranker.scores(text, passages)


def _sides(stacks: Stacks, text: str) -> Sides:
    """Twice as many candidates as the retriever takes, for the sweep."""
    vector = stacks.embedder.embed_query(text)
    return (
        stacks.lexical.search(parse(text), limit=2 * CANDIDATES),
        stacks.vectors.search(vector, limit=2 * CANDIDATES),
    )


def scores(collection: Judged, rank: Rank) -> tuple[np.ndarray, float]:
    """nDCG@10 of each query, and mean recall@10."""
    return scores_of(collection, map(rank, collection.sides))


def scores_of(collection: Judged, ranked: Iterable[Sequence[Candidate]]) -> tuple[np.ndarray, float]:
    gains, recalls = [], []
    for ranking, relevant in zip(ranked, collection.relevant, strict=True):
        documents = list(dict.fromkeys(collection.document_of[one.id] for one in ranking))
        gains.append(ndcg(documents, relevant, 10))
        recalls.append(recall(documents, relevant, 10))
    return np.array(gains), float(np.mean(recalls))


def on_scifact(splits: Mapping[str, Judged]) -> Iterator[str]:
    yield (
        "| SciFact | "
        + " | ".join(
            f"{name} ({len(one.sides)}): nDCG@10 | to the shipped | recall@10" for name, one in splits.items()
        )
        + " |"
    )
    yield "|---" * (1 + 3 * len(splits)) + "|"
    shipped = {name: scores(one, fused)[0] for name, one in splits.items()}
    for label, rank in RANKINGS.items():
        row = [label]
        for name, one in splits.items():
            gains, recalled = scores(one, rank)
            row += [f"{gains.mean():.4f}", difference(gains, shipped[name]), f"{recalled:.4f}"]
        yield f"| {' | '.join(row)} |"
    for depth in (HEAD // 4, HEAD // 2, HEAD) if all(one.read_again for one in splits.values()) else ():
        for share in (1.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
            row = [f"the first {depth} read again, their share {share}"]
            for name, one in splits.items():
                gains, recalled = scores_of(one, reread(one, depth, share))
                row += [f"{gains.mean():.4f}", difference(gains, shipped[name]), f"{recalled:.4f}"]
            yield f"| {' | '.join(row)} |"
    yield f"\nThe paired difference with its standard error; α = {ALPHA}, {CANDIDATES} candidates a side.\n"


def swept(train: Judged) -> Iterator[str]:
    shipped = scores(train, fused)[0]
    yield f"| SciFact train ({len(train.sides)} queries) | α | candidates | nDCG@10 | to the shipped | recall@10 |"
    yield "|---" * 6 + "|"
    for label, rank in (("standard scores", fused), ("lowest to highest", between)):
        for candidates in (CANDIDATES // 2, CANDIDATES, 2 * CANDIDATES):
            for alpha in (0.3, 0.4, 0.45, 0.5, 0.55, 0.6):
                tried = functools.partial(rank, alpha=alpha, candidates=candidates)
                gains, recalled = scores(train, tried)
                yield (
                    f"| {label} | {alpha} | {candidates} | {gains.mean():.4f} | {difference(gains, shipped)} "
                    f"| {recalled:.4f} |"
                )


def difference(gains: np.ndarray, shipped: np.ndarray) -> str:
    apart = gains - shipped
    return f"{apart.mean():+.4f} ± {apart.std() / len(apart) ** 0.5:.4f}" if apart.any() else ""


# --- rankings ------------------------------------------------------------------------------------


def fused(sides: Sides, alpha: float = ALPHA, candidates: int = CANDIDATES) -> list[Candidate]:
    """As it ships."""
    return fuse(sides[0][:candidates], sides[1][:candidates], alpha=alpha)


def reread(collection: Judged, depth: int, share: float) -> Iterator[list[Candidate]]:
    """The fused rankings, the first `depth` in the order of both scores."""
    for sides, answering in zip(collection.sides, collection.read_again, strict=True):
        ranked = fused(sides)
        yield [*reordered(ranked[:depth], answering[:depth], share=share), *ranked[depth:]]


def between(sides: Sides, alpha: float = ALPHA, candidates: int = CANDIDATES) -> list[Candidate]:
    """Each side's lowest is 0, its highest 1."""
    shares = (1 - alpha, alpha)
    sums: dict[str, float] = {}
    for side, share in zip(sides, shares, strict=True):
        taken = side[:candidates]
        lowest = min((one.score for one in taken), default=0.0)
        span = max((one.score for one in taken), default=0.0) - lowest
        for one in taken:
            sums[one.id] = sums.get(one.id, 0.0) + share * ((one.score - lowest) / span if span else 1.0)
    return _sorted(sums)


def reciprocal(sides: Sides) -> list[Candidate]:
    """Reciprocal rank fusion, k = 60."""
    sums: dict[str, float] = {}
    for side in sides:
        for rank, one in enumerate(side[:CANDIDATES], 1):
            sums[one.id] = sums.get(one.id, 0.0) + 1 / (60 + rank)
    return _sorted(sums)


def _sorted(sums: Mapping[str, float]) -> list[Candidate]:
    return sorted(
        (Candidate(id_, score) for id_, score in sums.items()), key=lambda one: (-one.score, one.id)
    )


RANKINGS: dict[str, Rank] = {
    "words alone": lambda sides: sides[0][:CANDIDATES],
    "meaning alone": lambda sides: sides[1][:CANDIDATES],
    "both, by reciprocal rank": reciprocal,
    "both, scores from lowest to highest": between,
    "**both, standard scores**": fused,
}


# --- spans ---------------------------------------------------------------------------------------


def on_spans(house: Path, reranker: str) -> Iterator[str]:
    texts = {path.stem: path.read_bytes().decode() for path in sorted((COLLECTION / "corpora").glob("*.md"))}
    seen = {name: [0] * (len(text) + 1) for name, text in texts.items()}
    questions = [
        Spanned(one.text, one.document, tuple(bare(texts[one.document][a:b]) for a, b in one.spans))
        for one in read_questions(COLLECTION / "questions_df.csv", texts, seen)
    ]
    through_api, read_again = asked_over_http(house, questions, reranker)
    yield f"| chunking-evaluation, {len(questions)} questions, five passages | all spans | a span | characters |"
    yield "|---|---|---|---|"
    steps = [*_ablated(house, questions), ("**GET /api/search, as it ships**", through_api)]
    if reranker:
        steps.append(("the same with `rerank=1`", read_again))
    for label, shown in steps:
        found = [held(question, passages) for question, passages in zip(questions, shown, strict=True)]
        characters = np.mean([sum(len(text) for _, text in passages) for passages in shown])
        yield (
            f"| {label} | {100 * np.mean([all(spans) for spans in found]):.1f} % "
            f"| {100 * np.mean([any(spans) for spans in found]):.1f} % | {characters:,.0f} |"
        )
    share = np.mean([all(held(one, shown)) for one, shown in zip(questions, through_api, strict=True)])
    if share < TARGET:
        raise SystemExit(f"Only {share:.1%} of the questions are answered within {DEPTH} passages.")


Shown = list[tuple[str, str]]  # of each passage, its document's path and its text


def held(question: Spanned, shown: Shown) -> list[bool]:
    """Of each span, whether one passage of the right document holds it whole."""
    mine = [bare(text) for path, text in shown if Path(path).stem == question.document]
    return [any(span in text for text in mine) for span in question.spans]


def bare(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum())


def asked_over_http(
    house: Path, questions: Sequence[Spanned], reranker: str
) -> tuple[list[Shown], list[Shown]]:
    """What is shown for each question; and what with a reranker, if one is named."""
    (house / "data").mkdir(parents=True, exist_ok=True)
    (house / "data" / ".furnished").touch()  # no starter library
    settings = f'[ingest]\nsettle_s = 0.2\n[search]\nreranker = "{reranker}"\n'
    appliance = Appliance(house, settings=settings).start(timeout_s=240)
    try:
        sources = sorted((COLLECTION / "corpora").glob("*.md"))
        for path in sources:
            appliance.drop(path.name, path.read_bytes())
        for path in sources:
            appliance.until_state(path.name, "findable", timeout_s=1800)
        shown = [_shown(appliance, question.text) for question in questions]
        again = [_shown(appliance, question.text, rerank=1) for question in questions] if reranker else []
        return shown, again
    finally:
        appliance.stop()


def _shown(appliance: Appliance, text: str, **parameters: object) -> Shown:
    status, answer = appliance.get("/api/search", q=text, limit=DEPTH, **parameters)
    assert status == 200, answer
    return [_as_shown(hit) for hit in answer["items"]]


def _as_shown(hit: dict[str, Any]) -> tuple[str, str]:
    return hit["document"]["path"], hit["passage"]["context"]["text"]


def _ablated(house: Path, questions: Sequence[Spanned]) -> Iterator[tuple[str, list[Shown]]]:
    """The same house without the server: one step more in each row."""
    with open_stacks(load_config(house / "almanac.toml")) as stacks:
        stacks.embedder.open()
        sides = [_sides(stacks, question.text) for question in questions]
        for label, rank in RANKINGS.items():
            ranked = [list(rank(both)) for both in sides]
            yield f"{label}, the chunks alone", [_chunks(stacks, one) for one in ranked]
        ranked = [fused(both) for both in sides]
        yield "and copies told", [_folded(stacks, one, join=False, around=0) for one in ranked]
        yield "and neighbours joined", [_folded(stacks, one, join=True, around=0) for one in ranked]
        for around in (200, 400, WIDEST):
            label = f"and up to {around} characters around them"
            yield label, [_folded(stacks, one, join=True, around=around) for one in ranked]


def _chunks(stacks: Stacks, ranked: Sequence[Candidate]) -> Shown:
    texts = stacks.excerpts.by_id([one.id for one in ranked[:DEPTH]])
    return [(excerpt.document.path, excerpt.text) for excerpt in texts.values()]


def _folded(stacks: Stacks, ranked: Sequence[Candidate], *, join: bool, around: int) -> Shown:
    texts: Mapping[str, Excerpt] = stacks.excerpts.by_id([one.id for one in ranked[:HEAD]], around=WIDEST)
    folded = fold(ranked, texts, join=join)
    shown = []
    for candidate in folded.ranked[:DEPTH]:
        run = [_narrowed(excerpt, around) for excerpt in folded.runs[candidate.id]]
        shown.append((run[0].document.path, context(run, around=around).text))
    return shown


def _narrowed(excerpt: Excerpt, around: int) -> Excerpt:
    """As if it had been read with less on either side, but for the gap to the next chunk."""
    return msgspec.structs.replace(
        excerpt,
        before=excerpt.before[len(excerpt.before) - min(around, len(excerpt.before)) :],
        after=excerpt.after[:around],
    )
