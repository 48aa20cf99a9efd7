"""Typeset: the lines of printed pages in, paragraphs out.

What a printer did to a text is undone: words broken at line ends are whole
again, lines are paragraphs again, and what stands on every page only because
it is a page (its number, its running head) is left out. Knows lines and where
they stand, nothing of PDF. Its hard rule: a doubtful line is kept, and a
doubtful break stays a line break.
"""

import itertools
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from ingest.extract.outline import LIST_ITEM, cleaned, is_cjk

BROKEN = "\ufffe"  # ends a line whose last word goes on in the next


class Line(msgspec.Struct):
    """One printed line. Measures are points, y grows upwards; `size` is its letters' height."""

    text: str
    left: float
    right: float
    y: float
    size: float


_NUMBER = re.compile(
    r"(?:page|seite|p\.)?\s*[-–—|·.]*\s*(\d{1,5}|[ivxlc]{1,7})\s*[-–—|·.]*(?:\s*(?:of|von|/)\s*\d+)?",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"\d+")
_NOT_WORDS = re.compile(r"[\W\d_]+")
_ENDS = re.compile(r"[.!?:;…。！？؟۔।][\"'”’»)\]]*$")
_CONTENTS = re.compile(r"(?: \.){3}|\.{4}|…{2}")  # the dots between a title and its page
_NARROW_CHARS = 22  # in a column below this width no line is full
_EDGE_ROWS = 2  # how many rows at the top and at the bottom may be running heads and feet
_LEAST_REPEATS = 3
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def rows(lines: Iterable[Line]) -> list[Line]:
    """Pieces that stand side by side, raised numbers and letters included, are one line."""
    found: list[Line] = []
    for line in lines:
        last = found[-1] if found else None
        if last is None or not last.text or abs(last.y - line.y) >= 0.5 * max(last.size, line.size):
            found.append(msgspec.structs.replace(line))
            continue
        if not last.text.endswith(BROKEN) and line.left >= last.left:
            near = line.left - last.right < 0.12 * last.size
            last.text += ("" if near else " ") + line.text
            last.right = max(last.right, line.right)
            if line.size > last.size:
                last.y, last.size = line.y, line.size
        else:
            found.append(msgspec.structs.replace(line))
    return found


def without_running_heads(pages: Sequence[list[Line]], known: Iterable[str] = ()) -> list[list[Line]]:
    """Leave out page numbers, and what stands at the same edge of page after page.

    A line of words is kept where it stands for the first time, unless it is one
    of the `known` titles; so nothing that was to be read is lost everywhere.
    """
    places: dict[tuple[int, str, int], list[tuple[int, Line]]] = defaultdict(list)
    numbers: list[tuple[int, int, Line]] = []  # (offset to the physical page, page, line)
    for page, lines in enumerate(pages):
        for side, line in _edges(lines):
            if match := _NUMBER.fullmatch(line.text.strip()):
                numbers.append((_value(match[1]) - page, page, line))
            else:
                places[side, _form(line.text), round(line.y / 8)].append((page, line))
    dropped: set[int] = set()
    offsets = Counter(offset for offset, _, _ in numbers)
    for offset, page, line in numbers:
        if (offset == 1 or offsets[offset] >= _LEAST_REPEATS) and len(pages[page]) > 1:
            dropped.add(id(line))
    titles = {_bare(title) for title in known}
    for (_, form, _), met in places.items():
        span = met[-1][0] - met[0][0] + 1
        if len(met) < _LEAST_REPEATS or len(met) < 0.4 * span or not any(map(str.isalpha, form)):
            continue
        is_known = _bare(met[0][1].text) in titles
        dropped.update(id(line) for _, line in met[0 if is_known else 1 :])
    left = ([line for line in lines if id(line) not in dropped] for lines in pages)
    return [some or lines for some, lines in zip(left, pages, strict=True)]


def only_a_stamp(pages: Sequence[list[Line]]) -> bool:
    """Whether every page says the same few words: what a scanner's program prints on its pictures."""
    forms = {tuple(_form(line.text) for line in lines) for lines in pages}
    return len(pages) > 2 and len(forms) == 1 and len(pages[0]) <= _EDGE_ROWS


def _edges(lines: Sequence[Line]) -> Iterable[tuple[int, Line]]:
    """(rank from the top, or -1, -2 from the bottom; line) for the outermost lines of a page."""
    ordered = sorted(lines, key=lambda line: -line.y)
    top = ordered[:_EDGE_ROWS]
    yield from enumerate(top)
    for rank, line in enumerate(reversed(ordered[len(top) :][-_EDGE_ROWS:]), start=1):
        yield -rank, line


def _form(text: str) -> str:
    return _DIGITS.sub("#", " ".join(text.split())).casefold()


