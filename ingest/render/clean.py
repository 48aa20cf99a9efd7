"""Cleaning: the tree of one hostile page in, tokens that are safe to show out.

Everything is on a list or it is left out: elements, attributes, and what an
attribute may say. Text always stays; it is what the book is about. Knows
nothing of archives: where links and pictures lead is asked of `Targets`. Its
hard rule: nothing of the book's markup is copied; what is kept is written anew.
"""

import re
from collections.abc import Callable
from html import escape
from typing import Any, NamedTuple, Protocol

from lxml import etree

from ingest.extract.html import FILE_NAME, is_hidden, local_name, symbols
from ingest.extract.outline import UNSEEN, composed, language_tag
from ingest.render.mathematics import formula
from ingest.render.tokens import Anchor, Close, Open, Text, Token, Whole

_BLOCK_NAMES = (
    "p div blockquote figure figcaption h1 h2 h3 h4 h5 h6 ul ol li dl dt dd pre aside "
    "table caption colgroup thead tbody tfoot tr td th"
)
_INLINE_NAMES = (
    "em strong b i u s del ins small sub sup code kbd samp var cite q dfn abbr ruby rb rt rp rtc bdi bdo"
)
# Shown as plain blocks, since as themselves they would act, or name a part of our own page.
_BLOCKS_ONLY_NAMES = (
    "section article main nav header footer address center form fieldset legend summary details "
    "hgroup svg text title desc option textarea noscript object"
)
_GONE_NAMES = "head script style template annotation annotation-xml metadata audio video case"
_KEPT = {
    **{name: name for name in f"{_BLOCK_NAMES} {_INLINE_NAMES}".split()},
    **dict.fromkeys(_BLOCKS_ONLY_NAMES.split(), "div"),
    "strike": "s",
    "tt": "code",
    "big": "span",
    "font": "span",
    "mark": "em",
    "span": "span",
}
_BLOCKS = frozenset(f"{_BLOCK_NAMES} {_BLOCKS_ONLY_NAMES} hr".split())
_GONE = frozenset(_GONE_NAMES.split())
_UNTOLD = frozenset({"rt", "rp", "rtc"})
_DIVIDED = frozenset({"div", "blockquote", "ul", "ol", "dl", "aside", "figure", "li", "dd"})
_TABLE = frozenset({"table", "caption", "colgroup", "thead", "tbody", "tfoot", "tr", "td", "th"})
_ROWS = _TABLE - {"caption", "td", "th"}
_IN_ROWS = _TABLE | _GONE | {"col"}
_NUMBERS = {"colspan": 1000, "rowspan": 1000, "start": 10**7, "value": 10**7}
_NUMBERED = {"td": ("colspan", "rowspan"), "th": ("colspan", "rowspan"), "ol": ("start",), "li": ("value",)}
_LIST_TYPES = frozenset("1aAiI")
_OUT = 'rel="noreferrer noopener nofollow" target="_blank"'
_XML = "{http://www.w3.org/XML/1998/namespace}"
_EPUB_TYPE = "{http://www.idpf.org/2007/ops}type"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_OUTSIDE = re.compile(r"https?://[^\s/]", re.IGNORECASE)
_MOST_ID = 200
_MOST_ALT = 2000


class Targets(Protocol):
    """Where a page's links and pictures lead."""

    def link(self, address: str) -> str | None:
        """The address in the reader for one that leads into the book, or None."""

    def picture(self, address: str) -> tuple[str, tuple[int, int] | None] | None:
        """Where a picture of the book is served, and its width and height if it states them; or None."""


class Cleaned(NamedTuple):
    tokens: list[Token]
    language: str | None
    direction: str  # "ltr", "rtl" or ""


def clean(root: Any, targets: Targets) -> Cleaned:
    return _Cleaning(targets).of(root)


def shown_id(id_: str) -> str:
    """An id of the book's as our page has it: apart from all of our own."""
    return f"b-{id_[:_MOST_ID]}"


