"""The retriever: a query in, passages out. What serves is what is evaluated.

    parse ─► both indexes, side by side ─► fused ─► folded ─► ordered, grouped, counted ─► a page ─► texts

Everything up to the page works on the whole list of candidates, so that one
query is always cut from one order. Knows no page of HTML and no prompt. Its hard
rules: a side that cannot answer is left out and said to be, and a search only
fails when neither side can answer; nothing is spent on what was not asked for.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from library.errors import IndexUnavailable, InvalidRequest, PassageNotFound
from library.excerpts import Excerpts
from library.values import Excerpt, Origin, indexed_text
from search.alike import say_the_same, telling_words, vocabulary
from search.earlier import EarlierLexicalIndex
from search.facets import counted
from search.folding import HEAD, Folded, fold
from search.fusion import ALPHA, fuse
from search.grouping import Group, by_document, one_by_one, ordered
from search.lexical import LexicalIndex
from search.meaning import Meaning
from search.neighbours import AROUND, context
from search.precedence import Precedence
from search.query import Clause, Filters, Query, Term, parse
from search.reranker import Reranker, reordered
from search.snippets import snippet
from search.values import Candidate, Mode, Passage, SearchResult, Side, Sort
from search.words import Words

# Candidates taken from each side. Neither 100 nor 400 gave a better nDCG@10 beyond chance; see docs/experiments.md.
CANDIDATES = 200
_OTHERS_SHOWN = 3  # further passages of a document that come with its best
_NOTHING_FOLDED = Folded([], {}, {})


class _Found(NamedTuple):
    """Both sides' candidates, and a sentence for each side that could not answer."""

    words: Sequence[Candidate]
    meaning: Sequence[Candidate]
    degraded: tuple[str, ...]


