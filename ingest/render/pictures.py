"""Pictures: what a browser may be given as a picture out of a book, and how much room it takes.

Pure. A name says nothing: the first bytes and the size they state decide. Its
hard rule: what is not one of these kinds, or would unpack to more than a
screen can use, is not served at all.
"""

import struct
from collections.abc import Callable

from ingest.extract.outline import MIB

MOST_BYTES = 32 * MIB
_MOST_PIXELS = 100_000_000
_MOST_SIDE = 32_767
_BEGINNINGS = (32 * 1024, MIB)  # bytes: a photograph may carry a good deal before it states its size
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def media_type(content: bytes) -> str | None:
    """The picture's type, or None if it is none that may be shown."""
    if len(content) > MOST_BYTES:
        return None
    found = _kind(content)
    return found[0] if found is not None and _fits(*found[1]) else None


def stated_size(beginning: Callable[[int], bytes | None]) -> tuple[int, int] | None:
    """Width and height in pixels, or None if they are not stated; `beginning` gives so many first bytes."""
    for most in _BEGINNINGS:
        content = beginning(most)
        if not content:
            return None
        found = _kind(content)
        if found is not None:
            return found[1] if _fits(*found[1]) else None
    return None


def stated(content: bytes) -> tuple[str, tuple[int, int]] | None:
    """Type, width and height as the first bytes state them, however large; None if they are none of a picture."""
    return _kind(content)


def _fits(width: int, height: int) -> bool:
    return 0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE and width * height <= _MOST_PIXELS


def _kind(content: bytes) -> tuple[str, tuple[int, int]] | None:
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR":
            return "image/png", struct.unpack(">II", content[16:24])
        if content[:6] in (b"GIF87a", b"GIF89a"):
            return "image/gif", struct.unpack("<HH", content[6:10])
        if content.startswith(b"\xff\xd8\xff"):
            return "image/jpeg", _jpeg_size(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return "image/webp", _webp_size(content)
    except (struct.error, IndexError):
        return None  # cut short
    return None


def _jpeg_size(content: bytes) -> tuple[int, int]:
    at = 2
    while True:
        if content[at] != 0xFF:
            raise IndexError
        kind = content[at + 1]
        if kind in _JPEG_SIZES:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return width, height
        alone = kind in {0xFF, 0x01} or 0xD0 <= kind <= 0xD8
        at += (1 if kind == 0xFF else 2) if alone else 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]


def _webp_size(content: bytes) -> tuple[int, int]:
    kind = content[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", content[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", content[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = content[24:27], content[27:30]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    raise IndexError
