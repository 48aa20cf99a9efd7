"""Chunking: which way of cutting finds the passage that answers

The collection of Chroma's report "Evaluating Chunking Strategies for
Retrieval" (Smith and Troynikov, 2024): five documents, 472 questions, 790
exact character spans that answer them. Every way of cutting fills one index
with all five documents, each of them one section whose text is the file
itself, so that spans are exact. Figures are means over the questions, counted
in visible characters: white space between two chunks is nobody's loss. What
two chunks share counts twice as read, so that overlap has its price.
"""

import csv
import itertools
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import tokenizers

from ingest.chunking import WordCounts, chunk
from library.values import IndexedChunk, Labels, Section, indexed_text
from search.embedder import BUDGET_TOKENS, TOKENIZER_FILE, Embedder, TokenCounter
from search.fusion import fuse
from search.lexical import LexicalIndex
from search.query import parse
from search.values import Candidate
from tests.places import EMBEDDING_MODEL, SHARED_DATA

COLLECTION = SHARED_DATA / "questions" / "chunking-evaluation"
DEPTH = 5  # passages
ROUNDS = 5  # of measuring speed
CANDIDATES = 200  # a side, as the retriever takes them

Span = tuple[int, int]
Cut = Callable[[str], list[Span]]


class Question(msgspec.Struct, frozen=True):
    text: str
    document: str
    spans: tuple[Span, ...]  # sorted, disjoint
    seen: Sequence[int]  # visible characters of its document before each position


class Piece(msgspec.Struct, frozen=True):
    """A chunk under evaluation."""

    document: str
    start: int
    end: int
    text: str
    tokens: int
    seen: Sequence[int]  # visible characters of its document before each position


class Figures(msgspec.Struct):
    """Sums over the questions."""

    recall: float = 0
    precision: float = 0
    iou: float = 0
    whole: int = 0  # questions whose spans are wholly inside the first DEPTH
    by_text: float = 0  # recall within DEPTH full chunks' worth of word pieces
    needed: float = 0  # recall at as many chunks as hold the spans
    needed_precision: float = 0
    recalls: list[float] = []  # of each question


def run() -> Iterator[str]:
    if not COLLECTION.exists():
        yield f"{COLLECTION} is not there; it is not part of the repository."
        return
    texts = {path.stem: path.read_bytes().decode() for path in sorted((COLLECTION / "corpora").glob("*.md"))}
    seen = {
        name: [0, *itertools.accumulate(not letter.isspace() for letter in text)]
        for name, text in texts.items()
    }
    questions = read_questions(COLLECTION / "questions_df.csv", texts, seen)
    count = WordCounts(TokenCounter(EMBEDDING_MODEL))
    embedder = Embedder(EMBEDDING_MODEL, threads=2)
    asked = embedder.embed([question.text for question in questions])
    yield from speeds(texts)
    yield ""
    by_text = f"R@{DEPTH * BUDGET_TOKENS:,} pieces"
    side = f"R@{DEPTH} | P@{DEPTH} | IoU@{DEPTH} | hit@{DEPTH} | {by_text} | R@n | P@n"
    yield f"| how it is cut, budget | chunks | pieces each | vectors: {side} | hybrid: {side} | R@{DEPTH} to the first row | PΩ |"
    yield "|---" * 19 + "|"
    first: list[float] = []
    for name, cut in strategies(count, embedder):
        pieces = [
            Piece(document, start, end, text[start:end], count([text[start:end]])[0], seen[document])
            for document, text in texts.items()
            for start, end in cut(text)
        ]
        assert max(piece.tokens for piece in pieces) <= BUDGET_TOKENS
        row = [name, f"{len(pieces):,}", f"{np.mean([piece.tokens for piece in pieces]):.0f}"]
        best = [holding(question, pieces) for question in questions]
        for ranking in rankings(pieces, questions, asked, embedder):
            sums = measured(questions, pieces, ranking, best)
            row += columns(sums, len(questions))
        first = first or sums.recalls
        apart = 100 * (np.array(sums.recalls) - np.array(first))
        row.append(f"{apart.mean():+.1f} ± {apart.std() / len(apart) ** 0.5:.1f}" if apart.any() else "")
        omega = [
            shares(question, [pieces[at] for at in held])[1]
            for question, held in zip(questions, best, strict=True)
        ]
        yield f"| {' | '.join(row)} | {100 * float(np.mean(omega)):.1f} |"
    yield (
        "\nR recall, P precision, IoU intersection over union, all in per cent; hit: all spans wholly inside the "
        "chunks retrieved; n: as many chunks as hold the spans; PΩ: precision if just those were retrieved; "
        f"the difference is that of hybrid R@{DEPTH}, paired, with its standard error."
    )


