"""Fusion: two rankings in, one ranking out.

Knows nothing of tantivy, Qdrant or where a score came from. A BM25 score and a
cosine share no unit, so both are scaled to 0..1 within the query before they
are added. The convex combination of scaled scores beats reciprocal rank fusion
when the scores themselves carry information (Bruch, Gai and Ingber, "An
Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 2023); our own
figures are in docs/experiments.md.
"""

from collections.abc import Sequence

from search.values import Candidate

# The vector side's share. Chosen on SciFact's train queries; see docs/experiments.md.
ALPHA = 0.5


def fuse(
    lexical: Sequence[Candidate], vector: Sequence[Candidate], *, alpha: float = ALPHA
) -> list[Candidate]:
    """Add the two sides' scaled scores, `alpha` for the vectors and the rest for the words.

    Scores of the result are 0..1, best first; equal scores are ordered by id,
    so that paging is stable. A chunk that one side did not return counts as
    that side's lowest.
    """
    words, meaning = _scaled(lexical), _scaled(vector)
    fused = [
        Candidate(id_, (1 - alpha) * words.get(id_, 0.0) + alpha * meaning.get(id_, 0.0))
        for id_ in words.keys() | meaning.keys()
    ]
    return sorted(fused, key=lambda candidate: (-candidate.score, candidate.id))


def _scaled(candidates: Sequence[Candidate]) -> dict[str, float]:
    """Map a side's scores onto 0..1: its lowest candidate to 0, its highest to 1."""
    if not candidates:
        return {}
    lowest = min(candidate.score for candidate in candidates)
    span = max(candidate.score for candidate in candidates) - lowest
    return {c.id: (c.score - lowest) / span if span else 1.0 for c in candidates}
