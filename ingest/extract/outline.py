"""The outline: a stream of headings and blocks in, sections out.

What every extractor shares: the shape of a piece of text, and the one way in
which headings become paths. Knows nothing of zip, HTML, Markdown or encodings.
Its hard rule: a block that comes in goes out exactly once, and a heading is in
some section's path even when nothing stands under it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from library.values import Section

MIB = 1024 * 1024

# A path is repeated in front of every chunk below it, so one paragraph marked
# up as a heading would otherwise eat every chunk's budget.
MAX_HEADING_CHARS = 200

# C0 and C1 controls but tab and newline; soft hyphens and byte order marks,
# which nobody sees and which would split a word in both indexes; and lone
# surrogates, which no store can write.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\ufeff\ud800-\udfff]")
_YEAR = re.compile(r"(?<!\d)(1[0-9]{3}|20[0-9]{2})(?!\d)")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")
_NOT_WORD = re.compile(r"[\W_]+")
LIST_ITEM = re.compile(r"(?:[-*•‣◦+]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+\S")


class Heading(msgspec.Struct, frozen=True):
    """A heading met while reading. `level` is 1..6 as in HTML, relative to its own document."""

    level: int
    text: str
    anchor: str


class Block(msgspec.Struct, frozen=True):
    """A paragraph, list, table, code or poem: no blank line around it."""

    text: str


class Enter(msgspec.Struct, frozen=True):
    """An aside, quotation or section begins: the headings inside it end with it."""


class Leave(msgspec.Struct, frozen=True):
    """It ends: text after it belongs to the heading that was open before it."""


Event = Heading | Block | Enter | Leave


def cleaned(text: str) -> str:
    """Compose accents (NFC) and drop what cannot be seen; every line keeps its spaces."""
    if text.isascii() and text.isprintable():
        return text
    return UNSEEN.sub("", composed(text.replace("\xa0", " ")))


def composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def one_line(text: str) -> str:
    return " ".join(cleaned(text).split())


def is_cjk(letter: str) -> bool:
    """Whether a script writes this letter without a space to the next."""
    return "\u2e80" <= letter <= "\u9fff" or "\uac00" <= letter <= "\ufaff" or "\uff00" <= letter <= "\uff60"


def title_of_file(path: Path) -> str:
    """The file's name as a reader would say it: `water_purification-v2.md` is "Water purification v2"."""
    words = one_line(re.sub(r"[_\s]+|(?<=\w)-(?=\w)", " ", path.stem)) or path.name
    return words[0].upper() + words[1:]


def language_tag(declared: str) -> str | None:
    """BCP 47 in lowercase, or None if it is no language tag: "en_GB" is "en-gb", "English" is None."""
    tag = declared.strip().replace("_", "-").lower()
    return tag if _LANGUAGE.fullmatch(tag) else None


def year_in(text: str) -> int | None:
    """The first year from 1000 to 2099 in a date however it is written."""
    match = _YEAR.search(text)
    return int(match[1]) if match else None


def same_title(one: str, other: str) -> bool:
    """Whether two headings say the same, whatever their case, spacing and punctuation."""
    return _words(one) == _words(other)


def _within(part: str, whole: str) -> bool:
    return bool(part.strip()) and f" {_words(part)} " in f" {_words(whole)} "


def _words(heading: str) -> str:
    # A heading of punctuation alone ("* * *") is compared as it stands.
    return _NOT_WORD.sub(" ", heading).strip().casefold() or heading.strip()


def first_heading(events: Iterable[Event]) -> str | None:
    """The text of the first top-level heading."""
    return next((event.text for event in events if isinstance(event, Heading) and event.level == 1), None)


class Page:
    """Where blocks go when nothing encloses them."""

    owner: Any = None

    def __init__(self, out: list[Event]) -> None:
        self._out = out

    def emit(self, text: str) -> None:
        self._out.append(Block(text))


class Gathering:
    """A heading or table cell: whatever is inside becomes one line."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self._parts: list[str] = []

    def emit(self, text: str) -> None:
        self._parts.append(text)

    def take(self) -> str:
        return " ".join(" ".join(self._parts).split())


class ListLines:
    """A list: one line for each item, what else is in the item indented below it."""

    def __init__(self, owner: Any, kind: str) -> None:
        self.owner, self._kind = owner, kind
        self._lines: list[str] = []
        self._marker, self._fresh = "", False
        self._number = _integer(owner.get("start"), 1) - 1

    def item(self, element: Any, tag: str) -> None:
        if tag == "li":
            self._number = _integer(element.get("value"), self._number + 1)
            self._marker = f"{self._number}. " if self._kind == "ol" else "- "
        else:
            self._marker = "" if tag == "dt" else "  "
        self._fresh = True

    def emit(self, text: str) -> None:
        for line in text.split("\n"):
            self._lines.append((self._marker if self._fresh else "  ") + line if line else "")
            self._fresh = False

    def take(self) -> str:
        text = "\n".join(self._lines)
        self._lines = []
        return text


class TableLines:
    """A table: one line for each row, its cells between bars."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self._lines: list[str] = []
        self._cells: list[str] = []

    def emit(self, text: str) -> None:  # a caption, or text that lost its cell
        self._lines.append(text)

    def cell(self, text: str) -> None:
        self._cells.append(text)

    def end_row(self) -> None:
        while self._cells and not self._cells[-1]:
            self._cells.pop()
        if self._cells:
            self._lines.append(" | ".join(self._cells))
        self._cells = []

    def take(self) -> str:
        self.end_row()
        return "\n".join(self._lines)