def read_questions(path: Path, texts: dict[str, str], seen: dict[str, list[int]]) -> list[Question]:
    """The questions. Spans count the characters of the files as they are, line ends included."""
    questions = []
    with path.open(encoding="utf-8", newline="") as lines:
        rows: list[dict[str, Any]] = list(csv.DictReader(lines))
    for row in rows:
        spans = []
        for reference in json.loads(row["references"]):
            start, end = reference["start_index"], reference["end_index"]
            assert texts[row["corpus_id"]][start:end] == reference["content"]
            spans.append((start, end))
        name = row["corpus_id"]
        questions.append(Question(row["question"], name, tuple(united(spans)), seen[name]))
    return questions


# --- speed -----------------------------------------------------------------------------------------


def speeds(texts: dict[str, str]) -> Iterator[str]:
    """The shipped chunker on one core, beside the tokeniser alone on the same paragraphs."""
    sections = [Section(0, 1, (name,), "", text) for name, text in texts.items()]
    paragraphs = [part for text in texts.values() for part in text.split("\n\n")]
    megabytes = sum(len(text.encode()) for text in texts.values()) / 1e6
    tokenizer = tokenizers.Tokenizer.from_file(str(EMBEDDING_MODEL / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rates: dict[str, list[float]] = {name: [] for name in ("tokeniser alone", "cold", "warm")}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        for _ in range(ROUNDS):
            fresh = WordCounts(TokenCounter(EMBEDDING_MODEL))

            def chunks(count: WordCounts = fresh) -> None:
                for _ in chunk(sections, count_tokens=count):
                    pass

            for name, work in (
                ("tokeniser alone", lambda: tokenizer.encode_batch_fast(paragraphs)),
                ("cold", chunks),
                ("warm", chunks),
            ):
                began = time.process_time()
                work()
                rates[name].append(megabytes / (time.process_time() - began))
    finally:
        os.sched_setaffinity(0, cores)
    yield "| one core, MB of text a second of its time | median | min | max | ratio to the tokeniser, median |"
    yield "|---|---|---|---|---|"
    for name, label in (
        ("tokeniser alone", "the tokeniser alone"),
        ("cold", "chunking, no word known before"),
        ("warm", "chunking, the words known"),
    ):
        ratio = median(a / b for a, b in zip(rates[name], rates["tokeniser alone"], strict=True))
        yield f"| {label} | {median(rates[name]):.1f} | {min(rates[name]):.1f} | {max(rates[name]):.1f} | {ratio:.1f} |"


# --- ways of cutting -----------------------------------------------------------------------------


def strategies(count: WordCounts, embedder: Embedder) -> Iterator[tuple[str, Cut]]:
    def shipped(budget: int) -> Cut:
        return lambda text: [
            (one.start, one.end)
            for one in chunk([Section(0, 1, (), "", text)], count_tokens=count, budget_tokens=budget)
        ]

    def greedy(units: Cut, budget: int, overlap: float = 0) -> Cut:
        return lambda text: packed(text, units(text), count, budget, overlap)

    for budget in (BUDGET_TOKENS, 180, 128, 90, 64):
        yield f"shipped: blocks, packed evenly, {budget}", shipped(budget)
    for budget in (BUDGET_TOKENS, 128):
        yield f"fixed windows of words, {budget}", greedy(words, budget)
        yield f"fixed windows of words, {budget}, a fifth overlapping", greedy(words, budget, 0.2)
        yield f"sentences, filled up, {budget}", greedy(sentences, budget)
        yield f"sentences, {budget}, a fifth overlapping", greedy(sentences, budget, 0.2)
        yield f"recursive: blank lines, lines, sentences, words, {budget}", recursive(count, budget)
        yield (
            f"semantic: sentences, cut where neighbours differ most, {budget}",
            semantic(count, embedder, budget),
        )


def words(text: str) -> list[Span]:
    return [match.span() for match in re.finditer(r"\S+", text)]


def sentences(text: str) -> list[Span]:
    return [match.span() for match in re.finditer(r"\S.*?(?:[.!?…][\"'”’)\]]*(?=\s)|(?=\n)|\Z)", text)]


def fitting(text: str, units: Sequence[Span], count: WordCounts, budget: int) -> Iterator[tuple[Span, int]]:
    """Each unit with its tokens; one that is too long as its words, a word that is too long as its letters."""
    for (start, end), tokens in zip(units, count([text[a:b] for a, b in units]), strict=True):
        if tokens <= budget:
            yield (start, end), tokens
        else:
            inner = [(start + a, start + b) for a, b in words(text[start:end])]
            if len(inner) == 1:
                inner = [(at, min(at + budget, end)) for at in range(start, end, budget)]
            yield from fitting(text, inner, count, budget)


def packed(text: str, units: Sequence[Span], count: WordCounts, budget: int, overlap: float) -> list[Span]:
    """Units in windows as full as they get; the next window begins with the last `overlap` of the one before."""
    spans: list[Span] = []
    window: list[tuple[Span, int]] = []
    for unit, tokens in fitting(text, units, count, budget):
        if sum(cost for _, cost in window) + tokens > budget:
            spans.append((window[0][0][0], window[-1][0][1]))
            while window and (
                sum(cost for _, cost in window) > overlap * budget
                or sum(cost for _, cost in window) + tokens > budget
            ):
                window.pop(0)
        window.append((unit, tokens))
    return [*spans, (window[0][0][0], window[-1][0][1])]


def recursive(count: WordCounts, budget: int) -> Cut:
    """Cut at the coarsest gap there is, and what is still too long at the next finer; fill up in between."""
    gaps = (r"\n\s*\n", r"\n", r"(?<=[.!?])\s+", r"\s+", "")

    def cut(text: str, start: int, end: int, level: int) -> list[Span]:
        if count([text[start:end]])[0] <= budget:
            return [(start, end)]
        if level == len(gaps) - 1:
            return [(at, min(at + budget, end)) for at in range(start, end, budget)]
        edges = [start, *(m.end() for m in re.compile(gaps[level]).finditer(text, start, end)), end]
        parts = [(a, b) for a, b in itertools.pairwise(edges) if text[a:b].strip()]
        spans: list[Span] = []
        costs = count([text[a:b] for a, b in parts])
        room = 0
        for (a, b), cost in zip(parts, costs, strict=True):
            if cost > budget:
                spans += cut(text, a, b, level + 1)
                room = 0
            elif cost <= room:
                spans[-1] = (spans[-1][0], b)
                room -= cost
            else:
                spans.append((a, b))
                room = budget - cost
        return spans

    return lambda text: [trimmed(text, *span) for span in cut(text, 0, len(text), 0)]


def semantic(count: WordCounts, embedder: Embedder, budget: int) -> Cut:
    """Split what is too long where the three sentences before and after a gap are least alike."""

    def cut(text: str) -> list[Span]:
        units = list(fitting(text, sentences(text), count, budget))
        vectors = embedder.embed([text[a:b] for (a, b), _ in units])
        before = np.array([vectors[max(0, at - 3) : at].sum(axis=0) for at in range(1, len(units))])
        after = np.array([vectors[at : at + 3].sum(axis=0) for at in range(1, len(units))])
        alike = (before * after).sum(axis=1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
        costs = np.concatenate([[0], np.cumsum([tokens for _, tokens in units])])
        spans, open_ = [], [(0, len(units))]
        while open_:
            first, last = open_.pop()
            total = costs[last] - costs[first]
            if total <= budget:
                spans.append((units[first][0][0], units[last - 1][0][1]))
                continue
            # Not within the first or last quarter of a chunk, or crumbs would be left.
            crumb = min(budget, total / 2) / 4
            inner = [
                at
                for at in range(first + 1, last)
                if costs[at] - costs[first] >= crumb and costs[last] - costs[at] >= crumb
            ] or list(range(first + 1, last))
            at = min(inner, key=lambda at: alike[at - 1])
            open_ += [(at, last), (first, at)]
        return spans

    return cut


def trimmed(text: str, start: int, end: int) -> Span:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


# --- retrieval and figures -----------------------------------------------------------------------


def rankings(
    pieces: Sequence[Piece], questions: Sequence[Question], asked: np.ndarray, embedder: Embedder
) -> Iterator[list[list[int]]]:
    """For vectors alone and for both sides fused: each question's pieces, best first."""
    held = embedder.embed([indexed_text((), piece.text) for piece in pieces])
    cosines = asked @ held.T
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :CANDIDATES]
    yield nearest.tolist()
    with tempfile.TemporaryDirectory() as scratch:
        lexical = LexicalIndex(Path(scratch) / "lexical")
        lexical.add(
            IndexedChunk(str(at), piece.document, at, Labels(), (), piece.text)
            for at, piece in enumerate(pieces)
        )
        lexical.commit()
        fused = []
        for question, near, scores in zip(questions, nearest, cosines, strict=True):
            vector = [Candidate(str(at), float(scores[at])) for at in near]
            found = fuse(lexical.search(parse(question.text), limit=CANDIDATES), vector)
            fused.append([int(candidate.id) for candidate in found])
        lexical.close()
    yield fused


def measured(
    questions: Sequence[Question], pieces: Sequence[Piece], ranking: list[list[int]], best: list[list[int]]
) -> Figures:
    sums = Figures()
    for question, ranked, held in zip(questions, ranking, best, strict=True):
        recall, precision, iou = shares(question, [pieces[at] for at in ranked[:DEPTH]])
        sums.recalls.append(recall)
        sums.recall += recall
        sums.precision += precision
        sums.iou += iou
        sums.whole += recall == 1
        taken = list(
            itertools.takewhile(
                lambda pair: pair[1] <= DEPTH * BUDGET_TOKENS,
                zip(ranked, itertools.accumulate(pieces[at].tokens for at in ranked), strict=True),
            )
        )
        sums.by_text += shares(question, [pieces[at] for at, _ in taken])[0]
        recall, precision, _ = shares(question, [pieces[at] for at in ranked[: len(held)]])
        sums.needed += recall
        sums.needed_precision += precision
    return sums


def columns(sums: Figures, questions: int) -> list[str]:
    return [f"{100 * value / questions:.1f}" for value in msgspec.structs.astuple(sums)[:-1]]


def shares(question: Question, taken: Sequence[Piece]) -> tuple[float, float, float]:
    """Recall, precision and intersection over union of the pieces, in visible characters."""
    seen = question.seen
    mine = united([(piece.start, piece.end) for piece in taken if piece.document == question.document])
    met = sum(
        seen[min(end, last)] - seen[max(start, first)]
        for start, end in question.spans
        for first, last in mine
        if max(start, first) < min(end, last)
    )
    gold = sum(seen[end] - seen[start] for start, end in question.spans)
    read = sum(piece.seen[piece.end] - piece.seen[piece.start] for piece in taken)
    return met / gold, met / read if read else 0.0, met / (gold + read - met)


def holding(question: Question, pieces: Sequence[Piece]) -> list[int]:
    """The pieces that hold any of the spans: what the best retrieval would return."""
    return [
        at
        for at, piece in enumerate(pieces)
        if piece.document == question.document
        and any(piece.start < end and start < piece.end for start, end in question.spans)
    ]


def united(spans: Sequence[Span]) -> list[Span]:
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out
