"""Leaves: a long page cut where a reader would turn over, each leaf whole in itself.

Pure: tokens in, runs of tokens out. A leaf opens again what the one before it
had to close. Its hard rule: every text stands on exactly one leaf, in order.
"""

from collections.abc import Sequence

from ingest.render.tokens import Close, Open, Text, Token, Whole

LEAF_CHARS = 60_000
_EARLY = 0.6  # of a leaf, from which on a heading begins a new one
_LATE = 2.0  # of a leaf, from which on it is cut wherever it can be
_HEADINGS = frozenset({"h1", "h2", "h3"})


def leaves(tokens: Sequence[Token], *, most: int = LEAF_CHARS) -> list[list[Token]]:
    """Never empty. A leaf holds at most about twice `most` letters."""
    cutting = _Cutting(most)
    for token in tokens:
        cutting.take(token)
    return cutting.end()


class _Cutting:
    def __init__(self, most: int) -> None:
        self._most = most
        self._leaves: list[list[Token]] = []
        self._leaf: list[Token] = []
        self._open: list[Open] = []
        self._size = 0

    def take(self, token: Token) -> None:
        if isinstance(token, Open):
            if self._may_begin(token):
                self._turn()
            self._open.append(token)
        elif isinstance(token, Close):
            self._open.pop()
        elif isinstance(token, Text):
            for piece in self._pieces(token):
                self._size += len(piece.text)
                self._leaf.append(piece)
                if self._size >= _LATE * self._most:
                    self._turn()
            return
        elif isinstance(token, Whole):
            self._size += len(token.text) + 50
        self._leaf.append(token)

    def end(self) -> list[list[Token]]:
        if self._size or not self._leaves:
            self._leaves.append(self._leaf)
        else:
            self._leaves[-1].extend(self._leaf[len(self._open) :])
        return self._leaves

    def _may_begin(self, token: Open) -> bool:
        whole = all(element.divides for element in self._open)
        full = self._size >= self._most
        early = token.name in _HEADINGS and self._size >= _EARLY * self._most
        row = token.name == "tr" and self._size >= _LATE * self._most
        return row or (whole and (full or early))

    def _pieces(self, token: Text) -> list[Text]:
        """A text that is a book by itself, between two words each."""
        text, pieces, at = token.text, [], 0
        length = int(_LATE * self._most)
        while len(text) - at > length:
            space = text.rfind(" ", at + length // 2, at + length)
            end = space + 1 if space >= 0 else at + length
            pieces.append(token._replace(text=text[at:end]))
            at = end
        return [*pieces, token._replace(text=text[at:])]

    def _turn(self) -> None:
        self._leaf.extend(Close(element.name) for element in reversed(self._open))
        self._leaves.append(self._leaf)
        self._leaf = [without_id(element) for element in self._open]
        self._size = 0


def without_id(token: Open) -> Open:
    """The same element again: an id stands once, and a numbered list goes on counting by its entries."""
    head, found, rest = token.markup.partition(' id="')
    return token._replace(markup=head + rest.partition('"')[2]) if found else token
