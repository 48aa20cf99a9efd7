"""The engines that keep one contract, each started as the appliance starts it, or as a household would."""

import asyncio
import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from llm.engines.ctransformers.convert import convert
from llm.engines.ctransformers.preflight import available
from llm.engines.remote import RemoteModel, RemoteSettings
from llm.engines.supervisor import ModelSettings, Supervisor
from llm.serving.served import Host
from tests.places import ROOT, chat_model, missing

ENGINES = ("xllamacpp", "ctransformers", "remote")
PARALLEL = 2
# All with one thread: as many as there are cores wait for each other, several times
# longer than they compute, wherever anything else runs (docs/experiments.md).
_BRISK = {"health_interval_s": 0.05, "health_timeout_s": 1, "first_pause_s": 0, "grace_s": 1}
_KEY = "the key of the house next door"
# llama.cpp's server, as somebody runs it on another machine.
_SERVER = """
import sys, xllamacpp
file, port, context_tokens, parallel, key = sys.argv[1:]
asked = xllamacpp.CommonParams()
asked.model.path, asked.hostnames, asked.port = file, ["127.0.0.1"], int(port)
asked.n_parallel, asked.n_ctx = int(parallel), int(context_tokens) * int(parallel)
asked.api_keys, asked.model_alias, asked.verbosity = [key], {"there"}, 1
asked.n_batch = asked.n_ubatch
asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(asked)
sys.stdin.read()
"""


class Kept(NamedTuple):
    """An engine that is kept by its host, and how it is killed; whoever runs it starts it again by himself."""

    host: Host
    kill: Callable[[], Awaitable[None]]


class Standing(NamedTuple):
    """The same for several tests: each has its scene run on the loop on which its host lives."""

    host: Host
    kill: Callable[[], Awaitable[None]]
    run: Callable[[Coroutine[Any, Any, None]], None]


@contextmanager
def standing(engine: str, folder: Path) -> Iterator[Standing]:
    """One of ENGINES for as many scenes as are played; between them its host rests."""
    with asyncio.Runner() as runner:
        opened = AsyncExitStack()
        one = runner.run(opened.enter_async_context(kept(engine, folder)))
        try:
            yield Standing(one.host, one.kill, runner.run)
        finally:
            runner.run(opened.aclose())


@asynccontextmanager
async def kept(engine: str, folder: Path, *, context_tokens: int = 1024) -> AsyncGenerator[Kept, None]:
    """One of ENGINES with the starter model, ready to be asked."""
    if engine == "remote":
        async with _remote(folder, context_tokens) as one:
            yield one
        return
    file = converted_model() if engine == "ctransformers" else chat_model()
    settings = ModelSettings(context_tokens=context_tokens, parallel=PARALLEL, threads=1, **_BRISK)
    host = Supervisor(file, folder / "run", settings)

    async def kill() -> None:
        assert host.pid is not None
        os.kill(host.pid, signal.SIGKILL)

    await host.start()
    try:
        await host.settled.wait()
        assert host.reason is None
        yield Kept(host, kill)
    finally:
        await host.stop()


async def until(true: Callable[[], bool], within_s: float) -> None:
    ends = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < ends
        await asyncio.sleep(0.05)


@functools.cache
def converted_model() -> Path:
    """The starter model as `almanac models convert` writes it, once for all tests."""
    if why := available():
        missing(why)
    folder = tempfile.TemporaryDirectory(prefix="almanac-converted-")
    _kept_until_the_end.append(folder)
    file = Path(folder.name) / "SmolLM2.ctransformers.gguf"
    convert(chat_model(), file)
    return file


_kept_until_the_end: list[tempfile.TemporaryDirectory[str]] = []


@asynccontextmanager
async def _remote(folder: Path, context_tokens: int) -> AsyncGenerator[Kept, None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "key").write_text(_KEY)
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        given = (str(chat_model()), str(port), str(context_tokens), str(PARALLEL), _KEY)
        command = [sys.executable, "-c", _SERVER, *given]
        running.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL))

    async def kill() -> None:
        _end(running[-1])
        start()

    start()
    settings = RemoteSettings(
        name="next door",
        url=f"http://127.0.0.1:{port}/v1",
        model="there",
        key_file=str(folder / "key"),
        context_tokens=context_tokens,
        parallel=PARALLEL,
    )
    host = RemoteModel(settings)
    try:
        await host.start()
        await until(lambda: host.reason is None, 60)
        yield Kept(host, kill)
    finally:
        await host.stop()
        for server in running:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    server.kill()
    server.wait()
    if server.stdin:
        server.stdin.close()
