"""Keep-alive: a client of one connection, on a bare socket.

So that what is measured is the appliance and not a client library: it sends a
GET, reads the head and then as many bytes as it promises. Knows no chunked
answers and follows nothing; HTTP in `tests.running` is for everything else.
"""

import socket
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit


class KeepAlive:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._socket.close()

    def get(self, path: str, **parameters: object) -> tuple[int, bytes]:
        """The status and the body."""
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        self._socket.sendall(f"GET {target} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())
        held = b""
        while b"\r\n\r\n" not in held:
            held += self._received()
        head, _, body = held.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        parts, missing = [body], length - len(body)
        while missing > 0:
            parts.append(self._received())
            missing -= len(parts[-1])
        return int(head[9:12]), b"".join(parts)

    def _received(self) -> bytes:
        got = self._socket.recv(1 << 16)
        if not got:
            raise ConnectionError("the server closed the connection in the middle of an answer")
        return got
