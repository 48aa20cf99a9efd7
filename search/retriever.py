"""The retriever: a query in, passages out. What serves is what is evaluated.

Asks both indexes side by side, fuses, and looks the text up in the record.
Knows no page and no prompt. Its hard rule: a side that cannot answer is left
out and said to be; a search only fails when neither side can answer.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from library.errors import IndexUnavailable, InvalidRequest
from library.excerpts import Excerpts
from library.values import Excerpt
from search.earlier import EarlierLexicalIndex
from search.fusion import ALPHA, fuse
from search.lexical import LexicalIndex
from search.meaning import Meaning
from search.precedence import Precedence
from search.snippets import snippet
from search.values import Candidate, Mode, Passage, SearchResult, Side
from search.words import Words

# Candidates taken from each side. Neither 100 nor 400 nor 1,000 gave a better nDCG@10; see docs/experiments.md.
CANDIDATES = 200
_MOST_QUERY_CHARACTERS = 2_000


class Retriever:
    def __init__(
        self,
        words: Words,
        meaning: Meaning,
        excerpts: Excerpts,
        *,
        precedence: Precedence,
    ) -> None:
        self._words, self._meaning = words, meaning
        self._excerpts, self._precedence = excerpts, precedence
        # One thread beside the caller's: both engines release the interpreter.
        self._beside = ThreadPoolExecutor(max_workers=4, thread_name_prefix="vectors")

    @property
    def _lexical(self) -> LexicalIndex | EarlierLexicalIndex:
        return self._words.serving.lexical  # another one after a rebuild

    def close(self) -> None:
        self._beside.shutdown()

    def search(
        self,
        query: str,
        *,
        shelf: str | None = None,
        limit: int = 10,
        offset: int = 0,
        mode: Mode = Mode.HYBRID,
        alpha: float = ALPHA,
    ) -> SearchResult:
        """The passages that fit the query best, from `offset` on.

        Raises InvalidRequest for a limit or an offset out of bounds, and
        IndexUnavailable when no index can answer. A query without a word in it
        finds nothing.
        """
        if not 1 <= limit <= 100:
            raise InvalidRequest("limit", f"must be between 1 and 100, not {limit}.")
        if not 0 <= offset <= 2 * CANDIDATES:
            raise InvalidRequest("cursor", "points behind the last passage; leave it out to start again.")
        began = time.perf_counter()
        query = " ".join(query.split())[:_MOST_QUERY_CHARACTERS]
        if not query:
            return SearchResult((), 0, None, 0.0, ())
        with self._precedence.foreground():
            words, meaning, degraded = self._candidates(query, shelf, mode)
            fused = fuse(words, meaning, alpha=alpha)
            shown, unseen = self._visible(fused, offset, limit)
        by_words = {candidate.id for candidate in words}
        similarity = {candidate.id: candidate.score for candidate in meaning}
        passages = []
        for candidate, excerpt in shown:
            sides = [(Side.WORDS, candidate.id in by_words), (Side.MEANING, candidate.id in similarity)]
            passages.append(
                Passage(
                    excerpt=excerpt,
                    score=round(candidate.score, 6),
                    similarity=similarity.get(candidate.id),
                    found_by=tuple(side for side, found in sides if found),
                    snippet=snippet(excerpt.text, query),
                )
            )
        total = len(fused) - unseen
        following = offset + limit if total > offset + limit else None
        took_ms = (time.perf_counter() - began) * 1000
        return SearchResult(tuple(passages), total, following, round(took_ms, 2), degraded)

    def _visible(
        self, fused: Sequence[Candidate], offset: int, limit: int
    ) -> tuple[list[tuple[Candidate, Excerpt]], int]:
        """The page from `offset` on, and how many candidates before its end may not be seen.

        Texts are read only as far as the page needs; a candidate whose document
        is missing or has been replaced is passed over.
        """
        visible: list[tuple[Candidate, Excerpt]] = []
        unseen = 0
        for first in range(0, len(fused), offset + limit):
            batch = fused[first : first + offset + limit]
            excerpts = self._excerpts.by_id([candidate.id for candidate in batch])
            visible += [
                (candidate, excerpts[candidate.id]) for candidate in batch if candidate.id in excerpts
            ]
            unseen += len(batch) - len(excerpts)
            if len(visible) >= offset + limit:
                break
        return visible[offset : offset + limit], unseen

    def _candidates(
        self, query: str, shelf: str | None, mode: Mode
    ) -> tuple[Sequence[Candidate], Sequence[Candidate], tuple[str, ...]]:
        """Both sides' candidates, and a sentence for each side that could not answer."""
        beside = None
        if mode is not Mode.LEXICAL:
            beside = self._beside.submit(self._nearest, query, shelf)
        words: Sequence[Candidate] = ()
        meaning: Sequence[Candidate] = ()
        degraded: list[str] = []
        if mode is not Mode.VECTOR:
            try:
                words = self._lexical.search(query, limit=CANDIDATES, shelf=shelf)
            except IndexUnavailable as error:
                degraded.append(f"Searched by meaning only. {error}")
        if beside is not None:
            try:
                meaning = beside.result()
            except IndexUnavailable as error:
                degraded.append(f"Searched by words only. {error}")
        failed = len(degraded)
        degraded += [
            side.shortfall
            for side, left_out in ((self._words, Mode.VECTOR), (self._meaning, Mode.LEXICAL))
            if side.shortfall and mode is not left_out
        ]
        if failed == (2 if mode is Mode.HYBRID else 1):
            raise IndexUnavailable(" ".join(degraded))
        return words, meaning, tuple(degraded)

    def _nearest(self, query: str, shelf: str | None) -> list[Candidate]:
        side = self._meaning.serving  # taken once: the two are replaced as one
        return side.vectors.search(side.embedder.embed_query(query), limit=CANDIDATES, shelf=shelf)
