"""The HTTP protocol: uvicorn's, with a sentence for what cannot be read as a request.

Such bytes never reach the application, so what it would have said is said
here, in the same form. Its hard rules: the head of a request is bounded, since
nobody counts it before it is whole; and nobody is waited for without end, neither
for the rest of a request nor to read an answer, of which one that is being written
holds a place at the model.
"""

import asyncio
import fcntl
import sys
import termios
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from web.guards import HEADERS
from web.observed import new_request_id

LONGEST_TARGET_BYTES = 65_535  # httptools refuses a longer one by itself, without saying why
LONGEST_HEAD_BYTES = 256 * 1024


# The longest that a client may send nothing of a request that is not whole, and take nothing of an answer.
# A slow one is no matter: what counts is whether it goes on at all.
SILENCE_S, STALL_S = 60.0, 60.0


class _TooLong(Exception):
    """Ends the parser; uvicorn then asks for the response below."""


class SpokenProtocol(HttpToolsProtocol):
    silence_s, stall_s = SILENCE_S, STALL_S
    _listening: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._listen()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._listening, self._writing):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._listen()
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._writing is None:
            self._look_again()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _look_again(self) -> None:
        self._untaken = self._bytes_untaken()
        self._writing = self.loop.call_later(self.stall_s, self._taken_nothing)

    def _taken_nothing(self) -> None:
        if self._bytes_untaken() < self._untaken:
            self._look_again()
        else:
            self.transport.abort()

    def _bytes_untaken(self) -> int:
        """What lies in the kernel counts, too: it tells of room only when a third of megabytes is free."""
        there = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return self.transport.get_write_buffer_size() + int.from_bytes(there, sys.byteorder)

    def _listen(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        self._listening = self.loop.call_later(self.silence_s, self._heard_nothing)

    def _heard_nothing(self) -> None:
        if self.flow.read_paused:  # it is we who do not listen
            self._listen()
        elif self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > LONGEST_TARGET_BYTES:
            raise _TooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > LONGEST_HEAD_BYTES:
            raise _TooLong

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words help nobody
        status, sentence = self._refusal()
        problem = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "code": status.phrase.lower().replace(" ", "_"),
            "detail": sentence,
        }
        body = msgspec.json.encode(problem)
        headers = HEADERS | {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "connection": "close",
            "x-request-id": new_request_id(),
        }
        head = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{k}: {v}" for k, v in headers.items())]
        self.transport.write("\r\n".join([*head, "", ""]).encode("ascii") + body)
        self.transport.close()

    def _refusal(self) -> tuple[HTTPStatus, str]:
        if len(getattr(self, "url", b"")) > LONGEST_TARGET_BYTES:
            return (
                HTTPStatus.REQUEST_URI_TOO_LONG,
                "The address is longer than 64 kB. Ask with fewer words; the first few hundred decide.",
            )
        if getattr(self, "_head_bytes", 0) > LONGEST_HEAD_BYTES:
            return (
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The headers are longer than 256 kB. Send fewer or shorter ones.",
            )
        return (
            HTTPStatus.BAD_REQUEST,
            "This is no HTTP request that can be read. Percent-encode what is not ASCII in an address.",
        )
