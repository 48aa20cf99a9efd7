"""Alignment: which letter of a page is which letter of the text in the record.

Both were made from the same file in the same order, so they differ little: the
record has markers before list entries, bars between cells and brackets around
notes, the page has headings, and neither counts white space. Pure: strings in,
numbers out. Its hard rule: two letters are only paired when they are equal.
"""

import re
from array import array
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

NOWHERE = -1
_MARKERS = re.compile(r"(?m)(?:^(?: {2})*|(?<= ))(?:- |\d{1,8}\. )|(?<= )\|(?= )|^\||[\[\]]")
_GRAM = 14  # letters that have to agree before two places count as the same again
_SHORT_GRAM = 5
_NEAR = 600
_FAR = 60_000
_STEP = 64
_MOST_LOST = 200  # places where nothing fits any more; beyond that it is another text


class Letters(NamedTuple):
    """A text without its white space. `starts[i]` is where letter i stands in the text."""

    text: str
    starts: Sequence[int]
    markers: bytes  # 1 for each letter that extraction may have put in

    def between(self, start: int, end: int) -> range:
        """The letters of `text[start:end]`, by number."""
        return range(_first_at(self.starts, start), _first_at(self.starts, end))


def letters(text: str) -> Letters:
    starts = array("L", (at for at, letter in enumerate(text) if not letter.isspace()))
    marked = bytearray(len(text))
    for match in _MARKERS.finditer(text):
        marked[match.start() : match.end()] = b"\1" * (match.end() - match.start())
    return Letters(without_space(text), starts, bytes(marked[at] for at in starts))


def without_space(text: str) -> str:
    return "".join(text.split())


def align(recorded: Letters, shown: str, headings: Sequence[range] = ()) -> Sequence[int]:
    """For each letter of the record where it stands in `shown` (which has no white space), or NOWHERE.

    The places rise. `headings` are letters of the record that the page may
    have in other words, or not at all; they are in order.
    """
    return _Alignment(recorded, shown, headings).places()


class _Alignment:
    def __init__(self, recorded: Letters, shown: str, headings: Sequence[range]) -> None:
        self._text, self._markers, self._shown = recorded.text, recorded.markers, shown
        self._headings = deque(headings)
        self._places = array("l", [NOWHERE]) * len(self._text)
        self._at = self._to = 0

    def places(self) -> Sequence[int]:
        lost = 0
        while self._at < len(self._text) and self._to < len(self._shown) and lost <= _MOST_LOST:
            if self._passes_heading():
                continue
            same = self._same()
            if same:
                self._pair(same)
            elif self._markers[self._at]:
                self._at += 1
            elif (found := _again(self._text, self._at, self._shown, self._to)) is not None:
                self._at, self._to = found
            else:
                lost += 1
                self._at += 1
        return self._places

    def _pair(self, count: int) -> None:
        self._places[self._at : self._at + count] = array("l", range(self._to, self._to + count))
        self._at, self._to = self._at + count, self._to + count

    def _passes_heading(self) -> bool:
        while self._headings and self._headings[0].start < self._at:
            self._headings.popleft()
        if not self._headings or self._headings[0].start != self._at:
            return False
        heading = self._headings.popleft()
        found = _heading(self._text, heading, self._shown, self._to)
        if found is None:
            self._at = heading.stop
        else:
            self._to = found
            self._pair(len(heading))
        return True

    def _same(self) -> int:
        """How many letters can be paired from here on. A marker or heading begins anew: it may fit by chance."""
        text, markers, at = self._text, self._markers, self._at
        same = _common(text, at, self._shown, self._to)
        if not same or (markers[at] and _skips_better(text, markers, at, self._shown, self._to)):
            return 0
        marker = markers.find(1, at + 1, at + same)
        if marker >= 0:
            same = marker - at
        return min(same, self._headings[0].start - at) if self._headings else same


def _heading(text: str, heading: range, shown: str, to: int) -> int | None:
    """Where a heading stands: before the text below it, or nowhere."""
    words = text[heading.start : heading.stop]
    found = shown.find(words, to, to + _NEAR + len(words))
    below = text[heading.stop : heading.stop + _GRAM]
    begins = shown.find(below, to, to + _NEAR + len(words)) if below else -1
    return None if found < 0 or 0 <= begins <= found else found


def _skips_better(text: str, markers: bytes, at: int, shown: str, to: int) -> bool:
    """Whether a marker that happens to fit is extraction's own: "1." before "1984" is not its first digit."""
    end = at
    while end < len(text) and markers[end]:
        end += 1
    gram = text[end : end + _SHORT_GRAM]
    return shown.startswith(gram, to) and not shown.startswith(text[at : end + _SHORT_GRAM], to)


def _again(text: str, at: int, shown: str, to: int) -> tuple[int, int] | None:
    """The nearest pair of places, at or behind these, from which on both say the same."""
    for gram_length, near in ((_GRAM, _NEAR), (_SHORT_GRAM, 80)):
        best: tuple[int, int] | None = None
        least = near
        skipped = 0
        while skipped <= least and at + skipped < len(text):
            gram = text[at + skipped : at + skipped + gram_length]
            found = shown.find(gram, to, to + least - skipped + len(gram))
            if found >= 0 and len(gram) >= min(gram_length, len(text) - at - skipped):
                cost = skipped + found - to
                if best is None or cost < least:
                    best, least = (at + skipped, found), cost
            skipped += 1
        if best is not None:
            return best
    # A long piece is missing from one of them: a contents list, a note, a page of another order.
    for skipped in range(0, min(_FAR, len(text) - at), _STEP):
        gram = text[at + skipped : at + skipped + 2 * _GRAM]
        if len(gram) < 2 * _GRAM and skipped:
            break
        found = shown.find(gram, to, to + _FAR)
        if found >= 0:
            return at + skipped, found
    return None


def _common(one: str, at: int, other: str, to: int) -> int:
    """How many letters from here on are the same."""
    length, same = 64, 0
    while True:
        if one[at + same : at + same + length] == other[to + same : to + same + length]:
            if at + same + length >= len(one) or to + same + length >= len(other):
                return min(len(one) - at, len(other) - to)
            same += length
            length *= 2
            continue
        if length == 1:
            return same
        length = max(1, length // 2)


def _first_at(starts: Sequence[int], offset: int) -> int:
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        if starts[middle] < offset:
            low = middle + 1
        else:
            high = middle
    return low
