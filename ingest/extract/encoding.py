"""Encoding: bytes in, text with Unix line ends out.

Knows nothing of markup but where a page declares its own encoding. Its hard
rule: what is not text is said not to be text, never read as rubbish.
"""

import codecs
import collections
import re
from collections.abc import Mapping
from pathlib import Path

import charset_normalizer

from ingest.extract.language import likeliest
from ingest.extract.outline import MIB
from ingest.limits import Limits
from ingest.refusals import empty
from library.errors import UnreadableFile

_MARKS = (  # UTF-32's mark begins with UTF-16's, so it is tried first
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
SAMPLE_CHARS = 64 * 1024  # enough to tell an encoding; the detector is slow on more
_HEAD_BYTES = 16 * 1024
_LOW = re.compile(rb"[\x00-\x08\x0e-\x1f]")
# Encodings that are taken for each other, and the languages that are written in them.
_CENTRAL, _CYRILLIC = "pl cs sk hu sl hr bs sr ro sq", "ru uk bg be sr mk kk ky mn tg"
_FAMILIES: tuple[dict[str, str], ...] = (
    {
        "cp1252": "en de fr es it pt nl sv da no fi is ca gl eu ga gd cy af id ms sw la lb",
        "cp1250": _CENTRAL,
        "iso8859_2": _CENTRAL,
        "cp1257": "lt lv et",
        "iso8859_13": "lt lv et",
        "cp1254": "tr az",
        "cp1258": "vi",
        **dict.fromkeys(("latin_1", "iso8859_4", "iso8859_9", "iso8859_10", "iso8859_14", "iso8859_15"), ""),
        "iso8859_16": _CENTRAL,
    },
    {"cp1251": _CYRILLIC, "koi8_r": _CYRILLIC, "iso8859_5": _CYRILLIC, "cp866": _CYRILLIC, "koi8_u": "uk"}
    | dict.fromkeys(("cp855", "mac_cyrillic", "koi8_t", "kz1048", "ptcp154"), ""),
)
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
        raise empty()
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
        raise empty()
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
    marked = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)
    encoding = marked or _unmarked(content[:_HEAD_BYTES])
    if encoding is None:
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            encoding = _guessed(_telling(content, error.start))
    return None if encoding is None else content.decode(encoding, "replace").lstrip("\ufeff")


def _guessed(telling: bytes) -> str | None:
    japanese = _japanese(telling)
    if japanese is not None:
        return japanese
    best = charset_normalizer.from_bytes(telling).best()
    if best is None:
        return None
    family = next((family for family in _FAMILIES if best.encoding in family), {})
    return _by_language(telling, family) or best.encoding


def _unmarked(head: bytes) -> str | None:
    """Wide letters without a byte order mark, and Japanese mail's seven bits: both pass for ASCII with controls."""
    if b"\x1b$" in head or b"\x1b(J" in head:
        return _first_that_decodes(head, ("iso2022_jp_2", "iso2022_kr"))
    if len(head) < 8 or len(_LOW.findall(head)) * 10 < len(head):
        return None
    if head.count(0) * 2 >= len(head):
        widest = _first_that_decodes(head[: len(head) // 4 * 4], ("utf-32-le", "utf-32-be"))
        if widest is not None:
            return widest
    even = head[: len(head) // 2 * 2]
    found: list[tuple[int, str]] = []
    for wide in ("utf-16-le", "utf-16-be"):
        text = even.decode(wide, "ignore")
        pages = collections.Counter(ord(letter) >> 8 for letter in text).most_common(2)
        is_one_script = sum(count for _, count in pages) >= 0.8 * len(text)
        if is_one_script and not _is_rubbish(text) and 8 * len(text) >= 3 * len(even):
            # Read the wrong way round, a space is no space and a full stop no full stop.
            found.append((sum(letter.isascii() for letter in text), wide))
    return max(found)[1] if found else None


def _first_that_decodes(head: bytes, encodings: tuple[str, ...]) -> str | None:
    for encoding in encodings:
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(head)  # its last letter may be cut
        except (UnicodeError, LookupError):
            continue
        if not _is_rubbish(text):
            return encoding
    return None


def _japanese(telling: bytes) -> str | None:
    """Japanese by its own letters, which no other text is full of: its bytes pass for Korean and Chinese."""
    for encoding in ("cp932", "euc_jp"):
        try:
            text = telling.decode(encoding)
        except UnicodeError:
            continue
        wide = sum(not letter.isascii() for letter in text)
        if 5 * sum("\u3041" <= letter <= "\u30fe" for letter in text) > wide:
            return encoding
    return None


def _by_language(telling: bytes, family: Mapping[str, str]) -> str | None:
    """Which of these encodings makes words of it: each letter means another in each of them."""
    found: list[tuple[float, float, str]] = []
    for encoding, languages in family.items():
        try:
            text = telling.decode(encoding) if languages else ""
        except UnicodeError:
            continue
        language, probability = likeliest(text) if text else ("", 0.0)
        if language in languages.split() and probability > 0.5:
            # Of two Cyrillic ones that swap capitals and small letters, the one with more small letters.
            found.append((round(probability, 2), sum(map(str.islower, text)) / len(text), encoding))
    return max(found, key=lambda entry: entry[:2])[2] if found else None  # the first of equals


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
