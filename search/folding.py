"""Folding: the head of a ranking, where what belongs together stands once.

    ranked ─► what a better passage already says: its copy ─► chunks side by side: one passage ─► ranked

Pure: candidates and their texts in, a shorter ranking out. Only the head is
folded, because that needs texts, and few look further. Its hard rules: a
passage stands where its best chunk stood, so order never changes; and what is
folded depends on the ranking alone, never on the page that is asked for, so
pages neither overlap nor leave a gap.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from library.values import Excerpt
from search.duplicates import Said
from search.neighbours import joined
from search.values import Candidate

# Two pages of ten. Every text costs the record some time, whether it is shown or not.
HEAD = 20


class Folded(NamedTuple):
    ranked: list[Candidate]
    runs: dict[str, list[Excerpt]]  # of the head, by passage: the chunks that it is of, its own first
    copies: dict[str, tuple[str, ...]]  # by passage: what says the same


def fold(ranked: Sequence[Candidate], texts: Mapping[str, Excerpt], *, join: bool) -> Folded:
    """Fold the first HEAD candidates; those without a text stay where they are.

    Without `join` neighbours stay apart: whoever counts every token takes them one by one.
    """
    head = [texts[candidate.id] for candidate in ranked[:HEAD] if candidate.id in texts]
    said = Said()
    copies: dict[str, list[str]] = {}
    kept: list[Excerpt] = []
    for excerpt in head:
        better = said.already(excerpt.id, excerpt.text)
        if better is None:
            kept.append(excerpt)
        else:
            copies.setdefault(better, []).append(excerpt.id)
    runs = {run[0].id: run for run in (joined(kept) if join else [[excerpt] for excerpt in kept])}
    gone = {excerpt.id for excerpt in head} - runs.keys()
    return Folded(
        [candidate for candidate in ranked if candidate.id not in gone],
        runs,
        {id_: tuple(copy for one in run for copy in copies.get(one.id, ())) for id_, run in runs.items()},
    )
