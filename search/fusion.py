"""Fusion: two rankings in, one ranking out.

Knows nothing of tantivy, Qdrant or where a score came from. A BM25 score and a
cosine share no unit, so both are standardised within the query before they
are added. The convex combination of scaled scores beats reciprocal rank fusion
when the scores themselves carry information (Bruch, Gai and Ingber, "An
Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 2023); our own
figures are in docs/experiments.md.
"""

import math
from collections.abc import Mapping, Sequence

from search.values import Candidate

# The vector side's share. Chosen on SciFact's train queries; see docs/experiments.md.
# Below a half it lets the words have the last word; see `fuse`.
ALPHA = 0.45


def fuse(
    lexical: Sequence[Candidate], vector: Sequence[Candidate], *, alpha: float = ALPHA
) -> list[Candidate]:
    """Add the two sides' standard scores, `alpha` for the vectors and the rest for the words.

    Scores of the result are 0..1, best first; equal scores are ordered by id,
    so that paging is stable. A chunk that one side did not return counts as
    that side's lowest, or as without any of the words where the list shows it.

    A nearness is a guess, a word that stands there is not: from its lowest to
    its best the meaning reaches no further than the words do. With `alpha` below
    a half the chunk that is best by the words therefore stands before every chunk
    that the words did not find, however far that one stands out by its meaning.
    """
    words, least_words = _standardised(lexical, of=len(vector))
    meaning, least_meaning = _standardised(vector)
    share = alpha * _bound(_reach(meaning, least_meaning), _reach(words, least_words))
    fused = {
        id_: (1 - alpha) * words.get(id_, least_words) + share * meaning.get(id_, least_meaning)
        for id_ in words.keys() | meaning.keys()
    }
    lowest, highest = min(fused.values(), default=0.0), max(fused.values(), default=0.0)
    span = highest - lowest
    candidates = [Candidate(id_, (score - lowest) / span if span else 1.0) for id_, score in fused.items()]
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.id))


def _standardised(candidates: Sequence[Candidate], *, of: int = 0) -> tuple[dict[str, float], float]:
    """A side's scores as standard deviations from their mean, and that of a chunk which it did not return.

    The best score alone does not set the scale, as it does between the lowest
    and the highest: one chunk that stands out leaves the others apart. A list
    shorter than `of` was not cut: what is not in it has none of the words, and
    counts with a score of 0. So a word that one chunk alone has finds that chunk.
    """
    scores = [candidate.score for candidate in candidates]
    scores += [0.0] * (of - len(scores))
    if not candidates or min(scores) == max(scores):
        return dict.fromkeys((candidate.id for candidate in candidates), 0.0), 0.0
    mean = sum(scores) / len(scores)
    deviation = math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))
    scaled = {candidate.id: (candidate.score - mean) / deviation for candidate in candidates}
    return scaled, (min(scores) - mean) / deviation


def _reach(scaled: Mapping[str, float], least: float) -> float:
    """From a side's lowest to its best, in standard deviations."""
    return max(scaled.values(), default=least) - least


def _bound(reach: float, allowed: float) -> float:
    """By what to multiply a reach that is longer than allowed; a side that tells nothing apart bounds nothing."""
    return min(1.0, allowed / reach) if reach and allowed else 1.0
