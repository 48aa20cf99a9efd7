"""The verdict: is it in the library at all?

Pure. Decided before any model is asked, from what retrieval found, so that it
does not depend on a model being clever. The thresholds and how they were
chosen are in docs/experiments.md.
"""

import enum
from collections.abc import Sequence

from search.analysis import subject_terms
from search.values import Passage

# Below this cosine a passage and a question have nothing to do with each other.
_RELATED = 0.35
# A passage that holds this share of the question's subject words is about it,
# whatever the vectors say (part numbers, names, foreign words).
_COVERED = 0.6


class Verdict(enum.Enum):
    ANSWERABLE = "answerable"
    NOT_FOUND = "not_found"


def verdict(question: str, passages: Sequence[Passage]) -> Verdict:
    """Whether the best passages have to do with the question."""
    wanted = subject_terms(question)
    for passage in passages:
        if passage.similarity is not None and passage.similarity >= _RELATED:
            return Verdict.ANSWERABLE
        held = subject_terms(" ".join((*passage.excerpt.heading_path, passage.excerpt.text)))
        if wanted and len(wanted & held) / len(wanted) >= _COVERED:
            return Verdict.ANSWERABLE
    return Verdict.NOT_FOUND
