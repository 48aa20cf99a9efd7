"""Chunking: sections in, pieces small enough to embed out, in reading order.

Knows nothing of models, indexes or file formats: a token is whatever
`count_tokens` counts. A chunk is whole blocks where they fit; a block that
does not fit is cut at its lines, then sentences, then words, then
characters. Its hard rule: every visible character of a section is in exactly
one chunk, and no chunk with its heading path is longer than the budget,
because the embedder drops the rest without a word.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from library.values import Chunk, Section, indexed_text

CountTokens = Callable[[Sequence[str]], list[int]]

BUDGET_TOKENS = 254  # the embedder's 256 word pieces without the two it adds itself
_BATCH_CHARS = 1 << 17  # text counted in one call: large enough for speed, small enough to stream
_TINY = 5  # a chunk below a fifth of the room is an orphan
_KNOWN_CHARS = 1 << 22  # words remembered with their counts, in characters

_BLOCK = re.compile(r"\n[ \t]*\n\s*")
_LINE = re.compile(r"\n+")
_WORD = re.compile(r"\s+")
# Sentence ends. Scripts that write without spaces end one with the mark alone.
_SENTENCE = re.compile(r"[.!?…‽؟۔।॥։።]+[\"'”’»)\]]*(?P<gap>\s+)|[。！？｡]+[」』”’）】〉》]*(?P<none>\s*)")
_LAST_WORD = re.compile(r"[^\s(\[“\"'‘]*\Z")
_ABBREVIATION_NAMES = (
    "dr mr mrs ms prof sr jr st rev gen col capt lt sgt hon fig figs no nos vol vols ch chap sec eq "
    "ed eds pp p art cf vs viz etc al approx dept est inc ltd co corp jan feb mar apr jun jul aug sep "
    "sept oct nov dec mon tue wed thu fri sat sun ca bzw usw nr abb bd str mme mlle av bl resp incl "
    "min max temp"
)
_ABBREVIATIONS = frozenset(_ABBREVIATION_NAMES.split())


class _Piece(msgspec.Struct):
    """A run of a section's text that is not cut further, and what it costs."""

    start: int
    end: int
    tokens: int


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
    for batch in _batches(sections):
        rooms = [budget_tokens - cost for cost in paths.costs([section.heading_path for section in batch])]
        cutter = _Cutter(counts, [section.text for section in batch], rooms)
        for at, section in enumerate(batch):
            for start, end in cutter.spans(at):
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
        # Not `words - known.keys()`, which walks through all that is known.
        unknown = [word for word in set().union(*split) if word not in self._known]
        if unknown:
            if self._chars > _KNOWN_CHARS:
                self._known.clear()
                self._chars = 0
                unknown = list(set().union(*split))
            self._known.update(zip(unknown, self._count(unknown), strict=True))
            self._chars += sum(map(len, unknown))
        known = self._known.__getitem__
        return [sum(map(known, words)) for words in split]


class _Paths:
    """What heading paths cost. Each heading is counted once, however many sections stand below it."""

    def __init__(self, count_tokens: CountTokens, budget_tokens: int) -> None:
        self._count, self._most = count_tokens, budget_tokens // 2
        self._cost: dict[str, int] = {}
        self._joint = 0

    def costs(self, paths: Sequence[tuple[str, ...]]) -> list[int]:
        """Tokens of each path's prefix, or half the budget where it is cut to fit."""
        unknown = list({name for path in paths for name in path} - self._cost.keys())
        if not self._cost:
            # What `indexed_text` writes between two headings, found rather than known.
            self._joint = self._count([indexed_text(("", ""), "")])[0]
        if unknown:
            self._cost.update(zip(unknown, self._count(unknown), strict=True))
        return [min(self._most, self._of(path)) for path in paths]

    def fitting(self, path: tuple[str, ...]) -> tuple[str, ...]:
        self.costs([path])
        while len(path) > 1 and self._of(path) > self._most:
            path = path[1:]
        if not path or self._of(path) <= self._most:
            return path
        words = _spans(path[0], 0, len(path[0]), _WORD)
        kept = len(path[0]) // 2
        for (_, end), cost in zip(
            words, itertools.accumulate(self._count([path[0][a:b] for a, b in words])), strict=True
        ):
            if cost > self._most:
                break
            kept = end
        return (path[0][:kept],) if words and kept >= words[0][1] else ()

    def _of(self, path: tuple[str, ...]) -> int:
        return sum(self._cost[name] for name in path) + self._joint * max(0, len(path) - 1)