class Retriever:
    def __init__(
        self,
        words: Words,
        meaning: Meaning,
        excerpts: Excerpts,
        *,
        precedence: Precedence,
        reranker: Reranker | None = None,
        on_searched: Callable[[Mode, float], None] = lambda _mode, _took_s: None,
    ) -> None:
        """`on_searched` is told the mode of each search that was answered, and the seconds it took."""
        self._words, self._meaning = words, meaning
        self._excerpts, self._precedence = excerpts, precedence
        self.reranker, self._on_searched = reranker, on_searched
        # One thread beside the caller's: both engines release the interpreter.
        self._beside = ThreadPoolExecutor(max_workers=4, thread_name_prefix="vectors")

    @property
    def _lexical(self) -> LexicalIndex | EarlierLexicalIndex:
        return self._words.serving.lexical  # another one after a rebuild

    def close(self) -> None:
        self._beside.shutdown()

    def search(
        self,
        query: str | Query,
        *,
        limit: int = 10,
        offset: int = 0,
        mode: Mode = Mode.HYBRID,
        sort: Sort = Sort.RELEVANCE,
        grouped: bool = False,
        facets: bool = False,
        join: bool = True,
        rerank: bool = False,
        alpha: float = ALPHA,
    ) -> SearchResult:
        """The passages that fit the query best, from `offset` on; with `grouped`, the documents.

        Chunks side by side are one passage unless `join` is off. With `rerank`
        the reranker reads the first of them, where there is one.
        Raises InvalidRequest for a limit or an offset out of bounds, and
        IndexUnavailable when no index can answer. A query that asks for nothing
        finds nothing; one that only filters finds what is left.
        """
        _check_bounds(limit, offset)
        began = time.perf_counter()
        asked = parse(query) if isinstance(query, str) else query
        if not asked.text and not asked.clauses and asked.filters == Filters():
            return SearchResult((), 0, None, 0.0, (), notices=asked.notices)
        with self._precedence.foreground():
            found = self._found(asked, mode)
            folded = self._folded(fuse(found.words, found.meaning, alpha=alpha), join=join)
            degraded = list(found.degraded)
            ranked: Sequence[Candidate] = folded.ranked
            if rerank and self.reranker is not None and asked.text and sort is Sort.RELEVANCE:
                ranked = self._reranked(self.reranker, asked.text, folded, degraded)
            origins: Mapping[str, Origin] = {}
            # The first page by relevance, which is nearly every search, asks the record once.
            if offset or grouped or facets or sort is not Sort.RELEVANCE:
                origins = self._excerpts.origins([candidate.id for candidate in ranked])
                ranked = ordered([one for one in ranked if one.id in origins], origins, sort)
            groups = by_document(ranked, origins) if grouped else one_by_one(ranked)
            page, unseen = self._page(groups[offset:], limit, folded)
            did_you_mean, resembling = self._spelling(asked, mode)
        total = len(groups) - unseen
        passages = tuple(_shown(page, found, asked, resembling, folded))
        took_s = time.perf_counter() - began
        self._on_searched(mode, took_s)
        return SearchResult(
            passages=passages,
            total=total,
            next_offset=offset + limit if total > offset + limit else None,
            took_ms=round(took_s * 1000, 2),
            degraded=tuple(degraded),
            notices=asked.notices,
            did_you_mean=did_you_mean,
            facets=counted(origins[candidate.id] for candidate in ranked) if facets else None,
        )

    def similar(self, passage_id: str, *, limit: int = 10) -> SearchResult:
        """More like this passage, by its vector and its words.

        Without the passage itself, its neighbours on the page, and whatever says
        the same as it or as a better one. Raises PassageNotFound, InvalidRequest
        and IndexUnavailable.
        """
        _check_bounds(limit, 0)
        began = time.perf_counter()
        like = self._excerpts.one(passage_id)
        words = telling_words(like.text)
        asked = Query(
            indexed_text(like.heading_path, like.text), tuple(Clause((Term(word),)) for word in words)
        )
        with self._precedence.foreground():
            found = self._found(asked, Mode.HYBRID, own=passage_id)
            page = self._unlike_each_other(like, fuse(found.words, found.meaning), limit)
        return SearchResult(
            passages=tuple(_shown(page, found, asked)),
            total=len(page),
            next_offset=None,
            took_ms=round((time.perf_counter() - began) * 1000, 2),
            degraded=found.degraded,
        )

    def passages(
        self, passage_ids: Sequence[str], query: str, *, measured: bool = False
    ) -> tuple[Passage, ...]:
        """Exactly these, in this order, as a search for `query` would show them. Raises PassageNotFound.

        `measured` gives each its similarity, which costs the embedding of every one.
        """
        excerpts = self._excerpts.by_id(passage_ids)
        for passage_id in passage_ids:
            if passage_id not in excerpts:
                raise PassageNotFound(passage_id)
        chosen = [excerpts[passage_id] for passage_id in dict.fromkeys(passage_ids)]
        similarities: list[float | None] = [None] * len(chosen)
        if measured:
            with self._precedence.foreground():
                similarities = self._similarities(query, chosen)
        return tuple(
            Passage(excerpt, 1.0, similarity, (), _snippet(excerpt, query))
            for excerpt, similarity in zip(chosen, similarities, strict=True)
        )

    def _folded(self, ranked: Sequence[Candidate], *, join: bool) -> Folded:
        """Whatever drops candidates does it here, by nothing but the query: pages are cut from what this returns."""
        texts = self._excerpts.by_id([candidate.id for candidate in ranked[:HEAD]], around=AROUND)
        return fold(ranked, texts, join=join)

    def _reranked(
        self, reranker: Reranker, text: str, folded: Folded, degraded: list[str]
    ) -> Sequence[Candidate]:
        """The ranking with its head, whose texts are at hand, in the reranker's order; as it was if that fails."""
        head = [one for one in folded.ranked[:HEAD] if one.id in folded.runs]
        if len(head) < 2:
            return folded.ranked
        read = (folded.runs[one.id][0] for one in head)
        try:
            answering = reranker.scores(text, [indexed_text(one.heading_path, one.text) for one in read])
        except IndexUnavailable as error:
            degraded.append(f"Passages were not read a second time. {error}")
            return folded.ranked
        better = iter(reordered(head, answering))
        return [next(better) if one.id in folded.runs else one for one in folded.ranked]

    def _page(
        self, groups: Sequence[Group], limit: int, folded: Folded
    ) -> tuple[list[tuple[Group, Mapping[str, Excerpt]]], int]:
        """The first `limit` groups that may be seen, each with its texts, and how many before their end may not be."""
        page: list[tuple[Group, Mapping[str, Excerpt]]] = []
        unseen = 0
        for first in range(0, len(groups), limit):
            some = groups[first : first + limit]
            wanted = [one.id for group in some for one in (group.best, *group.others[:_OTHERS_SHOWN])]
            excerpts = {id_: folded.runs[id_][0] for id_ in wanted if id_ in folded.runs}
            unread = [id_ for id_ in wanted if id_ not in excerpts]
            if unread:
                excerpts |= self._excerpts.by_id(unread, around=AROUND)
            seen = [(group, excerpts) for group in some if group.best.id in excerpts]
            page += seen
            unseen += len(some) - len(seen)
            if len(page) >= limit:
                break
        return page[:limit], unseen

    def _unlike_each_other(
        self, like: Excerpt, ranked: Sequence[Candidate], limit: int
    ) -> list[tuple[Group, Mapping[str, Excerpt]]]:
        kept: list[tuple[Group, Mapping[str, Excerpt]]] = []
        said = [vocabulary(like.text)]
        for first in range(0, len(ranked), 2 * limit):
            some = ranked[first : first + 2 * limit]
            excerpts = self._excerpts.by_id([candidate.id for candidate in some])
            for candidate in some:
                excerpt = excerpts.get(candidate.id)
                if excerpt is None or _is_beside(excerpt, like):
                    continue
                says = vocabulary(excerpt.text)
                if any(say_the_same(says, other) for other in said):
                    continue
                said.append(says)
                kept.append((Group(candidate), excerpts))
                if len(kept) == limit:
                    return kept
        return kept

    def _similarities(self, query: str, excerpts: Sequence[Excerpt]) -> list[float | None]:
        """The cosine of each to the query; None for all while there is no embedding model."""
        embedder = self._meaning.serving.embedder
        try:
            wanted = embedder.embed_query(query)
            given = embedder.embed_passages([indexed_text(one.heading_path, one.text) for one in excerpts])
        except IndexUnavailable:
            return [None] * len(excerpts)
        return [sum(a * b for a, b in zip(wanted, vector, strict=True)) for vector in given]

    def _found(self, asked: Query, mode: Mode, *, own: str | None = None) -> _Found:
        """Ask both sides at once; by the vector of chunk `own`, if it has one, in place of the query's.

        Raises IndexUnavailable when none of those that were asked answers.
        """
        beside = None
        if mode is not Mode.LEXICAL and asked.text:
            beside = self._beside.submit(self._nearest, asked, own)
        words: Sequence[Candidate] = ()
        meaning: Sequence[Candidate] = ()
        degraded: list[str] = []
        if mode is not Mode.VECTOR:
            try:
                words = self._lexical.search(asked, limit=CANDIDATES)
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
        if failed and failed == (mode is not Mode.VECTOR) + (beside is not None):
            raise IndexUnavailable(" ".join(degraded))
        operators = any(clause.required or clause.excluded for clause in asked.clauses)
        if meaning and (operators or asked.filters != Filters()):
            meaning = self._permitted(asked, words, meaning, degraded)
        return _Found(words, meaning, tuple(degraded))

    def _permitted(
        self, asked: Query, words: Sequence[Candidate], meaning: Sequence[Candidate], degraded: list[str]
    ) -> Sequence[Candidate]:
        """Of the nearest, those that the query's operators and filters allow; the words know that of each.

        Filters too, although the vectors were asked with them: vectors of an
        older version may not carry all that is filtered by.
        """
        known = {candidate.id for candidate in words}
        doubtful = [candidate.id for candidate in meaning if candidate.id not in known]
        try:
            known |= self._lexical.permitted(asked, doubtful)
        except IndexUnavailable:
            degraded.append("Without the words, phrases, fields and excluded words are not heeded.")
            return meaning
        return [candidate for candidate in meaning if candidate.id in known]

    def _spelling(self, asked: Query, mode: Mode) -> tuple[str | None, tuple[str, ...]]:
        """What may have been meant by words that no book holds, and what was searched for in their place."""
        if mode is Mode.VECTOR:
            return None, ()
        try:
            spelling = self._lexical.corrected(asked) if asked.typed else None
            return spelling, self._lexical.resembling(asked)
        except IndexUnavailable:
            return None, ()

    def _nearest(self, asked: Query, own: str | None) -> list[Candidate]:
        side = self._meaning.serving  # taken once: the two are replaced as one
        vector = side.vectors.vectors_of([own]).get(own) if own else None
        return side.vectors.search(
            vector or side.embedder.embed_query(asked.text), limit=CANDIDATES, filters=asked.filters
        )


