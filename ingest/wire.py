"""The wire between the main process and an ingest worker: msgpack messages in frames.

A frame is four bytes of length, big-endian, and a msgpack body. Knows neither
side's work. msgpack and not pickle: a worker reads hostile files, and whoever
takes it over must not be able to run code in the main process by answering.
"""

import select
import socket
import struct

import msgspec

from ingest.limits import Limits
from library.values import Chunk, Extracted

_HEADER = struct.Struct(">I")
_LONGEST_FRAME_BYTES = 512 * 1024 * 1024


class Extract(msgspec.Struct, frozen=True, tag=True):
    """Read a file of the library and cut it into chunks. `path` is relative to the library folder."""

    path: str


class Embed(msgspec.Struct, frozen=True, tag=True):
    texts: list[str]


class Recorded(msgspec.Struct, frozen=True):
    """A section as the record has it. `fragment` is its anchor's id, if it has one."""

    ordinal: int
    heading: str
    fragment: str
    text: str


class Mark(msgspec.Struct, frozen=True):
    """Characters of a section's text to be marked. The one that `opens` decides which leaf is shown."""

    section: int
    start: int
    end: int
    kind: str  # "passage" or "hit"
    id: str = ""
    opens: bool = False


class Render(msgspec.Struct, frozen=True, tag=True):
    """Lay out one leaf of a document: where a mark opens, else where a fragment or section is, else by number."""

    path: str
    format: str
    address: str  # the document's in the reader, before its links
    part: str  # a file of an EPUB; "" for its first, and in other formats
    sections: list[Recorded]  # those of this part
    marks: list[Mark]
    fragment: str = ""
    section: int | None = None
    leaf: int = 0  # -1 is the last


class Picture(msgspec.Struct, frozen=True, tag=True):
    """Fetch a picture: by its name in an EPUB, else by its name relative to the document."""

    path: str
    format: str
    name: str


class Rendered(msgspec.Struct, frozen=True, tag=True):
    """One leaf, safe to show."""

    html: str
    leaf: int
    leaves: int
    part: str
    parts: tuple[str, ...]  # all of the book's, in reading order
    sections: tuple[int, ...]  # that begin on this leaf
    under: int | None  # the section that is under way where it begins
    exact: bool  # whether the mark that opens is marked, and nothing else as if it were
    language: str | None
    direction: str  # "ltr", "rtl" or "" where the book does not say


class Pictured(msgspec.Struct, frozen=True, tag=True):
    content: bytes
    media_type: str


class Read(msgspec.Struct, frozen=True, tag=True):
    """What became of an Extract that went well."""

    extracted: Extracted
    chunks: list[Chunk]


class Unreadable(msgspec.Struct, frozen=True, tag=True):
    """The file cannot become a document; `reason` is a sentence."""

    reason: str


class Embedded(msgspec.Struct, frozen=True, tag=True):
    """`vectors` are float32, row after row, in the order of the texts."""

    vectors: bytes
    cost_s: float  # seconds of work, as if the worker had never been held


class Broken(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot work at all, for want of a model say."""

    reason: str


class WorkerOrders(msgspec.Struct, frozen=True):
    """What the parent says on the command line, as JSON. Nothing in it is secret."""

    socket_fd: int
    model_folder: str
    threads: int
    memory_mib: int  # address space; 0 for no limit
    library: str  # files outside this folder are not read
    limits: Limits
    scratch: str  # a folder of the worker's own
    nice: int
    parent: int = 0  # the parent's pid; filled in at each start, as `socket_fd` is


Request = Extract | Embed | Render | Picture
Reply = Read | Unreadable | Embedded | Broken | Rendered | Pictured


class Wire:
    """One end of a socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, message: Request | Reply) -> None:
        """Raises OSError when the other end is gone, TimeoutError past the socket's timeout."""
        body = msgspec.msgpack.encode(message)
        self._socket.sendall(_HEADER.pack(len(body)) + body)

    def receive_request(self) -> Request:
        """The next message, as a worker expects it. Raises as `receive_reply` does."""
        request: Request = msgspec.msgpack.decode(self._frame(), type=Request)
        return request

    def receive_reply(self) -> Reply:
        """The next message, as the main process expects it.

        Raises EOFError when the other end is gone, TimeoutError past the
        socket's timeout, and msgspec.DecodeError for anything unexpected.
        """
        reply: Reply = msgspec.msgpack.decode(self._frame(), type=Reply)
        return reply

    def wait(self, seconds: float) -> bool:
        """Whether something can be read, waiting at most so long. Raises EOFError when this end is closed."""
        poller = select.poll()
        try:
            poller.register(self._socket, select.POLLIN)
        except ValueError as error:  # closed by another thread meanwhile
            raise EOFError("this end of the wire is closed") from error
        return bool(poller.poll(seconds * 1000))

    def close(self) -> None:
        self._socket.close()

    def _frame(self) -> bytearray:
        (length,) = _HEADER.unpack(self._exactly(_HEADER.size))
        if length > _LONGEST_FRAME_BYTES:
            raise msgspec.DecodeError(f"a frame of {length} bytes")
        return self._exactly(length)

    def _exactly(self, length: int) -> bytearray:
        # Nothing is read ahead: `wait` looks at the socket alone.
        body = bytearray(length)
        view, got = memoryview(body), 0
        while got < length:
            count = self._socket.recv_into(view[got:])
            if not count:
                raise EOFError("the other end of the wire is gone")
            got += count
        return body
