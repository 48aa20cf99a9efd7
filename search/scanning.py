"""Scanning: what was typed, cut into words, phrases and fields.

Knows quotation marks and colons, not what a field means. Its hard rule: one
look at each character, so that a hundred thousand of them cost no more than
they must, and whatever is no operator comes out as a word.
"""

import re
from collections.abc import Iterator

import msgspec

# Opening mark: the marks that close it. People mix them up, and phones turn them round.
_CLOSING = {
    '"': '"”“„',
    "“": '”“"',
    "”": '”"',
    "„": '“”"',
    "‟": '”"',
    "＂": "＂",
    "«": "»",
    "»": "«",
    "‹": "›",
    "›": "‹",
    "「": "」",
    "『": "』",
    "《": "》",
    "〈": "〉",
}
_MARKS = frozenset(_CLOSING) | frozenset("".join(_CLOSING.values()))
# These open a phrase in the middle of a run, too: such scripts put no space before them.
_OPENS_ANYWHERE = frozenset("“„«「『《〈")
# A field's name is letters alone, so that no address, time or path is taken for one.
_FIELD = re.compile(r"([^\W\d_]{2,20}):(?![:/\\])")
# Controls, halves of surrogate pairs, and what only steers the writing direction: they part no words on purpose.
_SEPARATING = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]+")
_INVISIBLE = re.compile(r"[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\u00ad]+")


class Lexeme(msgspec.Struct, frozen=True):
    """A word or a phrase with what stood in front of it."""

    text: str  # without quotation marks, minus and field
    typed: str  # as it stood there
    quoted: bool = False
    minus: bool = False
    field: str = ""  # lower case, without its colon
    open_ended: bool = False  # a quotation mark that nothing closes


def cleaned(typed: str) -> str:
    """Spaces where controls and broken characters stood, one between two words."""
    return _SEPARATING.sub(" ", _INVISIBLE.sub("", typed)).strip()


def lexemes(text: str) -> Iterator[Lexeme]:
    """Cut a cleaned query; everything visible in it is in some lexeme, in order."""
    at, unclosed = 0, set[str]()
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        begin = at
        while at < len(text) and text[at] in "([{":
            at += 1
        minus = at < len(text) and text[at] in "-−" and _excludes(text, at + 1)
        at += minus
        field = ""
        if matched := _FIELD.match(text, at):
            field, at = matched[1].lower(), matched.end()
        if at < len(text) and text[at] in _CLOSING:
            mark = text[at]
            end = _closing(text, at + 1, mark) if mark not in unclosed else -1
            if end >= 0:
                inside, at = text[at + 1 : end], end + 1
                at += at < len(text) and text[at] == "*"
                yield Lexeme(inside.strip(), text[begin:at], True, minus, field)
                continue
            first = mark not in unclosed
            unclosed.add(mark)
            end = _word_end(text, at + 1)
            yield Lexeme(text[at + 1 : end], text[begin:end], False, minus, field, open_ended=first)
        else:
            end = _word_end(text, at)
            # A mark behind a letter is the end of a phrase without a beginning; behind a figure it means inches.
            stray = end > at + 1 and text[end - 1] in _MARKS and text[end - 2].isalpha()
            word = text[at:end].strip("".join(_MARKS)) if stray else text[at:end]
            word = word if "(" in word else word.rstrip(")]}")
            yield Lexeme(word, text[begin:end], False, minus, field, open_ended=stray)
        at = max(end, begin + 1)


def _excludes(text: str, at: int) -> bool:
    """Whether a minus before `at` leaves something out: not "- ", "--help", nor a number below zero."""
    return at < len(text) and (text[at].isalpha() or text[at] in _CLOSING)


def _closing(text: str, at: int, mark: str) -> int:
    """Where the phrase that begins at `at` ends, or -1."""
    for end in range(at, len(text)):
        if text[end] in _CLOSING[mark]:
            return end
    return -1


def _word_end(text: str, at: int) -> int:
    while at < len(text) and not text[at].isspace() and text[at] not in _OPENS_ANYWHERE:
        at += 1
    return at
