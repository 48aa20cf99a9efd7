"""Citations: which passage says what the model has just said.

Pure: text in as it streams, tokens and citations out. A small model cites at
random or not at all, so its own marks are taken as hints only: a sentence is
cited when a passage holds its words and every one of its figures. Knows no
engine and no page. Its hard rule: a figure that stands in no passage is never
cited, however well the rest fits.
"""

import re
from collections.abc import Iterator, Sequence

from llm.events import Citation, Token
from search.analysis import subject_terms

# The share of a sentence's subject words that its passage must hold.
_SUPPORT = 0.6
# With fewer subject words nearly any passage would do.
_FEWEST_TERMS = 3
_MARK = re.compile(r"\s*\[(\d{1,2})\]")
_OPEN_MARK = re.compile(r"\s*\[\d{0,2}\Z|\s+\Z")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)]*(?=\s)|(?<=[。！？])|(?=\n)")
_FIGURE = re.compile(r"\d+(?:[.,:/]\d+)*")


class Citer:
    """Follows one answer. Of its `sentences`, `cited` are said by a passage."""

    def __init__(self, passages: Sequence[str]) -> None:
        """`passages` are the texts, headings included, that the model was given, in order."""
        self._terms = [subject_terms(text) for text in passages]
        self._figures = [set(_FIGURE.findall(text)) for text in passages]
        self._held = ""  # the start of what may become a mark, or the space before one
        self._sentence = ""
        self._hints: list[int] = []
        self.sentences = 0
        self.cited = 0

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
        while text:
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
            if gap:
                yield Token(gap)
            text = text[len(gap) :]

    def _close_sentence(self) -> Iterator[Citation]:
        sentence, hints = self._sentence, self._hints
        self._sentence, self._hints = "", []
        terms = subject_terms(sentence)
        if len(terms) < _FEWEST_TERMS:
            return
        self.sentences += 1
        supporting = self._supporting(terms, set(_FIGURE.findall(sentence)), hints)
        if supporting is not None:
            self.cited += 1
            yield Citation(supporting)

    def _supporting(self, terms: set[str], figures: set[str], hints: list[int]) -> int | None:
        """The passage, from 1, that says the sentence best; a hinted one wins a tie."""
        best, best_rank = None, (_SUPPORT, False)
        for n, (held, held_figures) in enumerate(zip(self._terms, self._figures, strict=True), start=1):
            if not figures <= held_figures:
                continue
            rank = (len(terms & held) / len(terms), n in hints)
            if rank > best_rank or (best is None and rank[0] >= _SUPPORT):
                best, best_rank = n, rank
        return best
