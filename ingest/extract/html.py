"""HTML: the tree of one page in, its headings and blocks out, in reading order.

Knows nothing of bytes, archives, tables of contents or Markdown. Every
visible character comes out exactly once; scripts, styles, ruby readings and
the head do not. Its hard rule: the page is hostile and may be as deep as its
parser allows, so nothing here recurses.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from lxml import etree

from ingest.extract.outline import (
    Block,
    Enter,
    Event,
    Gathering,
    Heading,
    Leave,
    ListLines,
    Page,
    TableLines,
    cleaned,
    one_line,
)

_BREAK = "\0"  # stands for <br> until the block is written; no parsed page can hold it
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")
_NOTE_MARK = re.compile(r"[\d*†‡§]{1,4}")

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
# What a player holds is for those without one; <epub:case> has a default that is shown instead.
_SKIPPED_NAMES = "head script style template rt rp rtc annotation annotation-xml metadata audio video case"
_SKIPPED = frozenset(_SKIPPED_NAMES.split())
_SECTIONING = frozenset(["section", "article", "aside", "nav", "blockquote", "figure", "details"])
_BLOCK_NAMES = (
    "html body p div main header footer address center form fieldset legend summary figcaption hgroup "
    "caption hr li dt dd svg text title desc option textarea noscript object"
)
_BLOCKS = _SECTIONING | frozenset(_BLOCK_NAMES.split())
# A picture straight inside one of these stands alone; inside anything else it is part of a sentence.
_STANDALONE = frozenset(["body", "section", "figure", "article", "aside", "main", "center"])
FILE_NAME = re.compile(r"[\w./ -]+\.(?:jpe?g|png|gif|svg|webp|bmp|tiff?)", re.IGNORECASE)
_ANNOTATIONS = frozenset({"annotation", "annotation-xml"})
_CELLS = frozenset({"mtr", "mtd", "mlabeledtr"})
_TIGHT = frozenset("()[]{}|,.;:!′″⟨⟩‖^_\u2061\u2062\u2063")
_EPUB_TYPE = "{http://www.idpf.org/2007/ops}type"


def has_headings(root: Any) -> bool:
    return any(_local(element.tag) in _HEADINGS for element in root.iter())


def events(root: Any, *, file: str = "", marks: Mapping[str, tuple[int, str]] | None = None) -> list[Event]:
    """Walk the page. Anchors are `file#id`, or `file` where nothing nearby has an id.

    `marks` are headings that stand only in the table of contents: id in this
    page → (level, title).
    """
    return [] if root is None else _Walk(file, marks or {}).of(root)


def local_name(element: Any) -> str:
    """An element's name in lowercase, without its namespace; "" for None and for what is no element."""
    return _local(getattr(element, "tag", None))


@functools.lru_cache(maxsize=1024)
def _local(tag: Any) -> str:
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""


_Sink = Page | Gathering | ListLines | TableLines


