"""The HTTP protocol: a client that does not go on holds neither a connection nor an answer."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn

from appliance.http_protocol import SpokenProtocol

HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n"


class Impatient(SpokenProtocol):
    silence_s = stall_s = 0.3


class House:
    """Reads a request to its end, and answers with as much as it may."""

    def __init__(self) -> None:
        self.pieces = 0
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        leaving = asyncio.ensure_future(receive())
        while not leaving.done():
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            self.pieces += 1
            await asyncio.sleep(0)
        self.ended.set()


@asynccontextmanager
async def served(house: House) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = uvicorn.Config(house, http=Impatient, log_config=None, lifespan="off")
        server = uvicorn.Server(settings)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await running


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def run(play: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(play(), 20))


@pytest.mark.parametrize(
    "said", [b"", b"GET / HT", HEAD, HEAD + b"12345"], ids=["none", "line", "head", "half"]
)
def test_a_request_that_does_not_come_is_given_up(said: bytes) -> None:
    async def play() -> None:
        async with served(House()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            await closed(writer)

    run(play)


def test_a_request_that_comes_slowly_is_waited_for() -> None:
    async def play() -> None:
        async with served(House()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for at in range(len(HEAD) - 5, len(HEAD) + 10):
                writer.write((HEAD + b"1234567890")[at : at + 1] if at > len(HEAD) - 5 else HEAD[: at + 1])
                await asyncio.sleep(0.1)
            assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200")
            await closed(writer)

    run(play)


def test_an_answer_that_nobody_reads_ends_and_one_that_is_read_does_not() -> None:
    async def play() -> None:
        house = House()
        async with served(house) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
            writer.write(HEAD + b"1234567890")
            for _ in range(10):
                await reader.readexactly(200_000)
                await asyncio.sleep(0.1)
            assert not house.ended.is_set()
            await asyncio.wait_for(house.ended.wait(), 5)  # of which nothing more is read
            await closed(writer)

    run(play)
