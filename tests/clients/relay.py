"""Relay: bytes passed on between a client and Almanac, and kept.

Knows nothing of HTTP, so that nothing of it is changed on the way: what a
client hears through a relay, it would hear without one, and a client that
leaves is seen to leave. Its hard rule: bytes are kept before they are passed
on, so that whoever has got an answer finds it among what was kept.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

_PIECE = 65536
_ENDS_WITHIN_S = 20


class Conversation:
    """One connection: all that the client sent, and all that it was sent."""

    def __init__(self) -> None:
        self.asked, self.answered = bytearray(), bytearray()


class Relay:
    """Listens at any number of addresses, and passes everything on to one."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._listening: list[socket.socket] = []
        self._accepting: list[threading.Thread] = []
        self._conversing: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self.conversations: list[Conversation] = []

    def listen(self, port: int = 0) -> str:
        """On the loopback; returns the address."""
        listening = socket.create_server(("127.0.0.1", port))
        self._accept_from(listening)
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    def listen_on_file(self, path: Path) -> None:
        """On a socket that is a file, which can be reached from another network namespace."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(os.fspath(path))
        listening.listen()
        self._accept_from(listening)

    def settle(self) -> None:
        """Wait until every conversation has ended, because the clients have gone."""
        for thread in self._conversing:
            thread.join(_ENDS_WITHIN_S)
            assert not thread.is_alive(), "a client keeps its connection open"

    def close(self) -> None:
        for listening in self._listening:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread in accept()
            listening.close()
        for one in tuple(self._open):
            _leave(one)
        for thread in self._accepting + self._conversing:
            thread.join(_ENDS_WITHIN_S)

    def _accept_from(self, listening: socket.socket) -> None:
        self._listening.append(listening)
        self._accepting.append(_started(self._accept, listening))

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:  # closed
                return
            self._conversing.append(_started(self._converse, client))

    def _converse(self, client: socket.socket) -> None:
        kept = Conversation()
        self.conversations.append(kept)
        with client, contextlib.suppress(ConnectionError), self._connect() as upstream:
            pair = {client, upstream}
            self._open |= pair
            asking = _started(_pass_on, client, upstream, kept.asked)
            _pass_on(upstream, client, kept.answered)
            # The answer is over, or nobody wants it: either way there is nothing more to ask here.
            _leave(client)
            asking.join()
            self._open -= pair


def _started(work: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


def _pass_on(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
    try:
        while piece := source.recv(_PIECE):
            kept += piece
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # one of them has left; so does the other
        _leave(source)
        _leave(target)


def _leave(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def relay_to(url: str) -> Iterator[Relay]:
    """A relay to an address, for the length of a block."""
    address = urlsplit(url)
    relay = Relay(lambda: socket.create_connection((address.hostname or "", address.port or 80)))
    try:
        yield relay
    finally:
        relay.close()
