"""PDF lines: one page of an open PDF in, its printed lines with their places out.

The one module that asks pdfium where letters stand. Knows nothing of the rest
of the document. Its hard rule: pdfium is asked a few times per line and never
once per letter, which would take ten times as long as reading the page.
"""

import ctypes
import re
import unicodedata
from typing import Any

import pypdfium2.raw as pdfium

from ingest.extract.typeset import BROKEN, Line

_LINE_ENDS = re.compile(r"\r\n?|\n|(?<=\ufffe)")
# Letters that a font draws as one, and the shapes that Arabic letters take beside each other.
_PRESENTED = re.compile("[\ufb00-\ufb4f\ufb50-\ufdff\ufe70-\ufefc]+")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff](?:[\u0590-\u08ff\\s]*[\u0590-\u08ff])?")
_HYPHENS = "\x02\ufffe"  # what pdfium writes for a hyphen at a line's end, by its version


def lines_of(page: Any, text: str) -> list[Line]:
    """The lines of one text page whose `text` has been taken out already, in pdfium's reading order."""
    if not text.strip():
        return []
    same = pdfium.FPDFText_CountChars(page) == len(text)
    wide = None if text.isascii() or max(text) < "\U00010000" else text
    x, y = ctypes.c_double(), ctypes.c_double()
    first_box, last_box = pdfium.FS_RECTF(), pdfium.FS_RECTF()

    def place(at: int) -> int:
        """Pdfium's number of a character of the text."""
        if same:
            return at
        units = at if wide is None else len(wide[:at].encode("utf-16-le")) // 2
        found: int = pdfium.FPDFText_GetCharIndexFromTextIndex(page, units)
        return found

    text = text.translate({ord(mark): BROKEN for mark in _HYPHENS})
    lines: list[Line] = []
    at = 0
    for piece in _LINE_ENDS.split(text):
        start = text.index(piece, at) if piece else at
        at = start + len(piece)
        words = piece.strip()
        if not words:
            continue
        first = place(start + len(piece) - len(piece.lstrip()))
        last = place(start + len(piece.rstrip().rstrip(BROKEN) or piece) - 1)
        ok = (
            pdfium.FPDFText_GetCharOrigin(page, first, x, y)
            and pdfium.FPDFText_GetLooseCharBox(page, first, first_box)
            and pdfium.FPDFText_GetLooseCharBox(page, last, last_box)
        )
        size = abs(first_box.top - first_box.bottom) if ok else 0.0
        left, right = min(first_box.left, last_box.left), max(first_box.right, last_box.right)
        if _RIGHT_TO_LEFT.search(words):
            words = _in_reading_order(page, words, place, text.index(words, start))
        lines.append(
            Line(_composed(words), left if ok else 0.0, right if ok else 0.0, y.value if ok else 0.0, size)
        )
    return lines


def _composed(text: str) -> str:
    return _PRESENTED.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)


def _in_reading_order(page: Any, words: str, place: Any, start: int) -> str:
    """Turn Arabic and Hebrew round where the file holds them from left to right, as they are drawn."""
    x, y = ctypes.c_double(), ctypes.c_double()

    def where(at: int) -> float:
        pdfium.FPDFText_GetCharOrigin(page, place(at), x, y)
        return x.value

    def turned(match: re.Match[str]) -> str:
        letters = [at for at in range(match.start(), match.end()) if words[at].isalpha()]
        if len(letters) < 2 or where(start + letters[0]) > where(start + letters[-1]):
            return match[0]
        return match[0][::-1]

    return _RIGHT_TO_LEFT.sub(turned, words)
