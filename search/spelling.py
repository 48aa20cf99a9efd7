"""Spelling: words of the library that resemble one it does not know.

Knows a vocabulary that can say how often a word occurs and which words begin
alike; no language and no keyboard. Distance is counted as people err: a letter
too many, too few, another, or two that changed places (Damerau). Its hard
rule: bounded work, however large the vocabulary.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

_SHORTEST = 4  # letters; shorter words are near too many others
_TWICE_FROM = 8  # letters from which two mistakes are forgiven
_LONGEST = 24
# Two mistakes are looked for among words that begin alike, the most frequent ones first.
_ALIKE_LETTERS = 3
_MOST_ALIKE = 3_000
_LATIN = "abcdefghijklmnopqrstuvwxyz"
# The alphabet that a word is written in, by its first letter; other scripts get their own letters only.
_ALPHABETS = (
    _LATIN,
    "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "αβγδεζηθικλμνξοπρστυφχψως",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهويةىءأإآ",
)


_WORD = re.compile(r"\w+")
# A correction is proposed when the word occurs that often, and twice as often as the next one like it.
_SURE = 2


class Frequencies(Protocol):
    def doc_freq(self, field_name: str, field_value: str, /) -> int: ...

    def terms_with_prefix(
        self, field_name: str, prefix: str, filter_query: None = None, limit: int | None = None
    ) -> list[tuple[str, int]]: ...


class Near(NamedTuple):
    text: str
    distance: int
    frequency: int  # in how many chunks


def near(word: str, vocabulary: Frequencies, field: str = "words") -> list[Near]:
    """Words like `word` (folded, as the vocabulary has them), the nearest and among them the most frequent first."""
    if not _SHORTEST <= len(word) <= _LONGEST or not word.isalpha():
        return []
    found = {}
    for other in _once_wrong(word):
        if frequency := vocabulary.doc_freq(field, other):
            found[other] = Near(other, 1, frequency)
    if not found and len(word) >= _TWICE_FROM:
        for other, frequency in vocabulary.terms_with_prefix(field, word[:_ALIKE_LETTERS], None, _MOST_ALIKE):
            if abs(len(other) - len(word)) <= 2 and other.isalpha() and distance(word, other, most=2) <= 2:
                found[other] = Near(other, 2, frequency)
    return sorted(found.values(), key=lambda one: (one.distance, -one.frequency, one.text))


def corrected(typed: str, unknown: Iterable[str], near: Callable[[str], Sequence[Near]]) -> str | None:
    """What was typed with each of the `unknown` words replaced, where it is sure by what; None when nothing is."""
    better = {}
    for word in unknown:
        candidates = [one for one in near(word.lower()) if one.text != word.lower()]
        if candidates and _is_sure(candidates):
            better[word] = candidates[0].text
    if not better:
        return None

    def written(match: re.Match[str]) -> str:
        word = better.get(match[0], match[0])
        return word.capitalize() if match[0][0].isupper() and word != match[0] else word

    changed = _WORD.sub(written, typed)
    return changed if changed != typed else None


def _is_sure(candidates: Sequence[Near]) -> bool:
    first, *others = candidates
    rival = max((other.frequency for other in others if other.distance == first.distance), default=0)
    return first.frequency >= max(_SURE, _SURE * rival)


def distance(one: str, other: str, *, most: int) -> int:
    """Damerau's distance with adjacent exchanges; `most` + 1 as soon as it is more."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        line = [row]
        for column, against in enumerate(other, start=1):
            cost = min(last[column] + 1, line[-1] + 1, last[column - 1] + (letter != against))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == against:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        if min(line) > most:
            return most + 1
        before, last = last, line
    return min(last[-1], most + 1)


def _once_wrong(word: str) -> Iterator[str]:
    letters = next((alphabet for alphabet in _ALPHABETS if word[0] in alphabet), "".join(set(word)))
    for at in range(len(word) + 1):
        head, tail = word[:at], word[at:]
        if tail:
            yield head + tail[1:]
        if len(tail) > 1 and tail[0] != tail[1]:
            yield head + tail[1] + tail[0] + tail[2:]
        for letter in letters:
            if tail and letter != tail[0]:
                yield head + letter + tail[1:]
            yield head + letter + tail