def _integer(value: str | None, otherwise: int) -> int:
    return int(value) if value and len(value) < 8 and value.isdecimal() else otherwise


class Outline:
    """Builds the sections of one document, in reading order."""

    def __init__(self, title: str) -> None:
        self._title = _short(title)
        self._sections: list[Section] = []
        self._base: tuple[str, ...] = (self._title,)
        self._stack: list[tuple[int, str]] = []  # open headings; "" where one says nothing new
        self._marks: list[tuple[list[tuple[int, str]], int]] = []
        self._headings = 0
        self._untouched = True  # nothing but headings so far in this file
        self._path: tuple[str, ...] = self._base
        self._anchor = ""
        self._heading = ""  # what the open section is called, until it has text of its own
        self._blocks: list[str] = []

    def add(self, events: Iterable[Event], *, anchor: str = "", above: tuple[str, ...] = ()) -> None:
        """Take the events of one file. `above` is what the table of contents puts over it."""
        base: tuple[str, ...] = (self._title,)
        for name in above:
            if not same_title(name, base[-1]):
                base += (_short(name),)
        self._base = base
        self._stack, self._marks, self._untouched = [], [], True
        self._open(anchor, "")
        for event in _settled(events):
            if isinstance(event, Block):
                self._blocks.append(event.text)
                self._untouched = False
            elif isinstance(event, Heading):
                self._enter_heading(event)
            elif isinstance(event, Enter):
                self._marks.append((list(self._stack), self._headings))
            else:
                self._leave()

    def sections(self) -> tuple[Section, ...]:
        """Close the last section and return them all. Empty if there was no text at all."""
        self._close(())
        self._heading, self._blocks = "", []
        return tuple(self._sections)

    def _enter_heading(self, heading: Heading) -> None:
        self._headings += 1
        name = _short(heading.text)
        while self._stack and self._stack[-1][0] >= heading.level:
            self._stack.pop()
        self._stack.append((heading.level, "" if self._says_nothing_new(name) else name))
        self._open(heading.anchor, name)
        if name != heading.text:
            self._blocks.append(heading.text)

    def _says_nothing_new(self, name: str) -> bool:
        """Whether `name` only repeats the book's title or what the table of contents calls this file."""
        if any(text for _, text in self._stack):
            return False
        above = self._base[-1]
        if len(self._base) > 1 and self._untouched:
            # "1. Loomings" in the table of contents, "Loomings" over the
            # chapter, or the other way round: the longer one is kept.
            if _within(name, above):
                return True
            if _within(above, name):
                self._base = (*self._base[:-1], name)
                return True
        self._untouched = False
        return same_title(name, above)

    def _leave(self) -> None:
        if not self._marks:
            return
        stack, headings = self._marks.pop()
        if headings != self._headings:
            anchor = self._anchor
            self._stack = stack
            self._open(anchor, "")

    def _open(self, anchor: str, heading: str) -> None:
        path = self._base + tuple(text for _, text in self._stack if text)
        unsaid = self._close(path)
        if unsaid and not heading:
            anchor, heading = self._anchor, unsaid
        self._path, self._anchor, self._heading, self._blocks = path, anchor, heading, []

    def _close(self, following: tuple[str, ...]) -> str:
        """End the open section. Returns its heading if only the `following` path will say it."""
        text = "\n\n".join(self._blocks)
        if not text and following[: len(self._path)] == self._path:
            return self._heading
        # A heading with nothing under it is its own text: else it would be in
        # no section, and nobody could find it.
        text = text or self._heading
        if text:
            level = max(1, len(self._path) - 1)
            self._sections.append(Section(len(self._sections), level, self._path, self._anchor, text))
        return ""


def _settled(events: Iterable[Event]) -> Iterator[Event]:
    """Three or more headings of one level with nothing under them are a list that looks like headings.

    Contents pages are often set so; as sections they would push every real
    chapter down the results with a passage of two words. The last of the run
    stays a heading if something follows it.
    """
    run: list[Heading] = []
    for event in events:
        if isinstance(event, Heading) and run and event.level == run[-1].level:
            run.append(event)
            continue
        leads_on = not isinstance(event, Heading) or (run and event.level > run[-1].level)
        yield from _as_list(run[:-1] if leads_on else run)
        yield from run[-1:] if leads_on else ()
        run = [event] if isinstance(event, Heading) else []
        if not isinstance(event, Heading):
            yield event
    yield from _as_list(run)


def _as_list(run: list[Heading]) -> Iterator[Event]:
    if len(run) < 3:
        yield from run
    else:
        yield Block("\n".join(heading.text for heading in run))


def _short(name: str) -> str:
    if len(name) <= MAX_HEADING_CHARS:
        return name
    cut = name[: MAX_HEADING_CHARS - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[MAX_HEADING_CHARS // 2 :] else cut) + "…"
