"""Chunking: sections in, pieces small enough to embed out, in reading order.

Knows nothing of models, indexes or file formats: a token is whatever
`count_tokens` counts. A chunk is whole blocks where they fit, code with its
blank lines included; a block that does not fit is cut at its lines, then
sentences, clauses, words, and letters at last. Its hard rule: every visible
character of a section is in exactly one chunk, and no chunk with its heading
path is longer than the budget, because the embedder drops the rest without a
word.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from library.values import Chunk, Section, indexed_text

CountTokens = Callable[[Sequence[str]], list[int]]

BUDGET_TOKENS = 254  # the embedder's 256 word pieces without the two it adds itself
# Text of more characters a token than this is taken for too long without being counted, and counted
# in its parts: once, where it would otherwise be counted at every level. English has four or five.
_LONG = 5
# A word beyond a tokeniser's own limit, or in a script that it does not know, is one token however long.
# Such text counts as a token for every so many characters, or a chunk of it could be a whole book.
_SPARSE = 16
_TINY = 5  # a chunk below a fifth of the room is an orphan
_KNOWN_CHARS = 1 << 20  # words remembered with their counts, in characters; some 20 MiB

_BLOCK = re.compile(r"\n[ \t]*\n\s*")
_LINE = re.compile(r"\n+")
_WORD = re.compile(r"\s+")
# Sentence ends. Scripts that write without spaces end one with the mark alone. Runs are bounded, or a
# line of a million dots would take hours.
_SENTENCE = re.compile(
    r"[.!?…‽؟۔।॥։።。！？｡][.!?…‽؟۔।॥։።。！？｡\"'”’»)\]」』）】〉》]{0,9}(?:(?P<gap>\s+)|(?<=[。！？｡」』）】〉》]))"
)
# Where a sentence may be cut that does not fit: text all in lower case ends its sentences here, too.
_CLAUSE = re.compile(r"[.!?…;:,)\]][\"'”’»)\]]{0,9}\s+|(?<!\s)\s++(?=[–—(\[]|--)")
_ITEM = re.compile(r"[-*•+]\s|\(?\w{1,3}[.)]\s")
_INDENTED = re.compile(r"\n[ \t]+\S")
_LAST_WORD = re.compile(r"[^\s(\[“\"'‘]*\Z")
_ABBREVIATION_NAMES = (
    "dr mr mrs ms prof sr jr st rev gen col capt lt sgt hon fig figs no nos vol vols ch chap sec eq "
    "ed eds pp p art cf vs viz etc al approx dept est inc ltd co corp jan feb mar apr jun jul aug sep "
    "sept oct nov dec mon tue wed thu fri sat sun ca bzw usw nr abb bd str mme mlle av bl resp incl "
    "min max temp"
)
_ABBREVIATIONS = frozenset(_ABBREVIATION_NAMES.split())


_Span = tuple[int, int]
_Piece = tuple[int, int, int]  # start, end and tokens of a run of text that is not cut further


def chunk(
    sections: Iterable[Section], *, count_tokens: CountTokens, budget_tokens: int = BUDGET_TOKENS
) -> Iterator[Chunk]:
    """Cut sections into chunks of at most `budget_tokens`, heading path included.

    Tokens are the embedding model's word pieces, not the chat model's; they
    must add up over white space. Ordinals run from 0 over the whole document.
    A chunk never crosses a section, so every citation names one heading, and
    what lies between two chunks of a section is white space only.
    """
    counts = count_tokens if isinstance(count_tokens, WordCounts) else WordCounts(count_tokens)
    paths = _Paths(counts, budget_tokens)
    ordinal = 0
    for section in sections:
        cutter = _Cutter(counts, section.text, budget_tokens - paths.cost(section.heading_path))
        for start, end in cutter.spans():
            yield Chunk(ordinal, section.ordinal, start, end, section.text[start:end])
            ordinal += 1


def fitting_path(
    heading_path: tuple[str, ...], *, count_tokens: CountTokens, budget_tokens: int = BUDGET_TOKENS
) -> tuple[str, ...]:
    """The end of a heading path that takes at most half the budget.

    What is embedded for a chunk is `indexed_text(fitting_path(path), text)`.
    The outer headings go first; if the innermost alone is too long, it keeps
    its first words.
    """
    return _Paths(count_tokens, budget_tokens).fitting(heading_path)


class WordCounts:
    """Counts texts word by word, asking for each word once.

    Tokens add up over white space and books repeat their words: a tokeniser
    reads a fifth of a novel's text, and next to nothing of the second one when
    one `WordCounts` serves them both.
    """

    def __init__(self, count_tokens: CountTokens) -> None:
        self._count = count_tokens
        self._known: dict[str, int] = {}
        self._chars = 0

    def __call__(self, texts: Sequence[str]) -> list[int]:
        split = [text.split() for text in texts]
        known = self._known.__getitem__
        try:
            return [sum(map(known, words)) for words in split]
        except KeyError:
            self._learn(set().union(*split))
            return [sum(map(known, words)) for words in split]

    def _learn(self, words: set[str]) -> None:
        # `difference` with a dict looks these words up; `words - known.keys()` walks through all that is known.
        unknown = list(words.difference(self._known))
        if self._chars > _KNOWN_CHARS:
            self._known.clear()
            self._chars = 0
            unknown = list(words)
        self._known.update(zip(unknown, self._count(unknown), strict=True))
        self._chars += sum(map(len, unknown))


class _Paths:
    """What heading paths cost. Each heading is counted once, however many sections stand below it."""

    def __init__(self, count_tokens: CountTokens, budget_tokens: int) -> None:
        self._count, self._most = count_tokens, budget_tokens // 2
        self._known: dict[str, int] = {}
        # What `indexed_text` writes between two headings, found rather than known.
        self._joint = count_tokens([indexed_text(("", ""), "")])[0]

    def cost(self, path: tuple[str, ...]) -> int:
        """Tokens of a path's prefix, or half the budget where it is cut to fit."""
        return min(self._most, self._of(path))

    def fitting(self, path: tuple[str, ...]) -> tuple[str, ...]:
        while len(path) > 1 and self._of(path) > self._most:
            path = path[1:]
        if not path or self._of(path) <= self._most:
            return path
        words = _spans(path[0], 0, len(path[0]), _WORD)
        kept = 0
        for (_, end), cost in zip(
            words, itertools.accumulate(self._count([path[0][a:b] for a, b in words])), strict=True
        ):
            if cost > self._most:
                break
            kept = end
        return (path[0][:kept],) if kept else ()

    def _of(self, path: tuple[str, ...]) -> int:
        unknown = [name for name in path if name not in self._known]
        if unknown:
            self._known.update(zip(unknown, self._count(unknown), strict=True))
        return sum(self._known[name] for name in path) + self._joint * max(0, len(path) - 1)


