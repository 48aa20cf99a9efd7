"""A hostile page: the text of one HTML or XML file in, a tree that is safe to walk out.

Knows nothing of what the elements mean. Its hard rule: the document type is
cut away before a parser sees the page, so there is no entity to expand, no
file to include and no address to fetch; and libxml2 never leaves text out
without a word.
"""

import re
from html.entities import html5
from typing import Any

from lxml import etree

from library.errors import UnreadableFile

_XML_NAMED = frozenset({"amp", "lt", "gt", "quot", "apos"})
_AMPERSAND = re.compile(r"&(#[0-9]{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};)?")
_PROLOG = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->)", re.DOTALL)
_DECLARED = re.compile(r"<!ENTITY\s+([^\s%\"'&;]+)")
_REFERENCE = re.compile(r"&([^\s&;<]{1,80});")
_SUBSET_END = re.compile(r"\]\s*>")
# Self-closed in XHTML, but an open door in HTML: `<script src="x"/>` would
# swallow the rest of the page.
_SELF_CLOSED = re.compile(
    r"<(script|style|title|textarea|iframe|noscript|template)\b([^<>]*)/>", re.IGNORECASE
)
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

_MAX_NESTING = 255  # elements inside each other: libxml2's own limit, above which it drops text


def parse(page: str) -> Any:
    """The page's root element. Well-formed XML is read as XML; anything else as a browser would read it.

    Raises UnreadableFile if libxml2 would leave text out: elements nested too deeply, or a text without end.
    """
    page, declared = _without_doctype(_CONTROLS.sub("", page))
    page = _without_entities(page, declared)
    try:
        return etree.fromstring(_characters(page).encode(), _xml_parser())
    except etree.XMLSyntaxError:
        pass  # tag soup, or Markdown's HTML; what follows never fails on syntax
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(_SELF_CLOSED.sub(r"<\1\2></\1>", page).encode(), parser)
    except etree.XMLSyntaxError:
        return None  # nothing but whitespace and comments
    for entry in parser.error_log:
        if entry.type_name == "ERR_RESOURCE_LIMIT":  # what follows was left out
            raise _beyond_the_parser(entry.message)
    return root


def _beyond_the_parser(message: str) -> UnreadableFile:
    if "depth" in message:
        return UnreadableFile(
            f"A page has more than {_MAX_NESTING} elements nested inside each other, so part of its "
            "text would be lost. Convert the file again, for example with Calibre."
        )
    return UnreadableFile(
        "A page has ten million letters without a break, so part of its text would be lost. Split it into chapters."
    )


def parse_xml(source: bytes) -> Any:
    """The root element of a book's own XML as `plain_xml` gives it, mended where it is broken; None if hopeless."""
    try:
        return etree.fromstring(source, _xml_parser(recover=True))
    except etree.XMLSyntaxError:
        return None


def plain_xml(page: str) -> bytes:
    """UTF-8 XML without declaration, document type or any entity but XML's own five."""
    page, declared = _without_doctype(_CONTROLS.sub("", page))
    return _characters(_without_entities(page, declared)).encode()


def _xml_parser(*, recover: bool = False) -> Any:
    return etree.XMLParser(
        encoding="utf-8",
        recover=recover,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        remove_comments=True,
        remove_pis=True,
    )


def _without_doctype(page: str) -> tuple[str, frozenset[str]]:
    """Cut the XML declaration and the document type. Returns the page, and the entities that were declared."""
    at = 0
    while match := _PROLOG.match(page, at):
        at = match.end()
    start = page.find("<", at)
    if start < 0 or page[start : start + 9].upper() != "<!DOCTYPE":
        return page[at:], frozenset()
    end, subset = page.find(">", start), page.find("[", start)
    if 0 <= subset < end:
        closing = _SUBSET_END.search(page, subset)
        if closing is None:
            return "", frozenset()
        return page[closing.end() :], frozenset(_DECLARED.findall(page, subset, closing.start()))
    return page[end + 1 :] if end >= 0 else "", frozenset()


def _without_entities(page: str, declared: frozenset[str]) -> str:
    """Drop what the document type declared: it may be a file, or a million words. No book needs it."""
    if not declared:
        return page
    return _REFERENCE.sub(lambda match: "" if match[1] in declared else match[0], page)


def _characters(page: str) -> str:
    return _AMPERSAND.sub(_as_character, page) if "&" in page else page


def _as_character(match: re.Match[str]) -> str:
    """`&nbsp;` and its kin are undefined in XML without the document type that was cut away."""
    name = match[1]
    if name is None:
        return "&amp;"
    if name[0] == "#" or name[:-1] in _XML_NAMED:
        return match[0]
    return html5.get(name, "&amp;" + name).replace("<", "&lt;")