def _bare(text: str) -> str:
    """A title without its number and its page's: "18 1.6. WEGE UND KNOTEN" is "wege und knoten"."""
    return " ".join(_NOT_WORDS.sub(" ", text).split()).casefold()


def _value(number: str) -> int:
    if number.isdigit():
        return int(number)
    values = [{"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}[letter] for letter in number.lower()]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))


def vocabulary(pages: Iterable[Iterable[Line]]) -> frozenset[str]:
    """The words that stand whole somewhere in the document, to tell a broken word from a compound."""
    return frozenset(
        word.casefold() for lines in pages for line in lines for word in _WORD.findall(line.text)
    )


def paragraphs(lines: Sequence[Line], words: frozenset[str]) -> list[str]:
    """The blocks of one page: paragraphs as one line each, lists and verse with their lines."""
    if not lines:
        return []
    steps = [a.y - b.y for a, b in itertools.pairwise(lines) if 0 < a.y - b.y < 6 * max(a.size, 1)]
    leading = statistics.median_low(steps) if steps else 0.0
    edges = _column_edges(lines)
    blocks = [lines[0].text]
    for at, (one, other) in enumerate(itertools.pairwise(lines)):
        gap = _gap(one, other, leading, edges[at])
        if gap == "\n\n":
            blocks.append(other.text)
        elif gap == "\n":
            blocks[-1] = blocks[-1].replace(BROKEN, "-") + "\n" + other.text
        else:
            blocks[-1] = _glued(blocks[-1], other.text, words)
    found = (_tidy(block) for block in blocks)
    return [block for block in found if block]


def _column_edges(lines: Sequence[Line]) -> list[tuple[float, float]]:
    """For each line, where its column begins and ends. A line above the one before it opens a column."""
    edges: list[tuple[float, float]] = []
    column: list[Line] = []
    for at, line in enumerate(lines):
        column.append(line)
        following = lines[at + 1] if at + 1 < len(lines) else None
        if following is None or following.y > line.y + line.size or following.left > line.right:
            rights = sorted(entry.right for entry in column)
            lefts = sorted(entry.left for entry in column)
            edge = (lefts[len(lefts) // 10], rights[len(rights) * 9 // 10])
            edges.extend([edge] * len(column))
            column = []
    return edges


def _gap(one: Line, other: Line, leading: float, column: tuple[float, float]) -> str:
    """What lies between two lines: a paragraph's end, a line's end, or nothing."""
    if one.text.endswith(BROKEN):
        return ""
    if _CONTENTS.search(one.text) or (one.text[-1:].isdigit() and other.text[-1:].isdigit()):
        return "\n"  # a table of contents, or of numbers
    left, right = column
    step = one.y - other.y
    ended = _ENDS.search(one.text) is not None
    short = _has_room(one, other, left, right)
    if step <= 0:  # the next column
        return "\n\n" if ended or short else ""
    resized = not 0.85 < (other.size or 1) / (one.size or 1) < 1.18
    indented = other.left > left + 0.8 * other.size and one.left < left + 0.4 * one.size
    if resized or step > max(1.35 * leading, 1.2 * one.size) or (ended and indented):
        return "\n\n"
    if LIST_ITEM.match(other.text):
        return "\n"
    return ("\n\n" if ended else "\n") if short else ""


def _has_room(one: Line, other: Line, left: float, right: float) -> bool:
    """Whether the next line's first word would have fitted: then the line was ended on purpose."""
    word = other.text.split(None, 1)[0] if other.text.strip() else ""
    if is_cjk(one.text[-1:] or " "):
        word = word[:2]
    width = (other.right - other.left) / max(len(other.text), 1)
    if right - left < _NARROW_CHARS * width:
        return True
    return one.right + (len(word) + 1.5) * width < right


def _glued(text: str, following: str, words: frozenset[str]) -> str:
    if text.endswith((BROKEN, "-", "\xad", "\u2010")) and text[-2:-1].isalpha() and following[:1].isalpha():
        return text[:-1] + _hyphen(text, following, words) + following
    text = text.replace(BROKEN, "-")
    if text and following and is_cjk(text[-1]) and is_cjk(following[0]):
        return text + following
    return f"{text} {following}"


def _hyphen(text: str, following: str, words: frozenset[str]) -> str:
    """The hyphen between two halves, or nothing where only the line's end put it there."""
    halves = _WORD.findall(text[:-1][-40:])[-1:], _WORD.findall(following[:40])[:1]
    before, after = (half[0].casefold() if half else "" for half in halves)
    if before + after in words:
        return ""
    return "-" if f"{before}-{after}" in words or not following[0].islower() else ""


def _tidy(block: str) -> str:
    lines = (" ".join(cleaned(line.replace(BROKEN, "-")).split()) for line in block.split("\n"))
    return "\n".join(line for line in lines if line)
