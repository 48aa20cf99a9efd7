"""A worker that misbehaves on order, for the edges that a real engine cannot produce.

    python fake_engine_server.py MODE

takes the place of `python -m llm.engines.worker`: the same line of orders on standard
input, the same line of outcome on standard output, a server on the same
socket. `answering` is a server within the test, which says given bytes.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from pathlib import Path

import msgspec

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


class Mode(StrEnum):
    WELL = "well"
    DIES_AT_ONCE = "dies at once"  # before it listens, with a last word
    DIES_AFTER = "dies after"  # as soon as it listens
    DEAF = "deaf"  # listens, takes connections, never answers; ignores SIGTERM
    SILENT = "silent"  # never says that it listens
    BABBLES = "babbles"  # says what is no outcome
    REFUSES = "refuses"
    NO_GPU_MEMORY = "no gpu memory"  # refuses what is to be computed on the GPU
    GPU_CRASH = "gpu crash"  # dies of it


def worker(mode: Mode) -> tuple[str, ...]:
    """The command that a supervisor is given in place of its own."""
    return (sys.executable, str(Path(__file__).absolute()), mode.value)


@asynccontextmanager
async def answering(
    socket: Path, pieces: Sequence[bytes], *, hold: bool = False
) -> AsyncGenerator[None, None]:
    """A server on `socket` that writes `pieces`, each by itself, to whoever asks, and closes.

    With `hold` it says no more and waits until the other side closes.
    """
    conversations: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if hold:
                await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.create_task(answer(reader, writer)))

    async with await asyncio.start_unix_server(begin, socket):
        yield
        await asyncio.gather(*conversations)


def refusal(status: int, body: bytes) -> list[bytes]:
    """A whole answer of another status than 200."""
    return [
        b"HTTP/1.1 %d No\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (status, len(body), body)
    ]


async def _serve(mode: Mode, socket: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if mode is Mode.DEAF:
            await asyncio.Event().wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(answer, socket):
        _say({"type": "listening", "engine": "fake"})
        await asyncio.Event().wait()


def _say(outcome: dict[str, object]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    sys.stdout.buffer.flush()


def _main(mode: Mode) -> None:
    orders = msgspec.json.decode(sys.stdin.buffer.readline())
    match mode:
        case Mode.DIES_AT_ONCE:
            sys.stderr.write("ggml.c:123: GGML_ASSERT(n > 0) failed\n")
            sys.exit(3)
        case Mode.DIES_AFTER:
            _say({"type": "listening", "engine": "fake"})
            os.kill(os.getpid(), signal.SIGKILL)
        case Mode.SILENT:
            signal.pause()
        case Mode.BABBLES:
            sys.stdout.write("Hello.\n")
        case Mode.REFUSES:
            sys.stderr.write("E llama_model_load: error loading model: unknown model architecture: 'zlama'\n")
            _say({"type": "refused", "reason": "Failed to init server."})
            sys.exit(1)
        case Mode.NO_GPU_MEMORY | Mode.GPU_CRASH if orders["gpu_layers"] != 0:
            sys.stderr.write("E ggml_backend_cuda: failed to allocate CUDA0 buffer of size 99\n")
            if mode is Mode.NO_GPU_MEMORY:
                _say({"type": "refused", "reason": "Failed to init server.", "gpu": True})
            sys.exit(1)
        case Mode.DEAF:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            asyncio.run(_serve(mode, orders["socket"]))
        case Mode.WELL | Mode.NO_GPU_MEMORY | Mode.GPU_CRASH:
            asyncio.run(_serve(mode, orders["socket"]))


if __name__ == "__main__":
    _main(Mode(sys.argv[1]))
