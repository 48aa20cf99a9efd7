"""Drawings: an SVG out of a book, with nothing in it that acts or leads anywhere.

A browser shows it as a picture, in which nothing runs and nothing is fetched;
but anyone can open a picture by itself, so it has to be harmless as a page too.
Its hard rule: what is not known to draw is left out.
"""

import re
from typing import Any

from lxml import etree

from ingest.extract import markup
from ingest.extract.encoding import decode_page
from ingest.extract.html import local_name
from ingest.extract.outline import MIB

_MOST_BYTES = 2 * MIB
_MOST_ELEMENTS = 50_000
_NAMESPACE = "{http://www.w3.org/2000/svg}"
_DRAWS = (
    "svg g defs symbol use path rect circle ellipse line polyline polygon text tspan textpath title desc "
    "lineargradient radialgradient stop pattern clippath mask marker switch style image filter fegaussianblur "
    "feoffset feblend fecolormatrix femerge femergenode feflood fecomposite fecomponenttransfer"
)
_KEPT = frozenset(_DRAWS.split())
_OWN = re.compile(r"#|data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*\Z", re.IGNORECASE)
_ADDRESS = re.compile(r"url\s*\(\s*(?![\"']?\s*#)|@import|\\\\|expression|image-set|src\s*\(", re.IGNORECASE)


def drawing(content: bytes) -> bytes | None:
    """The drawing, written anew; None if it is none or too large."""
    if len(content) > _MOST_BYTES or b"<svg" not in content[:8192].lower().replace(b"svg:", b""):
        return None
    root = markup.parse_xml(markup.plain_xml(decode_page(content)))
    if root is None or root.tag != f"{_NAMESPACE}svg":
        return None
    elements = list(root.iter())
    if len(elements) > _MOST_ELEMENTS or sum(local_name(element) == "use" for element in elements) > 2_000:
        return None
    for element in elements:
        if not _draws(element):
            parent = element.getparent()
            if parent is not None:
                parent.remove(element)
            continue
        for name, value in list(element.attrib.items()):
            plain = name.rpartition("}")[2].lower()
            leads = plain in {"href", "src"} and not _OWN.match(value.strip())
            if (
                plain.startswith("on")
                or leads
                or plain in {"base", "attributename"}
                or _ADDRESS.search(value)
            ):
                del element.attrib[name]
    written: bytes = etree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _draws(element: Any) -> bool:
    name = local_name(element)
    if not isinstance(element.tag, str) or not element.tag.startswith(_NAMESPACE) or name not in _KEPT:
        return False
    return name != "style" or _ADDRESS.search("".join(element.itertext())) is None
