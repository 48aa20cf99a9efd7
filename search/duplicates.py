"""Near-duplicates: what a better passage already says is not shown a second time.

Pure: texts in, verdicts out. Two editions of a book, a page printed in two
files, a notice on every page differ in punctuation, a page number, a word. Its
hard rule: only a passage that is nearly all inside *one* better passage goes;
whatever says something more stays.
"""

import itertools
import re
from collections import Counter

_WORD = re.compile(r"\w+")
# Three words in a row. Pages of a reference work share their vocabulary and half their phrases, and differ
# in what somebody looks them up for; in runs of three words a changed name counts three times.
_SHINGLE_WORDS = 3
_SAME = 0.8
# A line like "See the next page." says something else under every heading, and of two short paragraphs that
# differ in a name each is about something else. What is short also takes little room.
_LEAST_SHINGLES = 40


class Said:
    """What has been said so far, best passage first."""

    def __init__(self) -> None:
        self._by: dict[tuple[str, ...], str] = {}  # three words, and the first passage that had them

    def already(self, id_: str, text: str) -> str | None:
        """The better passage that says what this one says; None if there is none, and then this one is kept."""
        said = _shingles(text)
        if len(said) < _LEAST_SHINGLES:
            return None
        known = said.intersection(self._by)
        if len(known) >= _SAME * len(said):
            best, count = Counter(self._by[shingle] for shingle in known).most_common(1)[0]
            if count >= _SAME * len(said):
                return best
        self._by.update(dict.fromkeys(said - known, id_))
        return None


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return set(zip(*(itertools.islice(words, at, None) for at in range(_SHINGLE_WORDS)), strict=False))