class _Cleaning:
    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._tokens: list[Token] = []
        self._ids: set[str] = set()
        self._untold = self._links = 0
        self._loose: list[Any] = []  # open tables that a browser would take apart
        self._language: str | None = None
        self._direction = ""

    def of(self, root: Any) -> Cleaned:
        ends: dict[Any, Callable[[], None] | None] = {}
        walk = etree.iterwalk(root, events=("start", "end"))
        for event, element in walk:
            if event == "start":
                inside, ends[element] = self._start(local_name(element), element)
                if not inside:
                    walk.skip_subtree()
                elif element.text:
                    self._text(element.text)
            else:
                end = ends.pop(element, None)
                if end is not None:
                    end()
                if element.tail and element is not root:
                    self._text(element.tail)
        return Cleaned(self._tokens, self._language, self._direction)

    def _text(self, raw: str) -> None:
        text = UNSEEN.sub("", composed(raw))
        if text:
            self._tokens.append(Text(text, told=not self._untold))

    def _start(self, name: str, element: Any) -> tuple[bool, Callable[[], None] | None]:
        """Whether to go inside, and what to do at its end."""
        if name in {"html", "body"}:
            self._language = _language(element) or self._language
            self._direction = _direction(element) or self._direction
        if name in _GONE or is_hidden(element):
            return False, None
        id_ = self._new_id(element, name)
        if "pagebreak" in element.get(_EPUB_TYPE, ""):
            self._anchor(id_)
            return False, None
        special = _SPECIAL.get(name)
        if special is not None:
            return special(self, element, id_)
        kept = self._kept(name, element)
        if kept is None:
            self._anchor(id_)
            return True, None
        attributes = _attributes(name, element)
        if kept == "span" and not attributes:
            self._anchor(id_)
            return True, None
        if name in _UNTOLD:
            self._untold += 1
        self._open(kept, attributes, id_)
        return True, lambda: self._end(name, kept)

    def _kept(self, name: str, element: Any) -> str | None:
        if name in _TABLE and (self._loose or not self._in_its_place(name, element)):
            return "div"
        if name == "p" and any(local_name(inner) in _BLOCKS for inner in element.iterdescendants()):
            return "div"  # a browser would end the paragraph there
        return _KEPT.get(name)

    @staticmethod
    def _in_its_place(name: str, element: Any) -> bool:
        return name == "table" or local_name(element.getparent()) in _ROWS

    def _open(self, name: str, attributes: str, id_: str) -> None:
        identified = f' id="{escape(id_)}"' if id_ else ""
        self._tokens.append(Open(name, f"<{name}{identified}{attributes}>", divides=name in _DIVIDED))

    def _end(self, name: str, kept: str) -> None:
        if name in _UNTOLD:
            self._untold -= 1
        self._tokens.append(Close(kept))

    def _anchor(self, id_: str) -> None:
        if id_:
            self._tokens.append(Anchor(id_))

    def _new_id(self, element: Any, name: str) -> str:
        stated = (
            element.get("id") or element.get(f"{_XML}id") or (element.get("name") if name == "a" else None)
        )
        if not stated or stated in self._ids:
            return ""
        self._ids.add(stated)
        return shown_id(stated)

    def table(self, element: Any, id_: str) -> tuple[bool, Callable[[], None]]:
        """A table that scrolls by itself; plain blocks if a browser would move parts of it elsewhere."""
        if self._loose or _is_loose(element):
            self._loose.append(element)
            self._open("div", "", id_)

            def end_loose() -> None:
                self._loose.pop()
                self._tokens.append(Close("div"))

            return True, end_loose
        self._tokens.append(Open("div", '<div class="b-scroll">'))
        self._open("table", _attributes("table", element), id_)
        return True, lambda: self._tokens.extend((Close("table"), Close("div")))

    def link(self, element: Any, id_: str) -> tuple[bool, Callable[[], None] | None]:
        address = (element.get("href") or element.get(_XLINK) or "").strip()
        kind = element.get(_EPUB_TYPE, "")
        attributes = ""
        if address and not self._links:
            if _OUTSIDE.match(address):
                attributes = f' class="b-out" href="{escape(address[:2000])}" {_OUT}'
            elif (target := self._targets.link(address)) is not None:
                note = ' class="b-note"' if "noteref" in kind else ""
                attributes = f'{note} href="{escape(target)}"'
        if not attributes:
            self._anchor(id_)
            return True, None
        self._links += 1
        self._open("a", attributes, id_)

        def end() -> None:
            self._links -= 1
            self._tokens.append(Close("a"))

        return True, end

    def picture(self, element: Any, id_: str) -> tuple[bool, None]:
        self._anchor(id_)
        described = UNSEEN.sub("", composed(element.get("alt") or ""))[:_MOST_ALT]
        told = described.strip() and not FILE_NAME.fullmatch(described.strip())
        markup = self._picture(element.get("src"), described)
        if markup is not None:
            self._tokens.append(Whole(markup, described if told and not self._untold else ""))
        elif described.strip():
            self._open("span", ' class="b-alt"', "")
            self._tokens.append(Text(described, told=bool(told) and not self._untold))
            self._tokens.append(Close("span"))
        return False, None

    def drawn_picture(self, element: Any, id_: str) -> tuple[bool, None]:
        """A picture inside a drawing, as many covers are."""
        self._anchor(id_)
        markup = self._picture(element.get(_XLINK) or element.get("href"), "")
        if markup is not None:
            self._tokens.append(Whole(markup))
        return True, None

    def _picture(self, source: str | None, described: str) -> str | None:
        """With its size where it is known: what comes late must not push away what was scrolled to."""
        found = self._targets.picture((source or "").strip())
        if found is None:
            return None
        address, size = found
        room = "" if size is None else f' width="{size[0]}" height="{size[1]}"'
        return (
            f'<img src="{escape(address)}" alt="{escape(described)}"{room} loading="lazy" decoding="async">'
        )

    def formula(self, element: Any, id_: str) -> tuple[bool, None]:
        self._anchor(id_)
        words = UNSEEN.sub("", composed(symbols(element)))
        if words.strip():
            self._tokens.append(Whole(formula(element), words if not self._untold else ""))
        else:
            self._text(element.get("alttext") or "")
        return False, None

    def line_break(self, _element: Any, id_: str) -> tuple[bool, None]:
        self._anchor(id_)
        self._tokens.append(Whole("<br>"))
        return False, None

    def rule(self, _element: Any, id_: str) -> tuple[bool, None]:
        self._anchor(id_)
        self._tokens.append(Whole("<hr>"))
        return False, None

    def break_opportunity(self, _element: Any, _id: str) -> tuple[bool, None]:
        self._tokens.append(Whole("<wbr>"))
        return False, None


