"""Uploads: files out of a browser's form, streamed to the library folder.

Nothing of a file is kept in memory but the megabyte at hand. Files are given
their names only when the whole form has come: a client that vanishes half way
leaves nothing behind. What is refused is read to its end and dropped, so that
the answer arrives; a server that hangs up in the middle of a request is never
understood. Knows no path; see `ingest.landing`.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.exceptions import ClientException, InternalServerException
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from ingest.filenames import shelf_name
from ingest.landing import Incoming, Landing, Outcome
from library.errors import InvalidRequest, UnreadableFile
from web.house import House

_AT_ONCE_BYTES = 1024 * 1024
_LONGEST_FIELD_BYTES = 4096
_MOST_PARTS = 2000
_LONGEST_SILENCE_S = 120.0


class UploadShape(msgspec.Struct, frozen=True):
    name: str  # as it was sent
    path: str | None  # where it lies in the library
    outcome: Outcome
    reason: str | None  # a sentence, when refused
    document_id: str | None  # once the folder's watch has received it


class UploadsShape(msgspec.Struct, frozen=True):
    items: tuple[UploadShape, ...]


class Slips:
    """What came of the last forms sent without a script, until their pages have been shown."""

    _MOST = 100

    def __init__(self) -> None:
        self._slips: OrderedDict[str, tuple[UploadShape, ...]] = OrderedDict()

    def keep(self, uploads: tuple[UploadShape, ...]) -> str:
        slip = uuid4().hex
        self._slips[slip] = uploads
        while len(self._slips) > self._MOST:
            self._slips.popitem(last=False)
        return slip

    def read(self, slip: str) -> tuple[UploadShape, ...]:
        return self._slips.get(slip, ())


# The whole form may be of any size: each file has its limit, and the disk has one.
@post("/api/uploads", status_code=201, request_max_body_size=None)
async def upload(request: Request[Any, Any, State], state: State) -> UploadsShape:
    """Store the files of a multipart form in the library folder; says of each what became of it."""
    return UploadsShape(await received(request, state.house))


async def received(request: Request[Any, Any, Any], house: House) -> tuple[UploadShape, ...]:
    """What became of each file of a form. Raises InvalidRequest for what is no such form."""
    form = _Form(house.landing)
    try:
        async for piece in _pieces(request):
            await form.take(piece)
        if not form.files:
            raise InvalidRequest("files", "holds no file. Choose at least one.")
        return await asyncio.to_thread(form.placed, house)
    except MultipartError as error:
        raise InvalidRequest("body", f"is not a multipart form that can be read: {error}.") from error
    finally:
        form.abandon()


class _File:
    """A file of the form: on its way, or refused."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.incoming: Incoming | None = None
        self.refusal: str | None = None

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        try:
            yield
        except UnreadableFile as error:
            self.incoming, self.refusal = None, str(error)


class _Form:
    """The parts of a form in the order in which they come."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self.files: list[_File] = []
        self._shelf: str | None = None
        self._file: _File | None = None
        self._field = ""
        self._content = bytearray()

    async def take(self, piece: MultipartSegment | bytes | bytearray | None) -> None:
        if isinstance(piece, MultipartSegment):
            await self._begin(piece)
        elif piece is None:
            await self._end()
        else:
            await self._go_on(piece)

    async def _begin(self, part: MultipartSegment) -> None:
        self._content.clear()
        self._file, self._field = None, ""
        if part.filename is None:
            self._field = part.name or ""
        elif part.filename:  # a browser sends an empty one where nothing was chosen
            self._file = _File(part.filename)
            self.files.append(self._file)
            with self._file.refusing():
                self._file.incoming = await asyncio.to_thread(self._landing.begin, part.filename, self._shelf)

    async def _go_on(self, piece: bytes | bytearray) -> None:
        if self._file is None:
            if self._field and len(self._content) + len(piece) > _LONGEST_FIELD_BYTES:
                raise InvalidRequest(self._field, f"is longer than {_LONGEST_FIELD_BYTES} bytes.")
            if self._field:
                self._content += piece
        elif self._file.incoming is not None:
            self._content += piece
            if len(self._content) >= _AT_ONCE_BYTES:
                await self._write(self._file)

    async def _end(self) -> None:
        if self._file is not None and self._file.incoming is not None:
            await self._write(self._file)
            with self._file.refusing():
                if self._file.incoming is not None:
                    await asyncio.to_thread(self._file.incoming.complete)
        elif self._field == "shelf":
            shelf = shelf_name(bytes(self._content).decode(errors="replace"))
            if self.files and shelf != self._shelf:
                raise InvalidRequest("shelf", "must stand before the files.")
            self._shelf = shelf
        self._file, self._field = None, ""

    async def _write(self, file: _File) -> None:
        content = bytes(self._content)
        self._content.clear()
        with file.refusing():
            if content and file.incoming is not None:
                await asyncio.to_thread(file.incoming.write, content)

    def placed(self, house: House) -> tuple[UploadShape, ...]:
        """Give every file its name. Blocking."""
        return tuple(_placed(file, house) for file in self.files)

    def abandon(self) -> None:
        for file in self.files:
            if file.incoming is not None:
                file.incoming.abandon()


def _placed(file: _File, house: House) -> UploadShape:
    with file.refusing():
        if file.incoming is not None:
            landed = file.incoming.place()
            document = house.catalogue.at(landed.path)
            return UploadShape(
                file.name, landed.path, landed.outcome, None, None if document is None else document.id
            )
    return UploadShape(file.name, None, Outcome.REFUSED, file.refusal, None)


async def _pieces(
    request: Request[Any, Any, Any],
) -> AsyncGenerator[MultipartSegment | bytes | bytearray | None, None]:
    """The form's parts: a segment, its content piece by piece, None at its end."""
    kind, options = request.content_type
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise InvalidRequest("Content-Type", "must be multipart/form-data with a boundary.")
    parser = PushMultipartParser(options["boundary"], max_segment_count=_MOST_PARTS)
    chunks = request.stream()
    with parser:
        while not parser.closed:
            try:
                async with asyncio.timeout(_LONGEST_SILENCE_S):
                    chunk = await anext(chunks, b"")
            except TimeoutError as error:
                raise InvalidRequest("body", "stopped coming; the rest was waited for in vain.") from error
            except InternalServerException as error:
                raise ClientException("The client has left.") from error  # said to nobody
            for piece in parser.parse(chunk):
                yield piece
        # What may follow the last boundary is nobody's; it is read for the answer to arrive.
        async for _ in chunks:
            pass


def told(uploads: Sequence[UploadShape]) -> list[dict[str, Any]]:
    """For a template."""
    return [msgspec.to_builtins(one) for one in uploads]