class _Cutter:
    """Cuts the sections of one batch, asking for counts of many at a time."""

    def __init__(self, count_tokens: CountTokens, texts: list[str], rooms: list[int]) -> None:
        self._count, self._texts, self._rooms = count_tokens, texts, rooms
        self._pieces: list[list[_Piece]] = [[] for _ in texts]
        wanted = [
            (at, start, end, 0)
            for at, text in enumerate(texts)
            for start, end in _spans(text, 0, len(text), _BLOCK)
        ]
        for at, piece in self._counted(wanted):
            self._pieces[at].append(piece)
        for pieces in self._pieces:
            pieces.sort(key=lambda piece: piece.start)

    def spans(self, at: int) -> list[tuple[int, int]]:
        """The chunks of one section as offsets into its text."""
        text, room = self._texts[at], self._rooms[at]
        groups = _packed(self._pieces[at], room)
        if len(groups) > 1:
            groups = self._without_orphans(at, groups)
        return [span for group in groups for span in self._verified(text, group, room)]

    def _counted(self, wanted: list[tuple[int, int, int, int]]) -> Iterator[tuple[int, _Piece]]:
        """Count (text, start, end, level) and cut what exceeds its text's room, level by level."""
        while wanted:
            costs = self._count([self._texts[at][start:end] for at, start, end, _ in wanted])
            finer: list[tuple[int, int, int, int]] = []
            for item, tokens in zip(wanted, costs, strict=True):
                at, start, end, _ = item
                if tokens <= self._rooms[at] or end - start == 1:
                    yield at, _Piece(start, end, tokens)
                else:
                    finer.extend(self._finer(*item, tokens))
            wanted = finer

    def _finer(
        self, at: int, start: int, end: int, level: int, tokens: int
    ) -> Iterator[tuple[int, int, int, int]]:
        text = self._texts[at]
        while level < len(_LEVELS):
            spans = _LEVELS[level](text, start, end)
            level += 1
            if len(spans) > 1:
                yield from ((at, first, last, level) for first, last in spans)
                return
        # One word without a gap: cut it evenly into as many parts as it has rooms, at least two.
        parts = max(2, -(-tokens // self._rooms[at]))
        size = max(1, -(-(end - start) // parts))
        yield from ((at, first, min(first + size, end), level) for first in range(start, end, size))

    def _without_orphans(self, at: int, groups: list[list[_Piece]]) -> list[list[_Piece]]:
        """Share the text of a tiny chunk and its neighbour evenly, cutting between sentences if need be."""
        room = self._rooms[at]
        for here, group in enumerate(groups):
            if _cost(group) * _TINY > room:
                continue
            left = here - 1 if here else 0
            pieces = groups[left] + groups[left + 1]
            fine = [
                (at, start, end, 2)
                for piece in pieces
                for start, end in _lines_and_sentences(self._texts[at], piece.start, piece.end)
            ]
            shared = sorted((piece for _, piece in self._counted(fine)), key=lambda piece: piece.start)
            cut = _fairest_cut(shared, room)
            if cut:
                groups[left], groups[left + 1] = shared[:cut], shared[cut:]
        return groups

    def _verified(self, text: str, group: list[_Piece], room: int) -> Iterator[tuple[int, int]]:
        """A group's span, or two where joining pieces without a gap made more tokens than their sum."""
        start, end = group[0].start, group[-1].end
        glued = any(one.end == other.start for one, other in itertools.pairwise(group))
        if glued and self._count([text[start:end]])[0] > room:
            half = len(group) // 2
            yield from self._verified(text, group[:half], room)
            yield from self._verified(text, group[half:], room)
        else:
            yield start, end


def _batches(sections: Iterable[Section]) -> Iterator[list[Section]]:
    batch: list[Section] = []
    chars = 0
    for section in sections:
        batch.append(section)
        chars += len(section.text)
        if chars >= _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _spans(text: str, start: int, end: int, gap: re.Pattern[str]) -> list[tuple[int, int]]:
    """What stands between the gaps, without the white space around it."""
    spans: list[tuple[int, int]] = []
    at = start
    for match in gap.finditer(text, start, end):
        _add(spans, text, at, match.start())
        at = match.end()
    _add(spans, text, at, end)
    return spans


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        spans.append((start, end))


def _lines(text: str, start: int, end: int) -> list[tuple[int, int]]:
    return _spans(text, start, end, _LINE)


def _words(text: str, start: int, end: int) -> list[tuple[int, int]]:
    return _spans(text, start, end, _WORD)


def _sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Cut after the marks that end a sentence, but not after "e.g.", "Dr.", "J. R." or before lower case."""
    spans: list[tuple[int, int]] = []
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


def _lines_and_sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    return [span for first, last in _lines(text, start, end) for span in _sentences(text, first, last)]


_LEVELS: tuple[Callable[[str, int, int], list[tuple[int, int]]], ...] = (_lines, _sentences, _words)


def _cost(pieces: Sequence[_Piece]) -> int:
    return sum(piece.tokens for piece in pieces)


def _packed(pieces: Sequence[_Piece], room: int) -> list[list[_Piece]]:
    """As few groups as fit the room, and among those the ones whose fullest is least full."""
    groups = _filled(pieces, room)
    if len(groups) < 2:
        return groups
    low = max(-(-_cost(pieces) // len(groups)), *(piece.tokens for piece in pieces))
    high = room
    while low < high:
        cap = (low + high) // 2
        tried = _filled(pieces, cap)
        if len(tried) <= len(groups):
            groups, high = tried, cap
        else:
            low = cap + 1
    return groups


def _filled(pieces: Sequence[_Piece], cap: int) -> list[list[_Piece]]:
    groups: list[list[_Piece]] = []
    left = -1
    for piece in pieces:
        if piece.tokens > left or not groups:
            groups.append([])
            left = cap
        groups[-1].append(piece)
        left -= piece.tokens
    return groups


def _fairest_cut(pieces: Sequence[_Piece], room: int) -> int:
    """Where two groups that both fit differ least; 0 if there is no such place."""
    total = _cost(pieces)
    best, cut = total, 0
    for at, before in enumerate(itertools.accumulate(piece.tokens for piece in pieces[:-1]), start=1):
        if max(before, total - before) <= room and abs(total - 2 * before) < best:
            best, cut = abs(total - 2 * before), at
    return cut
