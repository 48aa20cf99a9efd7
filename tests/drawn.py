"""Pictures drawn for tests, of one colour: whole files of every format that a chat model's engine reads."""

import base64
import struct
import zlib


def png(width: int = 9, height: int = 9, colour: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    return png_of(width, height, (b"\0" + bytes(colour) * width) * height)


def png_of(width: int, height: int, rows: bytes) -> bytes:
    """A PNG that says so much of its size, and unpacks to `rows`."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def jpeg(
    width: int = 16,
    height: int = 16,
    *,
    dark: bool = False,
    stated: tuple[int, int] | None = None,
    scans: int = 1,
) -> bytes:
    """Grey, as a baseline JPEG in which every block has its mean and nothing else, said `scans` times over."""
    blocks = -(-width // 8) * -(-height // 8)
    # The codes: 00 for "as bright as the last block", 01 for "by seven bits otherwise", 0 for "nothing more".
    first = "01" + ("0000001" if dark else "1111110") + "0"
    bits = first + "000" * (blocks - 1)
    bits += "1" * (-len(bits) % 8)
    scan = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    said_width, said_height = stated or (width, height)
    return (
        b"\xff\xd8"
        + _segment(0xDB, b"\0" + b"\x08" * 64)
        + _segment(0xC0, struct.pack(">BHHB", 8, said_height, said_width, 1) + b"\x01\x11\0")
        + _segment(0xC4, b"\0" + bytes([0, 2] + [0] * 14) + b"\x00\x07")
        + _segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\x00")
        + (_segment(0xDA, b"\x01\x01\0\0\x3f\0") + scan) * scans
        + b"\xff\xd9"
    )


def _segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def gif(width: int = 2, height: int = 2) -> bytes:
    """Of four pixels at most."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\xff\0\0\0\xff\0"
    return head + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0;"


def bmp(width: int = 5, height: int = 5) -> bytes:
    row = b"\x10\x20\x30" * width + bytes(-3 * width % 4)
    head = struct.pack("<IHHI", 54 + len(row) * abs(height), 0, 0, 54)
    about = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + head + about + row * abs(height)


WEBP = b"RIFF\x18\0\0\0WEBPVP8L\x0c\0\0\0\x2f\0\0\0\0\0\0\0\0\0\0\0"


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
