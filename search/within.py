"""Within: where words stand in one document's text, as a reader looks for them with the book open.

Pure. Case and accents do not count, nor does how white space is written. What
was typed is looked for as it stands first; only if no text has that, its words
are, each from its beginning on ("boil" is in "boiling"). Its hard rule: a span
is cut from the text as it was given, so that what is marked is what was found.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MOST_SPANS = 2_000
_MOST_TYPED = 200
_MOST_WORDS = 12
_FEWEST_LETTERS = 3  # of a word that is looked for by itself, where words have spaces
_QUOTES = re.compile(r'["“”„«»]')
_ENDINGS = re.compile(r"(?<=\w{4})(?:ing|ed|es|s|e)$")
_TELLING_NOTHING = (
    "about and any are can could did does for from had has have how into its may not our out should that the "
    "their them then there these they this those was were what when where which who whom why will with would you "
    "your und der die das ist von mit les des est une que por para los las"
)
_FUNCTION_WORDS = frozenset(_TELLING_NOTHING.split())


class Span(NamedTuple):
    section: int
    start: int
    end: int


class _Folding(dict[int, str]):
    """Each letter as one letter without case and accent, so that offsets stay what they are."""

    def __missing__(self, letter: int) -> str:
        plain = unicodedata.normalize("NFKD", chr(letter)).casefold()
        self[letter] = folded = next((one for one in plain if not unicodedata.combining(one)), chr(letter))
        return folded


_FOLDING = _Folding()


def folded(text: str) -> str:
    return text.translate(_FOLDING)


def spans(texts: Iterable[tuple[int, str]], typed: str) -> list[Span]:
    """Where what was typed stands in the (section, text) pairs, in order; at most MOST_SPANS."""
    words = _QUOTES.sub(" ", folded(typed[:_MOST_TYPED])).split()
    if not words:
        return []
    kept = [(section, folded(text)) for section, text in texts]
    return _found(kept, _phrase(words)) or (_found(kept, _any_of(words)) if len(words) > 1 else [])


def _phrase(words: Sequence[str]) -> str:
    begins = r"(?<!\w)" if words[0].isascii() and words[0][0].isalnum() else ""
    return begins + r"\s+".join(map(re.escape, words))


def _any_of(words: Sequence[str]) -> str | None:
    telling = [word.strip(".,;:!?()") for word in words]
    stems = [
        _ENDINGS.sub("", word)
        for word in dict.fromkeys(telling)
        if word and word not in _FUNCTION_WORDS and (len(word) >= _FEWEST_LETTERS or not word.isascii())
    ][:_MOST_WORDS]
    return r"(?<!\w)(?:" + "|".join(map(re.escape, stems)) + r")\w*" if stems else None


def _found(texts: Sequence[tuple[int, str]], pattern: str | None) -> list[Span]:
    if pattern is None:
        return []
    compiled, found = re.compile(pattern), []
    for section, text in texts:
        for match in compiled.finditer(text):
            found.append(Span(section, match.start(), match.end()))
            if len(found) == MOST_SPANS:
                return found
    return found
