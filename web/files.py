"""Files: a document's own file, handed to whoever asks for it, in whole or in part.

HTTP only (RFC 9110: ranges, validators, HEAD); the file comes open and pinned
from `ingest.original`. Its hard rule: what is sent under one ETag is one
edition. When the file is written meanwhile the connection is closed short of
its Content-Length, which every client takes for what it is.
"""

import asyncio
import contextlib
import logging
import re
import time
import unicodedata
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from litestar import Request, Response, route
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.params import FromPath
from litestar.types import Receive, Scope, Send

from ingest.original import FileChanged, Original, open_original
from web.house import House
from web.media import media_type

log = logging.getLogger(__name__)

_PIECE_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
# Should a browser be talked into showing the file after all, it is a page without rights of any origin.
_SANDBOX = "sandbox; default-src 'none'"


@route("/api/documents/{document_id:str}/file", http_method=["GET", "HEAD"], sync_to_thread=True)
def document_file(
    request: Request[Any, Any, State], state: State, document_id: FromPath[str]
) -> Response[Any]:
    """The document's own file, to be kept; understands ranges and validators."""
    return handed_out(request, state.house, document_id)


def handed_out(
    request: Request[Any, Any, Any], house: House, document_id: str, *, inline: bool = False
) -> Response[Any]:
    """The response that sends a document's file, to be kept.

    `inline` for a PDF that is to be shown: the browser's own viewer, which
    refuses to open in a sandbox, runs nothing of it as a page of ours.

    Blocking until the file is open. Raises DocumentNotFound, FileGone and UnreadableFile.
    """
    remembered = house.holdings.file(document_id)
    original = open_original(house.folder, remembered)
    size = original.look.size_bytes
    headers = {
        "content-type": media_type(remembered.path),
        "content-disposition": disposition(remembered.path.rpartition("/")[2], inline=inline),
        "accept-ranges": "bytes",
        "etag": f'"{original.version}"',
        "cache-control": "no-cache",
    }
    if not inline:
        headers["content-security-policy"] = _SANDBOX
    changed_s = original.look.mtime_ns // 1_000_000_000
    if 0 < changed_s <= time.time():  # a date in the future would make every later edition look unchanged
        headers["last-modified"] = formatdate(changed_s, usegmt=True)
    if _is_known(request.headers, headers):
        original.close()
        headers.pop("content-type")
        return Response(b"", status_code=304, headers=headers)
    wanted = _range(request.headers, headers, size)
    if wanted is None:
        return _Sending(original, 0, size, 200, headers)
    first, stop = wanted
    if first >= stop:
        original.close()
        raise HTTPException(
            f"The file has {size} bytes, and none of those asked for.",
            status_code=416,
            headers={"content-range": f"bytes */{size}"},
        )
    return _Sending(
        original, first, stop, 206, headers | {"content-range": f"bytes {first}-{stop - 1}/{size}"}
    )


def disposition(name: str, *, inline: bool = False) -> str:
    """Content-Disposition for a file's name (RFC 6266), with a name in ASCII for clients that know no other."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r'[\x00-\x1f\x7f"%\\/;]', "_", plain)
    stem, dot, ending = plain.rpartition(".")
    if dot and not stem.strip(" _"):  # nothing of it was ASCII but its ending
        plain = f"document.{ending}"
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain or 'document'}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


class _Sending(Response[bytes]):
    """Part of an open file, up to but without `stop`. Closes it."""

    def __init__(
        self, original: Original, first: int, stop: int, status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(b"", status_code=status, headers=headers)
        self._original, self._first, self._stop = original, first, stop

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """Litestar asks its responses for the ASGI application that sends them."""
        return self._send

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.closing(self._original):
            given = self.headers | {"content-length": str(self._stop - self._first)}
            encoded = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
            status = self.status_code or 200
            await send({"type": "http.response.start", "status": status, "headers": encoded})
            if scope.get("method") != "HEAD":
                leaving = asyncio.ensure_future(_gone(receive))
                try:
                    whole = await self._pieces(send, leaving)
                finally:
                    leaving.cancel()
                if not whole:
                    return  # and the server closes the connection, since the response is not complete
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self, send: Send, leaving: asyncio.Future[None]) -> bool:
        """Send the bytes; False when they ended too early."""
        at = self._first
        while at < self._stop and not leaving.done():
            try:
                piece = await asyncio.to_thread(self._original.read, at, min(_PIECE_BYTES, self._stop - at))
            except FileChanged as error:
                log.warning("a download was broken off: %s", error)
                return False
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            at += len(piece)
        return True


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _is_known(asked: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    """Whether the asker has this very edition."""
    known = asked.get("if-none-match")
    if known is not None:
        return is_same(known, headers["etag"])
    since, changed = asked.get("if-modified-since"), headers.get("last-modified")
    if since is None or changed is None:
        return False
    try:
        return parsedate_to_datetime(changed) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):  # no date; or one without a zone
        return False


def is_same(known: str, etag: str) -> bool:
    """Whether an If-None-Match names the tag, or anything. Weakly, as RFC 9110 has it."""
    tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
    return "*" in tags or etag.removeprefix("W/") in tags


def _range(asked: Mapping[str, str], headers: Mapping[str, str], size: int) -> tuple[int, int] | None:
    """The one range asked for, as first and stop; None for the whole. Several are answered with the whole."""
    found = _RANGE.fullmatch(asked.get("range", ""))
    if found is None or asked.get("if-range", headers["etag"]) not in (
        headers["etag"],
        headers.get("last-modified"),
    ):
        return None
    first, last = found.groups()
    if first:
        if last and int(last) < int(first):
            return None
        return int(first), min(size, int(last) + 1) if last else size
    return (max(0, size - int(last)), size) if last else None
