"""The transport: HTTP/1.1 over a Unix socket, for httpx, in few steps.

Knows sockets and h11; knows neither what the engine is asked nor what it
answers, and raises httpx's errors as any transport of httpx does. Its hard
rule: one connection for each request, closed with its answer, for that is how
the engine learns that nobody reads any more.
"""

import asyncio
import select
import socket as sockets
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h11
import httpx

# After each read of a socket, what arrives within this time is read together. At
# 120 tok/s that divides by five how often this process is woken, and each time it is
# one of the engine's threads waits for a core; at 20 tok/s it changes nothing.
# Words that come 25 times a second are still seen as a flow.
PACE_S = 0.04
_READ_BYTES = 2**16


class SocketTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over a Unix socket for httpx, in few steps: a connection for each request.

    httpx's own transport takes 250 to 300 us of processor time for each token,
    which on 2 cores is 3 to 5 in 100 tokens that the engine does not write. And
    llama.cpp's server promises keep-alive, then closes a connection that has
    carried a stream: the request after it would fail.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._open: set[_Exchange] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(self._open, request.extensions["timeout"])
        try:
            await exchange.connect(self._path)
            await exchange.send(request, await request.aread())
            head = await exchange.head()
        except BaseException:
            await exchange.aclose()
            raise
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=exchange)

    async def aclose(self) -> None:
        for exchange in self._open:
            exchange.break_off()


class _Exchange(httpx.AsyncByteStream):
    """One request and its answer, whose body it is: the engine's pieces, as many as have arrived at a time."""

    def __init__(self, among: set["_Exchange"], timeouts_s: dict[str, float | None]) -> None:
        self._socket = sockets.socket(sockets.AF_UNIX)
        self._socket.setblocking(False)
        self._closing: select.epoll | None = None
        self._hung_up = asyncio.Event()
        self._http = h11.Connection(h11.CLIENT)
        self._timeouts_s = timeouts_s
        self._among = among
        among.add(self)

    async def connect(self, path: str) -> None:
        try:
            async with asyncio.timeout(self._timeouts_s["connect"]):
                while True:
                    try:
                        self._socket.connect(path)
                        return self._watch()
                    except BlockingIOError:  # of a Unix socket: too many are waiting to be accepted
                        await asyncio.sleep(PACE_S)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("not accepted in time") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error

    async def send(self, request: httpx.Request, body: bytes) -> None:
        headers = [*request.headers.raw, (b"connection", b"close")]
        events = (
            h11.Request(method=request.method, target=request.url.raw_path, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        wire = b"".join(self._http.send(event) or b"" for event in events)
        try:
            async with asyncio.timeout(self._timeouts_s["write"]):
                await asyncio.get_running_loop().sock_sendall(self._socket, wire)
        except TimeoutError as error:
            raise httpx.WriteTimeout("not taken in time") from error
        except OSError as error:
            raise httpx.WriteError(str(error)) from error

    async def head(self) -> h11.Response:
        while True:
            event = self._next_event()
            if isinstance(event, h11.Response):
                return event
            if event is h11.NEED_DATA:
                await self._receive()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            pieces = []
            while isinstance(event := self._next_event(), h11.Data):
                pieces.append(bytes(event.data))
            if pieces:
                yield b"".join(pieces)
            if event is not h11.NEED_DATA:
                return
            if pieces:
                await self._pause()
            await self._receive()

    async def aclose(self) -> None:
        self._among.discard(self)
        self._watch_no_more()
        self._socket.close()

    def break_off(self) -> None:
        """Wake whoever reads: a socket that was just closed would leave them waiting."""
        with suppress(OSError):
            self._socket.shutdown(sockets.SHUT_RDWR)

    async def _pause(self) -> None:
        """Let `PACE_S` pass, or less: an answer's end is not waited for, and neither is the engine's."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PACE_S):
                await self._hung_up.wait()

    def _watch(self) -> None:
        """Notice when the other side closes, without being woken by what it says before.

        That takes a second epoll, for the event loop's knows only "readable".
        """
        if sys.platform == "linux":
            self._closing = select.epoll()
            self._closing.register(self._socket, select.EPOLLRDHUP)
            asyncio.get_running_loop().add_reader(self._closing.fileno(), self._notice)

    def _notice(self) -> None:
        self._watch_no_more()
        self._hung_up.set()

    def _watch_no_more(self) -> None:
        if self._closing is not None:
            asyncio.get_running_loop().remove_reader(self._closing.fileno())
            self._closing.close()
            self._closing = None

    def _next_event(self) -> Any:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error

    async def _receive(self) -> None:
        try:
            async with asyncio.timeout(self._timeouts_s["read"]):
                self._http.receive_data(await asyncio.get_running_loop().sock_recv(self._socket, _READ_BYTES))
        except TimeoutError as error:
            raise httpx.ReadTimeout("nothing said in time") from error
        except OSError as error:
            raise httpx.ReadError(str(error)) from error
