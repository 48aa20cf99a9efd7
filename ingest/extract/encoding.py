"""Encoding: bytes in, text with Unix line ends out.

Knows nothing of markup but where a page declares its own encoding. Its hard
rule: what is not text is said not to be text, never read as rubbish.
"""

import re
from pathlib import Path

import charset_normalizer

from ingest.extract.outline import MIB, Limits
from library.errors import UnreadableFile

_MARKS = (  # UTF-32's mark begins with UTF-16's, so it is tried first
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
SAMPLE_CHARS = 64 * 1024  # enough to tell an encoding; the detector is slow on more
_RUBBISH = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")
_RUBBISH_SHARE = 0.01
# Only encodings that write ASCII as it is (else the declaration itself could
# not be read), and none of Python's that are no encodings of text.
_PAGE_ENCODING = re.compile(
    rb"""(?:encoding|charset)\s*=\s*["']?\s*"""
    rb"((?:utf-?8|iso|windows|cp|koi8|big5|gb|euc|shift|sjis|x-mac|mac|us-ascii|latin)[A-Za-z0-9_-]{0,20})",
    re.IGNORECASE,
)
_READ_AS_WINDOWS = frozenset({"iso-8859-1", "us-ascii", "latin1"})  # as every browser does, for its quotes


def read_text(path: Path, limits: Limits) -> str:
    """The file's text with Unix line ends, whatever its encoding.

    Raises UnreadableFile if it is too large, is not text, or holds only whitespace.
    """
    if path.stat().st_size > limits.max_text_mib * MIB:
        raise UnreadableFile(
            f"The file is larger than {limits.max_text_mib} MiB, which is more than one text may have. "
            "Split it into several files."
        )
    text = _decoded(path.read_bytes())
    if text is None or _is_rubbish(text[:SAMPLE_CHARS]):
        raise UnreadableFile(
            "The file is named like a text but does not contain text. "
            "Check what kind of file it is, and give it the right ending."
        )
    if not text.strip():
        raise UnreadableFile("The file is empty. Copy it again from its source.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_rubbish(sample: str) -> bool:
    """Whether more than stray characters are ones that no text has."""
    count = len(_RUBBISH.findall(sample))
    return count > _RUBBISH_SHARE * len(sample) and (count > 2 or 10 * count > len(sample))


def decode_page_or_guess(page: bytes) -> str:
    """The same for a page that may state nothing: what is not UTF-8 is then guessed from its letters.

    Raises UnreadableFile if it is no text at all.
    """
    text: str | None = decode_page(page)
    if not _is_declared(page):
        text = _decoded(page)
    if text is None or _is_rubbish(text[:SAMPLE_CHARS]):
        raise UnreadableFile(
            "The file is named like a web page but does not contain text. "
            "Check what kind of file it is, and give it the right ending."
        )
    if not text.strip():
        raise UnreadableFile("The file is empty. Copy it again from its source.")
    return text


def _is_declared(page: bytes) -> bool:
    marked = page.startswith(tuple(mark for mark, _ in _MARKS)) or page[:2] in {b"<\0", b"\0<"}
    return marked or _PAGE_ENCODING.search(page, 0, 1024) is not None


def decode_page(page: bytes) -> str:
    """HTML or XML to text: byte order mark, the page's own declaration, UTF-8, Windows-1252."""
    for mark, encoding in _MARKS:
        if page.startswith(mark):
            return page.decode(encoding, "replace").lstrip("\ufeff")
    if page[:2] in {b"<\0", b"\0<"}:
        return page.decode("utf-16-le" if page[1] == 0 else "utf-16-be", "replace")
    found = _PAGE_ENCODING.search(page, 0, 1024)
    declared = found[1].decode("ascii").lower() if found else "utf-8"
    for encoding in ("cp1252" if declared in _READ_AS_WINDOWS else declared, "utf-8"):
        try:
            return page.decode(encoding)
        except (UnicodeError, LookupError):
            continue
    return page.decode("cp1252", "replace")


def _decoded(content: bytes) -> str | None:
    """None if no encoding makes text of it."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace").lstrip("\ufeff")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        best = charset_normalizer.from_bytes(_telling(content, error.start)).best()
    if best is None:
        return None
    try:
        return content.decode(best.encoding)
    except UnicodeError:
        return content.decode(best.encoding, "replace")


def _telling(content: bytes, first: int) -> bytes:
    """The lines that tell an encoding: from the first letter outside ASCII on, those that have one.

    A book's plain English pages would outvote them.
    """
    start = max(content.rfind(b"\n", 0, first) + 1, first - 200)
    lines: list[bytes] = []
    size = 0
    for line in content[start : start + 16 * SAMPLE_CHARS].split(b"\n"):
        if not line.isascii() and size < SAMPLE_CHARS:
            lines.append(line)
            size += len(line)
    return b"\n".join(lines)