class _Cutter:
    """Cuts one section."""

    def __init__(self, count_tokens: CountTokens, text: str, room: int) -> None:
        self._count, self._text, self._room = count_tokens, text, room

    def spans(self) -> list[_Span]:
        """The chunks as offsets into the text."""
        blocks = self._counted(_spans(self._text, 0, len(self._text), _BLOCK))
        pieces = self._fitting(self._together(blocks), 0)
        groups = _packed(pieces, self._room)
        if len(groups) > 1:
            self._share_orphans(groups)
        return [span for group in groups for span in self._verified(group)]

    def _together(self, blocks: list[_Piece]) -> list[_Piece]:
        """Code that holds blank lines as one piece, where it fits.

        That it is code shows in its indentation. A blank line between two lines at the margin may
        end it as well as not, so that part of a listing may come to stand alone.
        """
        text = self._text
        if not _INDENTED.search(text):
            return blocks
        together: list[_Piece] = []
        looks_coded = False
        for start, end, tokens in blocks:
            looked_coded, looks_coded = looks_coded, _looks_coded(text, start, end)
            if together and (_is_indented(text, start) or (looks_coded and looked_coded)):
                looks_coded = looks_coded or looked_coded
                first, _, before = together[-1]
                if before + tokens <= self._room:
                    together[-1] = (first, end, before + tokens)
                    continue
            together.append((start, end, tokens))
        return together

    def _fitting(self, pieces: Iterable[_Piece], level: int) -> list[_Piece]:
        """The pieces in order, and what exceeds the room as finer ones."""
        out: list[_Piece] = []
        for piece in pieces:
            start, end, tokens = piece
            if tokens <= self._room or end - start == 1:
                out.append(piece)
                continue
            finer = self._fitting(*self._finer(start, end, level, tokens))
            total = _cost(finer)
            # It was only taken for too long. What has parts without a gap may cost more than their sum.
            if total <= self._room and not _glued(finer):
                out.append((start, end, total))
            else:
                out += finer
        return out

    def _finer(self, start: int, end: int, level: int, tokens: int) -> tuple[list[_Piece], int]:
        """A run of text cut at the first kind of gap that it has, and the level after that one."""
        while level < len(_LEVELS):
            spans = _LEVELS[level](self._text, start, end)
            level += 1
            if len(spans) > 1:
                return self._counted(spans), level
        # One word without a gap: cut it evenly into as many parts as it has rooms, at least two.
        parts = max(2, -(-tokens // self._room))
        size = max(1, -(-(end - start) // parts))
        return self._counted([(first, min(first + size, end)) for first in range(start, end, size)]), level

    def _counted(self, spans: list[_Span]) -> list[_Piece]:
        most = _LONG * self._room
        costs = iter(self._count([self._text[start:end] for start, end in spans if end - start <= most]))
        return [
            (
                start,
                end,
                max(next(costs), -(-(end - start) // _SPARSE)) if end - start <= most else end - start,
            )
            for start, end in spans
        ]

    def _share_orphans(self, groups: list[list[_Piece]]) -> None:
        """Share the text of a tiny chunk and its neighbour evenly, cutting between sentences if need be."""
        for here, group in enumerate(groups):
            if _cost(group) * _TINY > self._room:
                continue
            left = here - 1 if here else 0
            shared = [fine for piece in groups[left] + groups[left + 1] for fine in self._sentences(piece)]
            cut = _fairest_cut(shared, self._room)
            if cut:
                groups[left], groups[left + 1] = shared[:cut], shared[cut:]

    def _sentences(self, piece: _Piece) -> list[_Piece]:
        """A piece in its lines and sentences; a table, its row or code stays one."""
        start, end, _ = piece
        if " | " in self._text[start:end] or _looks_coded(self._text, start, end):
            return [piece]
        return self._fitting(self._counted(_lines_and_sentences(self._text, start, end)), _AFTER_SENTENCES)

    def _verified(self, group: list[_Piece]) -> Iterator[_Span]:
        """A group's span, or two where joining pieces without a gap made more tokens than their sum."""
        start, end = group[0][0], group[-1][1]
        if _glued(group) and self._count([self._text[start:end]])[0] > self._room:
            half = len(group) // 2
            yield from self._verified(group[:half])
            yield from self._verified(group[half:])
        else:
            yield start, end


def _spans(text: str, start: int, end: int, gap: re.Pattern[str]) -> list[_Span]:
    """What stands between the gaps, without the white space around it."""
    spans: list[_Span] = []
    at = start
    for match in gap.finditer(text, start, end):
        _add(spans, text, at, match.start())
        at = match.end()
    _add(spans, text, at, end)
    return spans


def _add(spans: list[_Span], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        spans.append((start, end))


def _lines(text: str, start: int, end: int) -> list[_Span]:
    return _spans(text, start, end, _LINE)


def _words(text: str, start: int, end: int) -> list[_Span]:
    return _spans(text, start, end, _WORD)


def _sentences(text: str, start: int, end: int) -> list[_Span]:
    """Cut after the marks that end a sentence, but not after "e.g.", "Dr.", "J. R." or before lower case."""
    spans: list[_Span] = []
    at = start
    for match in _SENTENCE.finditer(text, start, end):
        if match["gap"] is None or not _continues(text, at, match, end):
            _add(spans, text, at, match.end())
            at = match.end()
    _add(spans, text, at, end)
    return spans


def _continues(text: str, start: int, match: re.Match[str], end: int) -> bool:
    following = text[match.end() : match.end() + 1] if match.end() < end else ""
    if following.islower():
        return True
    if text[match.start()] != "." or text[match.start() + 1 : match.start() + 2] == ".":
        return False
    found = _LAST_WORD.search(text, max(start, match.start() - 24), match.start())
    word = found[0] if found else ""
    return (len(word) == 1 and word.isalpha()) or "." in word or word.lower() in _ABBREVIATIONS


def _lines_and_sentences(text: str, start: int, end: int) -> list[_Span]:
    return [span for first, last in _lines(text, start, end) for span in _sentences(text, first, last)]


def _clauses(text: str, start: int, end: int) -> list[_Span]:
    spans: list[_Span] = []
    at = start
    for match in _CLAUSE.finditer(text, start, end):
        _add(spans, text, at, match.end())
        at = match.end()
    _add(spans, text, at, end)
    return spans


def _is_indented(text: str, start: int) -> bool:
    """Whether a block, which begins at its first visible character, is set in from the left."""
    return start > 0 and text[start - 1] in " \t"


def _looks_coded(text: str, start: int, end: int) -> bool:
    """Whether a block has lines set in from the left and is no list. Nothing else keeps its indentation."""
    found = _INDENTED.search(text, start, end) or _is_indented(text, start)
    return bool(found) and not _ITEM.match(text, start, end)


_LEVELS: tuple[Callable[[str, int, int], list[_Span]], ...] = (_lines, _sentences, _clauses, _words)
_AFTER_SENTENCES = 2


def _glued(pieces: Sequence[_Piece]) -> bool:
    return any(one[1] == other[0] for one, other in itertools.pairwise(pieces))


def _cost(pieces: Iterable[_Piece]) -> int:
    return sum(tokens for _, _, tokens in pieces)


def _packed(pieces: list[_Piece], room: int) -> list[list[_Piece]]:
    """As few groups as fit the room, and among those the ones whose fullest is least full."""
    costs = [tokens for _, _, tokens in pieces]
    total = sum(costs)
    if total <= room:
        return [pieces] if pieces else []
    fewest = _groups(costs, room)
    low, high = max(-(-total // fewest), *costs), room
    while low < high:
        cap = (low + high) // 2
        if _groups(costs, cap) <= fewest:
            high = cap
        else:
            low = cap + 1
    return _filled(pieces, max(low, high))


def _groups(costs: list[int], cap: int) -> int:
    """How many groups `_filled` makes."""
    count, left = 0, -1
    for cost in costs:
        left -= cost
        if left < 0:
            count += 1
            left = cap - cost
    return count


def _filled(pieces: list[_Piece], cap: int) -> list[list[_Piece]]:
    groups: list[list[_Piece]] = []
    left = -1
    for piece in pieces:
        left -= piece[2]
        if left < 0:
            groups.append([])
            left = cap - piece[2]
        groups[-1].append(piece)
    return groups


def _fairest_cut(pieces: Sequence[_Piece], room: int) -> int:
    """Where two groups that both fit differ least; 0 if there is no such place."""
    total = _cost(pieces)
    best, cut = total, 0
    for at, before in enumerate(itertools.accumulate(tokens for _, _, tokens in pieces[:-1]), start=1):
        if max(before, total - before) <= room and abs(total - 2 * before) < best:
            best, cut = abs(total - 2 * before), at
    return cut
