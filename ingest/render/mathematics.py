"""Mathematics: a formula's markup, with nothing in it that could be anything but a formula.

Browsers read MathML with rules of their own, through which HTML has been
smuggled past many a filter: so only elements of its presentation are kept,
texts are escaped, and there are no attributes but a few of fixed words.
"""

from html import escape
from typing import Any

from lxml import etree

from ingest.extract.html import local_name
from ingest.extract.outline import UNSEEN, composed

_NAMES = (
    "math mrow mi mn mo ms mtext mspace mfrac msqrt mroot mstyle mpadded mphantom mfenced menclose "
    "msub msup msubsup munder mover munderover mmultiscripts mprescripts none mtable mtr mlabeledtr mtd"
)
_KEPT = frozenset(_NAMES.split())
_GONE = frozenset({"annotation", "annotation-xml"})
_ATTRIBUTES = {
    "display": {"block", "inline"},
    "mathvariant": {"normal", "bold", "italic", "bold-italic", "double-struck", "script", "fraktur"},
    "stretchy": {"true", "false"},
    "accent": {"true", "false"},
}


def formula(root: Any) -> str:
    parts: list[str] = []
    open_: list[str] = []
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        name = local_name(element)
        kept = name in _KEPT
        if event == "start":
            if name in _GONE:
                walk.skip_subtree()
                open_.append("")
                continue
            open_.append(name if kept else "")
            if kept:
                parts.append(f"<{name}{_attributes(element)}>")
            _say(parts, element.text)
        else:
            name = open_.pop()
            if name:
                parts.append(f"</{name}>")
            if element is not root:
                _say(parts, element.tail)
    return "".join(parts)


def _say(parts: list[str], text: str | None) -> None:
    if text and text.strip():
        parts.append(escape(UNSEEN.sub("", composed(text.strip()))))


def _attributes(element: Any) -> str:
    return "".join(
        f' {name}="{value}"'
        for name, known in _ATTRIBUTES.items()
        if (value := (element.get(name) or "").strip()) in known
    )