def _check_bounds(limit: int, offset: int) -> None:
    if not 1 <= limit <= 100:
        raise InvalidRequest("limit", f"must be between 1 and 100, not {limit}.")
    if not 0 <= offset <= 2 * CANDIDATES:
        raise InvalidRequest("cursor", "points behind the last passage; leave it out to start again.")


def _is_beside(one: Excerpt, other: Excerpt) -> bool:
    """Whether it is that very passage, or stands before or after it in the same document."""
    return one.document.id == other.document.id and abs(one.ordinal - other.ordinal) <= 1


def _shown(
    page: Sequence[tuple[Group, Mapping[str, Excerpt]]],
    found: _Found,
    asked: Query,
    resembling: Sequence[str] = (),
    folded: Folded = _NOTHING_FOLDED,
) -> Iterator[Passage]:
    by_words = {candidate.id for candidate in found.words}
    similarity = {candidate.id: candidate.score for candidate in found.meaning}

    def passage(candidate: Candidate, excerpt: Excerpt) -> Passage:
        sides = ((Side.WORDS, candidate.id in by_words), (Side.MEANING, candidate.id in similarity))
        return Passage(
            excerpt=excerpt,
            score=round(candidate.score, 6),
            similarity=similarity.get(candidate.id),
            found_by=tuple(side for side, is_one in sides if is_one),
            snippet=_snippet(excerpt, asked, resembling),
            context=context(folded.runs.get(candidate.id, [excerpt])),
            copies=folded.copies.get(candidate.id, ()),
        )

    for group, excerpts in page:
        best = passage(group.best, excerpts[group.best.id])
        shown = (other for other in group.others[:_OTHERS_SHOWN] if other.id in excerpts)
        others = tuple(passage(other, excerpts[other.id]) for other in shown)
        yield msgspec.structs.replace(best, others=others, others_total=len(group.others))


def _snippet(excerpt: Excerpt, query: str | Query, resembling: Sequence[str] = ()) -> str:
    return snippet(excerpt.text, query, language=excerpt.document.language, resembling=resembling)
