"""Proof: is a document really found? Sentences from its beginning, middle and end tell.

The sentences are drawn from the text that was extracted and not from the
chunks, so that text which no chunk holds, no vector stands for, or no index
knows is noticed. Knows neither files nor states. Its hard rule: a document is
called findable only when every sentence that was drawn is found.
"""

import bisect
import itertools
import re
from collections.abc import Sequence

import msgspec

from library.values import Chunk, Section
from search.analysis import Term, terms

_WORDS = 10  # of a sentence; enough to be nobody else's, few enough to stand in one chunk
_VISIBLE = re.compile(r"\S")
PLACES = ("beginning", "middle", "end")


class Probe(msgspec.Struct, frozen=True):
    """A few words of the document, and the chunk that must be found by them."""

    place: str  # of PLACES
    words: tuple[str, ...]  # as they stand in the text
    ordinal: int  # of the chunk


class Uncovered(Exception):
    """Some text of the document is in no chunk. `place` is of PLACES."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


def probes(sections: Sequence[Section], chunks: Sequence[Chunk]) -> list[Probe]:
    """What to search for: one probe a place, or none for a document without a word in it.

    Sections and chunks are in reading order; of the chunks only the spans are
    looked at. Raises Uncovered when the text at one of the places is in no chunk.
    """
    spans = [(chunk.section, chunk.start, chunk.end) for chunk in chunks]
    texts = {section.ordinal: section.text for section in sections}
    ends = list(itertools.accumulate(len(section.text) for section in sections))
    found: dict[int, list[Term]] = {}  # of a chunk, by its place in `chunks`
    drawn = []
    for place, at in zip(PLACES, (0, ends[-1] // 2, ends[-1] - 1) if ends else (), strict=bool(ends)):
        spot = _visible(sections, ends, at)
        if spot is None:
            return []
        here = bisect.bisect_right(spans, (*spot, len(texts[spot[0]]) + 1)) - 1
        if here < 0 or spans[here][0] != spot[0] or not spans[here][1] <= spot[1] < spans[here][2]:
            raise Uncovered(place)
        for number in (*range(here, len(spans)), *range(here - 1, -1, -1)):
            section, start, end = spans[number]
            if number not in found:
                found[number] = terms(texts[section][start:end])
            if found[number]:
                near = _terms_near(found[number], spot[1] - start if number == here else 0)
                text = texts[section][start:end]
                words = tuple(dict.fromkeys(text[term.start : term.end] for term in near))
                drawn.append(Probe(place, words, chunks[number].ordinal))
                break
    return drawn


def vector_probes(chunks: int) -> frozenset[int]:
    """The ordinals whose vectors are searched for: a document's first, middle and last chunk."""
    return frozenset({0, chunks // 2, chunks - 1}) if chunks else frozenset()


def _visible(sections: Sequence[Section], ends: Sequence[int], at: int) -> tuple[int, int] | None:
    """The first visible character at or after a place in all the text, else the last one before it.

    As its section's ordinal and its offset there.
    """
    first = bisect.bisect_right(ends, at)
    begin = at - (ends[first] - len(sections[first].text)) if first < len(sections) else 0
    for number in range(first, len(sections)):
        found = _VISIBLE.search(sections[number].text, begin)
        if found:
            return sections[number].ordinal, found.start()
        begin = 0
    for number in range(min(first, len(sections) - 1), -1, -1):
        text = sections[number].text.rstrip()
        if text:
            return sections[number].ordinal, len(text) - 1
    return None


def _terms_near(found: Sequence[Term], offset: int) -> Sequence[Term]:
    """The terms of a chunk from an offset on; its last ones where too few are left."""
    first = next((at for at, term in enumerate(found) if term.end > offset), len(found))
    first = max(0, min(first, len(found) - _WORDS))
    return found[first : first + _WORDS]