def _is_loose(table: Any) -> bool:
    """Whether text or blocks stand between a table's cells, whence a browser would move them out."""
    for element in table.iter("*"):
        name = local_name(element)
        between = element is not table and local_name(element.getparent()) in _ROWS
        if name in _ROWS and element.text and element.text.strip():
            return True
        if between and (name not in _IN_ROWS or (element.tail and element.tail.strip())):
            return True
    return False


def _attributes(name: str, element: Any) -> str:
    """What is kept of an element's attributes, written anew."""
    kept = {}
    if (language := _language(element)) is not None:
        kept["lang"] = language
    if direction := _direction(element):
        kept["dir"] = direction
    if name == "abbr" and element.get("title"):
        kept["title"] = element.get("title")[:200]
    for attribute in _NUMBERED.get(name, ()):
        stated = (element.get(attribute) or "").strip()
        if stated.isascii() and stated.isdecimal() and len(stated) < 9:
            kept[attribute] = str(min(int(stated), _NUMBERS[attribute]))
    if name == "ol" and element.get("type") in _LIST_TYPES:
        kept["type"] = element.get("type")
    if "footnote" in element.get(_EPUB_TYPE, "") and name in _BLOCKS:
        kept["class"] = "b-footnote"
    return "".join(f' {attribute}="{escape(value)}"' for attribute, value in kept.items())


def _language(element: Any) -> str | None:
    return language_tag(element.get("lang") or element.get(f"{_XML}lang") or "")


def _direction(element: Any) -> str:
    stated = (element.get("dir") or "").strip().lower()
    return stated if stated in {"ltr", "rtl", "auto"} else ""


_Special = Callable[[_Cleaning, Any, str], tuple[bool, Callable[[], None] | None]]
_SPECIAL: dict[str, _Special] = {
    "a": _Cleaning.link,
    "br": _Cleaning.line_break,
    "hr": _Cleaning.rule,
    "image": _Cleaning.drawn_picture,
    "img": _Cleaning.picture,
    "math": _Cleaning.formula,
    "table": _Cleaning.table,
    "wbr": _Cleaning.break_opportunity,
}
