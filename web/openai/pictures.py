"""Pictures in a request: whether the model sees, and what of them may reach its eyes.

A picture is a stranger's file, and the engine decodes it in native code: so it
is a data URL, of a format that the engine reads by itself, and no larger than
it says. Its hard rule: nothing is fetched, and nothing is decoded that was not
measured first.
"""

import asyncio
import binascii
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from litestar import Request
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from ingest.render.pictures import stated
from library.errors import InvalidRequest
from llm.serving.served import ServedModel
from web.house import House
from web.openai.messages import CHAT_PICTURE, Picture
from web.problems import LARGEST_BODY_BYTES

MOST_PICTURES = 16
MOST_PIXELS = 24_000_000  # of all pictures of a request: each is unpacked to three bytes a pixel
MOST_SIDE = 16_384
MOST_SCANS = 64  # of a JPEG: each is a walk over the whole picture; photographs have one, or about ten
# What the engine decodes itself. It gives WebP and everything else to ffmpeg, which is kept from it.
_READ = ("image/png", "image/jpeg", "image/gif", "image/bmp")
_READ_IN_WORDS = "PNG, JPEG, GIF or BMP"
_URL = re.compile(r"data:image/[A-Za-z0-9.+-]{1,40};base64,")
_SENT = re.compile(rb'"data:image/[A-Za-z0-9.+\\/-]{1,40};base64,[A-Za-z0-9+/=\\]*"')  # within a body
_BMP_HEADERS = {12: "<HH", 40: "<ii", 56: "<ii", 108: "<ii", 124: "<ii"}  # bytes -> how it states its size
_BEGINNING = 2**20  # bytes within which a picture states its size
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")  # of a JPEG; what else follows an FF is pixels
_SCAN, _END, _MOST_SEGMENTS = 0xDA, 0xD9, 4_096
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG, by its type of colour
_PNG_HEAD = 33  # bytes, up to the end of the first chunk
_PIECE = 64 * 1024


async def require_moderate(request: Request[Any, Any, Any]) -> None:
    """Raises RequestEntityTooLarge for a body that is too long without its pictures."""
    body = await request.body()
    if len(body) > LARGEST_BODY_BYTES:
        pictures = sum(found.end() - found.start() for found in _SENT.finditer(body))
        if len(body) - pictures > LARGEST_BODY_BYTES:
            raise RequestEntityTooLarge


async def look_at(house: House, model: ServedModel, pictures: Sequence[Picture], parameter: str) -> None:
    """Raises InvalidRequest where the model does not see, or where one of the pictures cannot be shown to it.

    One on another machine is believed to see: its server refuses what it cannot take.
    """
    if not pictures:
        return
    eyes = house.models.eyes(model.file) if model.file is not None else None
    if eyes is not None and not eyes.see:
        why = f" {eyes.trouble}" if eyes.trouble else ""
        raise InvalidRequest(
            parameter, f"hold a picture, and the model {model.id} does not see.{why} {_who_sees(house)}"
        )
    await asyncio.to_thread(check_pictures, pictures)


def refuse_pictures(house: House, pictures: Sequence[Picture]) -> None:
    """Raises InvalidRequest: for models that answer from the library."""
    if pictures:
        raise InvalidRequest(
            pictures[0].where, f"is a picture, and the library is asked in words. {_who_sees(house)}"
        )


def details(pictures: Sequence[Picture]) -> dict[str, str]:
    """What is asked of how closely they are looked at: an engine looks at all in one way."""
    asked = next((picture for picture in pictures if picture.detail != "auto"), None)
    if asked is None:
        return {}
    return {f"{CHAT_PICTURE if asked.named.endswith('.url') else 'input_image'}.detail": asked.detail}


def check_pictures(pictures: Sequence[Picture]) -> None:
    """Raises InvalidRequest for the first that cannot be shown to an engine. May take half a second."""
    if len(pictures) > MOST_PICTURES:
        raise InvalidRequest(
            pictures[MOST_PICTURES].where, f"is one picture too many: a request may hold {MOST_PICTURES}."
        )
    pixels = 0
    for picture in pictures:
        width, height = _measured(picture)
        pixels += width * height
        if pixels > MOST_PIXELS:
            whose = f"has {width} × {height} pixels" if len(pictures) == 1 else "is one too many"
            raise InvalidRequest(
                picture.named,
                f"{whose}: the pictures of a request may have {MOST_PIXELS // 10**6} million pixels together. "
                "Make it smaller; models see little more than a thousand on a side.",
            )


