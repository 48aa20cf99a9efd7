"""Plain text: lines in, paragraphs, verses and chapters out.

Knows nothing of markup or encodings. Lines that were wrapped to a width are joined again;
lines that were broken on purpose (verse, tables, addresses) are kept. Its
hard rule: a line is a heading only when it cannot well be anything else, for
a false chapter misleads every citation below it.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from ingest.extract.encoding import SAMPLE_CHARS, read_text
from ingest.extract.outline import (
    LIST_ITEM,
    Block,
    Event,
    Heading,
    Outline,
    cleaned,
    is_cjk,
    one_line,
    title_of_file,
)
from ingest.limits import DEFAULT_LIMITS, Limits
from library.values import Extracted

_WORDS_FOR_NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty first second third fourth fifth sixth seventh "
    "eighth ninth tenth last"
).replace(" ", "|")
_DIVISION = re.compile(
    r"(?P<kind>(?-i:[A-Z])\w+)\s+(?:the\s+)?"
    rf"(?P<number>\d{{1,4}}|(?-i:[IVXLCDM]{{1,9}}|[A-Z])|(?:{_WORDS_FOR_NUMBERS})(?:[ -][a-z]{{3,6}})?)"
    r"(?:\s*[.:—–-]+(?:\s+\S.*)?|\s+(?-i:[A-Z“\"‘'¿¡]).*)?",
    re.IGNORECASE,
)
# Level 1 is an underlined title's, which a numbered division never is.
_LEVELS = {"volume": 2, "book": 2, "part": 2, "act": 2, "appendix": 2, "chapter": 3, "scene": 3, "section": 4}
_MAX_DIVISION_CHARS = 90
_UNDERLINE = re.compile(r"([=~*#^-])\1{2,}")
_COLUMNS = re.compile(r"\S(?: {3,}|\t+)\S")
_GUTENBERG = re.compile(r"^(Title|Author|Language): +(\S.*)$", re.MULTILINE)
_LANGUAGES = {
    "english": "en",
    "french": "fr",
    "german": "de",
    "spanish": "es",
    "italian": "it",
    "dutch": "nl",
}


def extract_text(path: Path, limits: Limits = DEFAULT_LIMITS) -> Extracted:
    """Raises UnreadableFile if the file is not text, too large or empty."""
    page = read_text(path, limits)
    stated = dict(_GUTENBERG.findall(page[:4000])) if "Project Gutenberg" in page[:4000] else {}
    events = list(_events(page))
    title = one_line(stated.get("Title", ""))
    if not title and events and isinstance(events[0], Heading) and events[0].level == 1:
        title = events[0].text
    outline = Outline(title or title_of_file(path))
    outline.add(events)
    return Extracted(
        title=title or title_of_file(path),
        authors=(one_line(stated["Author"]),) if "Author" in stated else (),
        language=_LANGUAGES.get(stated.get("Language", "").strip().casefold()),
        year=None,
        sections=outline.sections(),
    )


def _events(page: str) -> Iterator[Event]:
    width = _wrapped_at(page)
    run: list[tuple[Heading, str]] = []  # headings with nothing between them yet
    for block in _blocks(page):
        heading, rest = _heading(block)
        if heading is not None:
            run.append((heading, "\n".join(line.strip() for line in block)))
        if rest:
            yield from _settled(run)
            run = []
            yield Block(_joined(rest, width))
    yield from _settled(run)


def _blocks(page: str) -> Iterator[list[str]]:
    """Runs of lines with no blank line inside."""
    lines: list[str] = []
    for raw in page.split("\n"):
        line = cleaned(raw.replace("\f", "").replace("\v", " ")).rstrip()
        if line:
            lines.append(line)
        elif lines:
            yield lines
            lines = []
    if lines:
        yield lines


def _heading(block: list[str]) -> tuple[Heading | None, list[str]]:
    """The heading a block of lines begins with, and the lines that are not part of it."""
    first = block[0].strip()
    if len(block) >= 2:
        rule = block[1].strip()
        if _UNDERLINE.fullmatch(rule) and abs(len(rule) - len(first)) <= 3 and not _COLUMNS.search(first):
            return Heading(1 if rule[0] == "=" else 2, one_line(first), ""), block[2:]
    # "CHAPTER IV" may have its name on the line below. Two numbered lines are a table of contents.
    if len(block) > 2 or any(len(line) > _MAX_DIVISION_CHARS for line in block):
        return None, block
    level = _division(first)
    if level is None or (len(block) == 2 and (_division(block[1].strip()) or block[1].rstrip()[-1] in ",;.")):
        return None, block
    return Heading(level, one_line(" ".join(block)), ""), []


def _division(line: str) -> int | None:
    match = _DIVISION.fullmatch(line)
    if match is None or line[-1] in ",;":
        return None
    return _LEVELS.get(match["kind"].casefold())


def _settled(run: list[tuple[Heading, str]]) -> Iterator[Event]:
    """Headings that follow each other: a part and its chapter, or a table of contents.

    Two of one level with nothing between them are contents; only those at the
    end that repeat an earlier entry are the book itself.
    """
    levels = [heading.level for heading, _ in run]
    if all(low < high for low, high in itertools.pairwise(levels)):
        yield from (heading for heading, _ in run)
        return
    end = len(run)
    while end and run[end - 1][1] in {lines for _, lines in run[: end - 1]}:
        end -= 1
    yield Block("\n".join(lines for _, lines in run[:end]))
    yield from (heading for heading, _ in run[end:])


def _wrapped_at(page: str) -> int:
    """The width the text was wrapped to: nine in ten of its first lines are no longer."""
    lengths = sorted(len(line) for line in page[: 4 * SAMPLE_CHARS].split("\n") if line.strip())
    return lengths[len(lengths) * 9 // 10] if lengths else 0


def _joined(lines: list[str], width: int) -> str:
    """One paragraph again if its lines were wrapped; the lines as they are if they were broken on purpose."""
    if 2 * sum(_has_columns(line) for line in lines) >= len(lines) > 1:
        return "\n".join(lines).strip("\n")
    breaks = list(itertools.pairwise(lines))
    full = [_is_full(line, following, width) for line, following in breaks]
    own_width = max(map(len, lines))
    wrapped = 30 <= width <= 120 and 5 * sum(full) >= 3 * len(full)
    if not wrapped and len(lines) >= 4 and 40 <= own_width <= 120:
        wrapped = all(_is_full(line, following, own_width) for line, following in breaks)
    listed = any(LIST_ITEM.match(line.lstrip()) for line in lines)
    text = lines[0].strip()
    for following in lines[1:]:
        piece = following.strip()
        if LIST_ITEM.match(piece) or not (wrapped or (listed and following[0].isspace())):
            text += "\n" + piece
        elif is_cjk(text[-1]) and is_cjk(piece[0]):
            text += piece
        else:
            text += " " + piece
    return "\n".join(" ".join(line.split()) for line in text.split("\n"))


def _has_columns(line: str) -> bool:
    return ("   " in line or "\t" in line) and _COLUMNS.search(line) is not None


def _is_full(line: str, following: str, width: int) -> bool:
    """Whether the next line's first word would not have fitted any more."""
    word = following.split(None, 1)[0]
    return len(line) + 1 + len(word) > 0.9 * width or (is_cjk(line[-1]) and len(line) > 0.9 * width)
