"""Exchanges: what a relay kept, read as HTTP again.

Knows nothing of OpenAI. Each request is put beside its response, in the order
in which a connection carried them. An answer that nobody waited for is kept as
far as it came, and says that it is not whole.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import h11

from tests.clients.relay import Conversation


class Exchange(NamedTuple):
    method: str
    path: str  # without its query
    asked: bytes
    status: int
    headers: dict[str, str]
    answered: bytes
    whole: bool  # False when the client left before the end

    @property
    def body(self) -> Any:
        """The request's, read as JSON; None where there is none."""
        return json.loads(self.asked) if self.asked else None

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def events(self) -> list[str]:
        """What each event of a stream carried, comments left out; the last only if it came to its end."""
        *ended, rest = self.answered.decode().split("\n\n")
        assert not (self.whole and rest), "the stream ends within an event"
        lines = [[line for line in block.split("\n") if line.startswith("data: ")] for block in ended]
        return ["\n".join(line.removeprefix("data: ") for line in of_one) for of_one in lines if of_one]


def exchanges(conversations: Iterable[Conversation]) -> list[Exchange]:
    return [one for conversation in conversations for one in _of(conversation)]


def _of(conversation: Conversation) -> Iterator[Exchange]:
    # Each side's bytes are read by what stood at the other end of them.
    asking, answering = h11.Connection(h11.SERVER), h11.Connection(h11.CLIENT)
    for side, told in ((asking, conversation.asked), (answering, conversation.answered)):
        if told:  # nothing at all would mean that the connection is closed
            side.receive_data(bytes(told))
    while isinstance(request := asking.next_event(), h11.Request):
        answering.send(request)
        asked, _ = _body(asking)
        _said(answering, asked)
        response = answering.next_event()
        while isinstance(response, h11.InformationalResponse):
            response = answering.next_event()
        if not isinstance(response, h11.Response):
            return  # the client left before there was an answer
        answered, whole = _body(answering)
        yield Exchange(
            request.method.decode(),
            request.target.decode().partition("?")[0],
            asked,
            response.status_code,
            {name.decode().lower(): value.decode() for name, value in response.headers},
            answered,
            whole,
        )
        if not whole:
            return
        asking.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        asking.send(h11.EndOfMessage())
        if h11.MUST_CLOSE in (asking.our_state, answering.our_state):
            return
        asking.start_next_cycle()
        answering.start_next_cycle()


def _body(connection: h11.Connection) -> tuple[bytes, bool]:
    """The bytes of a message, and whether its end is there."""
    found = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return found, False
        if isinstance(event, h11.Data):
            found += event.data
        else:
            return found, isinstance(event, h11.EndOfMessage)


def _said(connection: h11.Connection, body: bytes) -> None:
    if body:
        connection.send(h11.Data(body))
    connection.send(h11.EndOfMessage())
