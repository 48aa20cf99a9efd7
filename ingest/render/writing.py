"""Writing: a leaf's tokens as HTML, with passages and hits marked and places named.

Pure. Its hard rule: everything that comes from the book is escaped here, and
the only other markup is what `ingest.render` has put into the tokens.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from html import escape

import msgspec

from ingest.render.tokens import Anchor, Close, Open, Token, Whole

NOT_MARKED = -1  # the letter of white space that lies between stretches


class Stretch(msgspec.Struct, frozen=True):
    """Letters of the page that are marked: `start` and `end` count told letters without white space."""

    start: int
    end: int
    kind: str  # the mark's class
    id: str = ""


def write(
    tokens: Sequence[Token], first: int, stretches: Sequence[Stretch], places: Mapping[int, Sequence[str]]
) -> str:
    """`first` is the number of the leaf's first letter; `places` are ids by the letter that they stand before."""
    return _Writing(first, stretches, places).of(tokens)


class _Writing:
    def __init__(self, first: int, stretches: Sequence[Stretch], places: Mapping[int, Sequence[str]]) -> None:
        self._letter = first
        self._stretches = sorted(stretches, key=lambda stretch: stretch.start)
        self._places, self._named = places, sorted(places)
        self._ids = {stretch.id for stretch in stretches if stretch.id}
        self._parts: list[str] = []

    def of(self, tokens: Sequence[Token]) -> str:
        for token in tokens:
            if isinstance(token, Open):
                self._parts.append(token.markup)
            elif isinstance(token, Close):
                self._parts.append(f"</{token.name}>")
            elif isinstance(token, Anchor):
                self._name(token.id)
            elif isinstance(token, Whole):
                self._whole(token)
            elif token.told:
                self._text(token.text)
            else:
                self._parts.append(escape(token.text, quote=False))
        return "".join(self._parts)

    def _name(self, id_: str) -> None:
        self._parts.append(f'<span id="{escape(id_)}" class="b-place"></span>')

    def _whole(self, token: Whole) -> None:
        count = len("".join(token.text.split()))
        for at in self._places_in(self._letter, self._letter + count):
            for id_ in self._places[at]:
                self._name(id_)
        last = self._letter + count
        here = [one for one in self._stretches if count and one.start < last and one.end > self._letter]
        self._letter = last
        self._parts.append(self._marked(token.markup, here) if here else token.markup)

    def _text(self, text: str) -> None:
        end = self._letter + len("".join(text.split()))
        here = [stretch for stretch in self._stretches if stretch.start < end and stretch.end > self._letter]
        named = self._places_in(self._letter, end)
        if not here and not named:
            self._letter = end
            self._parts.append(escape(text, quote=False))
            return
        cuts = {stretch.start for stretch in here} | {stretch.end for stretch in here}
        cuts.update(named)
        since, letter = 0, self._letter  # where the piece being gathered begins, and its first letter
        last = 0  # behind the last letter
        for at, character in enumerate(text):
            if character.isspace():
                continue
            if self._letter in cuts:
                # White space before a stretch is outside it, and behind it too.
                self._piece(text[since:last], letter, here)
                self._piece(text[last:at], NOT_MARKED if self._between(here) else self._letter, here)
                for id_ in self._places.get(self._letter, ()):
                    self._name(id_)
                since, letter = at, self._letter
            self._letter += 1
            last = at + 1
        self._piece(text[since:last], letter, here)
        goes_on = any(stretch.start < end < stretch.end for stretch in here)
        self._piece(text[last:], end if goes_on else NOT_MARKED, here)

    def _places_in(self, start: int, end: int) -> Sequence[int]:
        return self._named[bisect_left(self._named, start) : bisect_left(self._named, end)]

    def _between(self, here: Sequence[Stretch]) -> bool:
        """Whether the white space before this letter divides two stretches."""
        at = self._letter
        return not any(stretch.start < at < stretch.end for stretch in here)

    def _piece(self, text: str, letter: int, here: Sequence[Stretch]) -> None:
        if not text:
            return
        over = [stretch for stretch in here if stretch.start <= letter < stretch.end]
        escaped = escape(text, quote=False)
        self._parts.append(self._marked(escaped, over) if over else escaped)

    def _marked(self, markup: str, over: Sequence[Stretch]) -> str:
        kinds = " ".join(dict.fromkeys(stretch.kind for stretch in over))
        id_ = next((stretch.id for stretch in over if stretch.id in self._ids), "")
        self._ids.discard(id_)
        named = f' id="{id_}"' if id_ else ""
        return f'<mark{named} class="{kinds}">{markup}</mark>'