def _measured(picture: Picture) -> tuple[int, int]:
    """Width and height of what is a picture, as far as can be told without decoding it."""
    content = _content(picture)
    found = _bmp(content) or stated(content[:_BEGINNING])
    if found is None or found[0] not in _READ:
        what = "a picture in WebP" if found is not None else "none that can be read"
        raise InvalidRequest(picture.named, f"is {what}. Send it as {_READ_IN_WORDS}.")
    kind, (width, height) = found
    if not (0 < width <= MOST_SIDE and 0 < height <= MOST_SIDE):
        raise InvalidRequest(
            picture.named,
            f"has {width} × {height} pixels; a side may have 1 to {MOST_SIDE}. Make it smaller.",
        )
    if (kind == "image/png" and _unpacks_to_more(content, width, height)) or (
        kind == "image/jpeg" and _scans(content) > MOST_SCANS
    ):
        raise InvalidRequest(
            picture.named, "holds far more than a picture of its size. Save it anew, and send that."
        )
    return width, height


def _content(picture: Picture) -> bytes:
    head = _URL.match(picture.url)
    if head is None:
        scheme = picture.url.partition(":")[0].lower()
        why = "nothing is fetched here" if scheme in {"http", "https", "file", "ftp"} else "it is none"
        raise InvalidRequest(
            picture.named, f"must be a data URL (`data:image/png;base64,…`): {why}. Send the picture itself."
        )
    try:
        return binascii.a2b_base64(picture.url[head.end() :], strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(
            picture.named, "is not valid base64 behind its comma: letters, digits, `+`, `/` and `=` alone."
        ) from error


def _bmp(content: bytes) -> tuple[str, tuple[int, int]] | None:
    if content[:2] != b"BM" or len(content) < 30:
        return None
    form = _BMP_HEADERS.get(int.from_bytes(content[14:18], "little"))
    if form is None:
        return None
    width, height = struct.unpack_from(form, content, 18)
    return "image/bmp", (width, abs(height))  # one that is negative stands for a picture from top to bottom


def _scans(content: bytes) -> int:
    """How many scans a JPEG has, up to its end: films and other pictures may hang behind it."""
    at, scans = 2, 0
    for _ in range(_MOST_SEGMENTS):
        marker = _MARKER.search(content, at)
        if marker is None or marker[1][0] == _END:
            return scans
        scans += marker[1][0] == _SCAN
        at = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")
    return MOST_SCANS + 1


def _unpacks_to_more(content: bytes, width: int, height: int) -> bool:
    """Whether a PNG of that size unpacks to more than its pixels: a megabyte may unpack to a thousand.

    What is cut short, or no PNG further on, is the engine's to refuse.
    """
    if len(content) < _PNG_HEAD:
        return False
    depth, colour, interlaced = min(content[24], 16), content[25], content[28] == 1
    row = 1 + -(-width * depth * _CHANNELS.get(colour, 4) // 8)
    # Interlaced, it is seven smaller pictures, each with rows of its own.
    left = row * height * (2 if interlaced else 1) + 8 * 8
    unpacking = zlib.decompressobj()
    try:
        for chunk in _pixel_chunks(content):
            packed = chunk
            while packed:
                left -= len(unpacking.decompress(packed, _PIECE))
                if left < 0:
                    return True
                packed = unpacking.unconsumed_tail
    except zlib.error:
        return False
    return False


def _pixel_chunks(content: bytes) -> list[bytes]:
    found, at = [], 8
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] == b"IDAT":
            found.append(content[at + 8 : at + 8 + length])
        at += 12 + length
    return found


def _who_sees(house: House) -> str:
    seeing = house.models.seeing()
    if seeing:
        return f"Models here that see: {', '.join(seeing[:8])}."
    return "No model here sees: a chat model does once its projector (mmproj) lies beside it in the models folder."
