"""Citations: which passage says what the model has just said.

Pure: text in as it streams, tokens and citations out. A small model cites at
random or not at all, and says the opposite of its sources with their own
words; so its marks are taken as hints only, and each sentence is compared with
the passages' sentences. It is cited when some three neighbouring sentences of
a passage hold

- most of its subject words, and two that the question did not hold already
  (or a figure): repeating the question is no evidence,
- every one of its figures, with the same word behind it ("2 drops", not "2 teaspoons"),
- and when the nearest of them agrees with it in being a negation or not.

Knows no engine and no page. Its hard rule: a figure that stands in no passage
is never cited, however well the rest fits.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from llm.events import Citation, Token
from search.analysis import subject_terms, terms

# The share of a sentence's subject words that a passage must hold.
_SUPPORT = 0.6
_NEW_TERMS = 2
# With fewer subject words nearly any passage would do.
_FEWEST_TERMS = 3
_WINDOW_SENTENCES = 3
_MARK = re.compile(r"\s*\[(\d{1,2})\]")
_OPEN_MARK = re.compile(r"\s*\[\d{0,2}\Z|\s+\Z")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)]*(?=\s)|(?<=[。！？])|(?=\n)")
_FIGURE = re.compile(r"(\d+(?:[.,:/]\d+)*)(?:[\s-]*([^\W\d_]+|[%°]))?")
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|neither|nor|without|cannot|avoid|rather than)\b|n['’]t\b", re.IGNORECASE
)
_LIST_NUMBER = re.compile(r"^\W*\d{1,3}[.)]\s+")


class _Sentence(msgspec.Struct, frozen=True):
    terms: frozenset[str]
    figures: frozenset[str]
    negated: bool


class _Window(msgspec.Struct, frozen=True):
    """Neighbouring sentences of a passage, and what they hold together with its headings."""

    sentences: tuple[_Sentence, ...]
    terms: frozenset[str]
    figures: frozenset[str]


class Citer:
    """Follows one answer. Of its `sentences`, `cited` are said by a passage."""

    def __init__(self, passages: Sequence[str], *, question: str = "") -> None:
        """`passages` are what the model was given, in order: a line of headings, then the text."""
        self._passages = [_windows(text) for text in passages]
        self._asked = subject_terms(question)
        self._held = ""  # the start of what may become a mark, or the space before one
        self._sentence = ""
        self._hints: list[int] = []
        self._said: set[str] = set()
        self.sentences = 0
        self.cited = 0
        self.repeating = False  # the model has said a whole sentence again: small ones then never end

    def feed(self, text: str) -> Iterator[Token | Citation]:
        """Pass streamed text on, without the model's marks and with our citations."""
        text = self._held + text
        held = _OPEN_MARK.search(text)
        self._held = held.group() if held else ""
        text = text[: len(text) - len(self._held)]
        at = 0
        for mark in _MARK.finditer(text):
            yield from self._prose(text[at : mark.start()])
            self._hints.append(int(mark.group(1)))
            at = mark.end()
        yield from self._prose(text[at:])

    def finish(self) -> Iterator[Token | Citation]:
        """The end of the answer: what was held back, and the last sentence's citation."""
        rest, self._held = self._held, ""
        yield from self._prose(rest.rstrip())
        yield from self._close_sentence()

    def _prose(self, text: str) -> Iterator[Token | Citation]:
        """Emit text, and after each sentence in it what supports the sentence."""
        while text and not self.repeating:
            # The end of a sentence shows in what follows it, so both are looked at.
            end = _SENTENCE_END.search(self._sentence + text, max(0, len(self._sentence) - 2))
            cut = end.end() - len(self._sentence) if end else len(text)
            if end is None or cut < 0:
                self._sentence += text
                yield Token(text)
                return
            if cut:
                self._sentence += text[:cut]
                yield Token(text[:cut])
            yield from self._close_sentence()
            text = text[cut:]
            gap = text[: len(text) - len(text.lstrip())]
            if gap and not self.repeating:
                yield Token(gap)
            text = text[len(gap) :]

    def _close_sentence(self) -> Iterator[Citation]:
        text, hints = _LIST_NUMBER.sub("", self._sentence), self._hints
        self._sentence, self._hints = "", []
        sentence = _read(text)
        if len(sentence.terms) < _FEWEST_TERMS:
            return
        key = " ".join(text.split()).casefold()
        self.repeating = self.repeating or key in self._said
        self._said.add(key)
        self.sentences += 1
        supporting = self._supporting(sentence, hints)
        if supporting is not None:
            self.cited += 1
            yield Citation(supporting)

    def _supporting(self, sentence: _Sentence, hints: list[int]) -> int | None:
        """The passage, from 1, that says the sentence best; a hinted one wins a tie."""
        ranked = [
            (support, n in hints, -n)
            for n, windows in enumerate(self._passages, start=1)
            if (support := max((self._support(sentence, window) for window in windows), default=0.0))
        ]
        return -max(ranked)[2] if ranked else None

    def _support(self, sentence: _Sentence, window: _Window) -> float:
        """How much of the sentence the window says, _SUPPORT..1; 0 when it does not."""
        if not sentence.figures <= window.figures:
            return 0.0
        share = len(sentence.terms & window.terms) / len(sentence.terms)
        new = len((sentence.terms - self._asked) & window.terms)
        if share < _SUPPORT or (new < _NEW_TERMS and not sentence.figures):
            return 0.0
        nearest = max(window.sentences, key=lambda said: len(sentence.terms & said.terms))
        return share if nearest.negated == sentence.negated else 0.0


def sentences_of(text: str) -> list[str]:
    """The sentences and lines of a text, without the empty ones."""
    return [piece for piece in _SENTENCE_END.split(text) if piece.strip()]


def _read(text: str) -> _Sentence:
    return _Sentence(frozenset(subject_terms(text)), _figures(text), bool(_NEGATION.search(text)))


def _figures(text: str) -> frozenset[str]:
    """The figures of a text, each with what it counts: "30 minut", "6 %"; units in one form."""
    return frozenset(
        " ".join((figure, *(term.text for term in terms(unit))))
        if unit.isalpha()
        else f"{figure} {unit}".rstrip()
        for figure, unit in _FIGURE.findall(text)
    )


def _windows(passage: str) -> list[_Window]:
    headings, _, text = passage.partition("\n")
    above = subject_terms(headings)
    read = [_read(_LIST_NUMBER.sub("", sentence)) for sentence in sentences_of(text)]
    windows = []
    for first in range(max(1, len(read) - _WINDOW_SENTENCES + 1)):
        near = tuple(read[first : first + _WINDOW_SENTENCES])
        if near:
            windows.append(
                _Window(
                    near,
                    frozenset(above.union(*(sentence.terms for sentence in near))),
                    frozenset().union(*(sentence.figures for sentence in near)),
                )
            )
    return windows