class _Walk:
    """One pass over a page. Blocks go to the innermost sink; an id waits for the heading after it."""

    def __init__(self, file: str, marks: Mapping[str, tuple[int, str]]) -> None:
        self._file, self._marks = file, marks
        self._out: list[Event] = []
        self._sinks: list[_Sink] = [Page(self._out)]
        self._inline: list[str] = []
        self._near_id = ""  # the last id with no text after it
        self._verbatim = 0  # depth of <pre>
        self._flat = 0  # depth of headings and data tables: no heading is seen inside them
        self._note: Any = None  # the reference to a footnote being read
        self._met = 0  # headings so far
        self._met_before: list[int] = []  # the same when each open section began

    def of(self, root: Any) -> list[Event]:
        walk = etree.iterwalk(root, events=("start", "end"))
        names: dict[Any, str] = {}
        for event, element in walk:
            tag = element.tag
            name = names.get(tag)
            if name is None:
                name = names[tag] = _local(tag)
            if event == "start":
                if self._start(name, element):
                    if element.text:
                        self._inline.append(element.text)
                else:
                    walk.skip_subtree()
            else:
                self._end(name, element)
                if element.tail and element is not root:
                    self._inline.append(element.tail)
        self._flush()
        return self._out

    def _start(self, name: str, element: Any) -> bool:
        """Whether to go inside."""
        here = element.get("id") or (element.get("name") if name == "a" else None)
        if here:
            self._pass(here)
        if name in _SKIPPED or "pagebreak" in element.get(_EPUB_TYPE, ""):
            return False
        opener = _OPENERS.get(name)
        if opener is not None:
            return opener(self, element)
        if name in _BLOCKS:
            self._flush()
        return True

    def _end(self, name: str, element: Any) -> None:
        closer = _CLOSERS.get(name)
        if closer is not None:
            closer(self, element)
        elif name in _BLOCKS:
            self._flush()
        if element is self._note:
            self._inline.append("]")
            self._note = None

    def _pass(self, here: str) -> None:
        if here in self._marks:
            self._flush()
            self._break_lists()
            self._met += 1
            self._out.append(Heading(*self._marks[here], f"{self._file}#{here}"))
        self._near_id = here

    def _flush(self) -> None:
        """Write what has gathered as one block, or as several where two line breaks meet."""
        if not self._inline:
            return
        raw = "".join(self._inline)
        self._inline.clear()
        if self._verbatim:
            lines = [cleaned(line).rstrip() for line in raw.replace(_BREAK, "\n").split("\n")]
            self._emit(_BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n"))
        elif _BREAK not in raw:
            self._emit(_line(raw))
        else:
            lines = []
            for piece in raw.split(_BREAK):
                line = _line(piece)
                if line:
                    lines.append(line)
                elif lines:
                    self._emit("\n".join(lines))
                    lines = []
            self._emit("\n".join(lines))

    def _emit(self, text: str) -> None:
        if text:
            self._near_id = ""
            self._sinks[-1].emit(text)

    def open_heading(self, element: Any) -> bool:
        self._flush()
        if not self._flat:
            self._flat += 1
            self._sinks.append(Gathering(element))
            # Its own id, else one inside it, else the wrapper's or page break's just above.
            self._above_id, self._near_id = self._near_id, element.get("id") or ""
        return True

    def close_heading(self, element: Any) -> None:
        inside_id = self._near_id
        self._flush()
        sink = self._sinks[-1]
        if sink.owner is not element or not isinstance(sink, Gathering):
            return
        self._sinks.pop()
        self._flat -= 1
        text = sink.take()
        if not text:
            self._near_id = self._above_id
            return
        self._break_lists()
        self._met += 1
        here = element.get("id") or inside_id or self._above_id
        self._out.append(
            Heading(_HEADINGS[_local(element.tag)], text, f"{self._file}#{here}" if here else self._file)
        )
        self._near_id = ""

    def _break_lists(self) -> None:
        """A heading inside a list ends what stands above it."""
        for sink in self._sinks:
            if isinstance(sink, ListLines):
                text = sink.take()
                if text:
                    self._out.append(Block(text))

    def open_list(self, element: Any) -> bool:
        self._flush()
        self._sinks.append(ListLines(element, _local(element.tag)))
        return True

    def open_item(self, element: Any) -> bool:
        self._flush()
        sink = self._sinks[-1]
        if isinstance(sink, ListLines):
            sink.item(element, _local(element.tag))
        return True

    def open_table(self, element: Any) -> bool:
        self._flush()
        # Old books lay whole chapters out in tables. One with headings in it is no table.
        if element.get("role") != "presentation" and (self._flat or not has_headings(element)):
            self._flat += 1
            self._sinks.append(TableLines(element))
        return True

    def open_cell(self, element: Any) -> bool:
        self._flush()
        if isinstance(self._sinks[-1], TableLines):
            self._sinks.append(Gathering(element))
        return True

    def close_cell(self, element: Any) -> None:
        self._flush()
        sink = self._sinks[-1]
        if sink.owner is element and isinstance(sink, Gathering):
            self._sinks.pop()
            table = self._sinks[-1]
            if isinstance(table, TableLines):
                table.cell(sink.take())

    def close_row(self, _element: Any) -> None:
        self._flush()
        sink = self._sinks[-1]
        if isinstance(sink, TableLines):
            sink.end_row()

    def close_sink(self, element: Any) -> None:
        """A list or a table ends: all its lines are one block."""
        self._flush()
        sink = self._sinks[-1]
        if sink.owner is element and isinstance(sink, ListLines | TableLines):
            self._sinks.pop()
            self._flat -= isinstance(sink, TableLines)
            self._emit(sink.take())

    def open_section(self, element: Any) -> bool:
        self._flush()
        if is_hidden(element):
            return False
        if not self._flat:
            self._out.append(Enter())
            self._met_before.append(self._met)
        return True

    def close_section(self, element: Any) -> None:
        self._flush()
        if not self._flat and not is_hidden(element):
            if self._met_before.pop() != self._met:
                self._break_lists()  # what stands in a list so far belongs to the headings that end here
            self._out.append(Leave())

    def open_verbatim(self, _element: Any) -> bool:
        self._flush()
        self._verbatim += 1
        return True

    def close_verbatim(self, _element: Any) -> None:
        self._flush()
        self._verbatim -= 1

    def line_break(self, _element: Any) -> bool:
        self._inline.append(_BREAK)
        return True

    def picture(self, element: Any) -> bool:
        described = element.get("alt") or ""
        if described.strip() and not FILE_NAME.fullmatch(described.strip()):
            parent = element.getparent()
            if parent is None or _local(parent.tag) in _STANDALONE:
                self._flush()
                self._inline.append(described)
                self._flush()
            else:
                # A drop cap is a picture of one letter: no space after it.
                self._inline.append(described if len(described) <= 2 else f" {described} ")
        return True

    def formula(self, element: Any) -> bool:
        """A formula's symbols if it has any, else its description."""
        self._inline.append(symbols(element) or element.get("alttext") or "")
        return False

    def reference(self, element: Any) -> bool:
        """`fire<sup>1</sup>` is the word "fire" and a note, not the word "fire1"."""
        if self._note is None and _is_note_mark(element):
            self._inline.append("[")
            self._note = element
        return True


def is_hidden(element: Any) -> bool:
    """A contents list that only the reading system shows. Footnotes are hidden likewise, yet they are read."""
    return _local(element.tag) == "nav" and element.get("hidden") is not None


def _is_note_mark(element: Any) -> bool:
    if _local(element.tag) == "a":
        kind = f"{element.get(_EPUB_TYPE) or element.get('epub:type')} {element.get('role')}"
        linked = "noteref" in kind
    else:
        parent = element.getparent()
        inside = len(element) == 1 and _local(element[0].tag) == "a"
        linked = inside or (parent is not None and _local(parent.tag) == "a")
    return linked and _NOTE_MARK.fullmatch("".join(element.itertext()).strip()) is not None


def symbols(formula: Any) -> str:
    """The symbols of a formula in a row. White space between its elements means nothing."""
    parts: list[str] = []
    walk = etree.iterwalk(formula, events=("start",))
    for _event, element in walk:
        kind = _local(element.tag)
        if kind in _ANNOTATIONS:  # the same formula again, in another notation
            walk.skip_subtree()
            continue
        text, tail = element.text, element.tail
        symbol = text.strip() if text else ""
        if kind == "mo" and symbol not in _TIGHT:
            symbol = f" {symbol} "
        parts.append(" " + symbol if kind in _CELLS else symbol)
        if tail and element is not formula:
            parts.append(tail.strip())
    return "".join(parts)


def _line(raw: str) -> str:
    text = " ".join(raw.split())
    return text if text.isascii() and text.isprintable() else one_line(text)


_Opener = Callable[[_Walk, Any], bool]  # whether to go inside
_Closer = Callable[[_Walk, Any], None]
_OPENERS: dict[str, _Opener] = {
    **dict.fromkeys(_HEADINGS, _Walk.open_heading),
    **dict.fromkeys(("ul", "ol", "dl"), _Walk.open_list),
    **dict.fromkeys(("li", "dt", "dd"), _Walk.open_item),
    **dict.fromkeys(("td", "th"), _Walk.open_cell),
    **dict.fromkeys(_SECTIONING, _Walk.open_section),
    **dict.fromkeys(("a", "sup"), _Walk.reference),
    "table": _Walk.open_table,
    "pre": _Walk.open_verbatim,
    "br": _Walk.line_break,
    "img": _Walk.picture,
    "math": _Walk.formula,
}
_CLOSERS: dict[str, _Closer] = {
    **dict.fromkeys(_HEADINGS, _Walk.close_heading),
    **dict.fromkeys(("ul", "ol", "dl", "table"), _Walk.close_sink),
    **dict.fromkeys(("td", "th"), _Walk.close_cell),
    **dict.fromkeys(_SECTIONING, _Walk.close_section),
    "tr": _Walk.close_row,
    "pre": _Walk.close_verbatim,
}
