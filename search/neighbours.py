"""Neighbours: chunks that stand side by side become one passage, and a passage shows what stands around it.

Pure: excerpts in, runs and spans out; knows no query and no score. What
answers a question often begins in the sentence before a chunk or ends in the
next one, and two chunks of one page, one after the other in a list of results,
are one passage that was cut. Its hard rule: nothing crosses a section, and what
is shown is exactly the section's text from `start` to `end`, so that it opens
in the reader where it says it stands.
"""

import re
from collections.abc import Sequence

from library.values import Excerpt
from search.values import Context

# Characters shown on either side, some four sentences. Each further hundred contains a few more answers and
# costs as much more to read; docs/experiments.md has the figures.
AROUND = 400
# Two full chunks. Longer runs would show a page for a sentence.
_MOST_JOINED = 2_400

_BORDER = re.compile(r"\n\s*|(?<=[.!?…])[\"'”’»)\]]{0,3}\s+|(?<=[。！？])(?=\S)")
_SPACE = re.compile(r"\s+")


def joined(ranked: Sequence[Excerpt]) -> list[list[Excerpt]]:
    """The excerpts as runs of one section, each led by its best and placed where that one stands.

    A later excerpt joins the best run that it touches; the others of a run are
    in the order of `ranked`. Excerpts must have been read with `AROUND`
    characters on either side.
    """
    runs: list[list[Excerpt]] = []
    edges: dict[tuple[str, int, int], int] = {}  # the places beside a run: which run it is, the best of them
    for excerpt in ranked:
        place = (excerpt.document.id, excerpt.section, excerpt.ordinal)
        at = edges.get(place)
        if at is None or not _fits(runs[at], excerpt):
            at = len(runs)
            runs.append([])
        runs[at].append(excerpt)
        for beside in (excerpt.ordinal - 1, excerpt.ordinal + 1):
            edge = (excerpt.document.id, excerpt.section, beside)
            edges[edge] = min(at, edges.get(edge, at))
    return runs


def context(run: Sequence[Excerpt], *, around: int = AROUND) -> Context:
    """A run with what stands around it, cut between sentences where that can be seen.

    `around` is how many characters on either side the excerpts were read with.
    """
    first, *rest = sorted(run, key=lambda excerpt: excerpt.start)
    before, last = _from_border(first), first
    parts = [before, first.text]
    for excerpt in rest:
        parts += [last.after[: excerpt.start - last.end], excerpt.text]
        last = excerpt
    after = _to_border(last.after, around)
    return Context(first.start - len(before), last.end + len(after), "".join([*parts, after]))


def _fits(run: Sequence[Excerpt], excerpt: Excerpt) -> bool:
    start = min(excerpt.start, *(one.start for one in run))
    end = max(excerpt.end, *(one.end for one in run))
    # Between two chunks there is white space only, but a hostile file may hold a megabyte of it.
    together = [*run, excerpt]
    gaps = end - start - sum(one.end - one.start for one in together)
    return end - start <= _MOST_JOINED and gaps <= AROUND


def _from_border(excerpt: Excerpt) -> str:
    """What stands before it, from the beginning of a sentence on, or else of a word."""
    before = excerpt.before
    if len(before) == excerpt.start:
        return before
    found = _BORDER.search(before) or _SPACE.search(before)
    return before[found.end() :] if found else before


def _to_border(after: str, around: int) -> str:
    """What stands behind it, to the end of a sentence, or else of a word."""
    if len(after) < around:
        return after
    ends = [found.start() for found in _BORDER.finditer(after)] or [
        found.start() for found in _SPACE.finditer(after)
    ]
    return after[: ends[-1]] if ends else after
