"""Servers of one model file: Almanac beside the bare engine, llama-cpp-python's server and llama-server

The same file, prompts and number of threads, alternately, with one client and
with four at once. In process, xllamacpp streams into callbacks. Tokens per
second are those of all clients together, from the first to the last.

llama-cpp-python has no wheel for Linux and is compiled at the first run, into
`var/bench/llama-cpp-python`, which takes a compiler, a network and some
minutes; without any of these it is left out with a sentence. llama-server is
measured where `--llama-server` names one.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import xllamacpp

from tests.bench.bench_chat import CONTEXT_TOKENS, THREADS
from tests.bench.measuring import WrongResult
from tests.places import ROOT, chat_model
from tests.running import running

ENVIRONMENT = ROOT / "var" / "bench" / "llama-cpp-python"
PACKAGE = "llama-cpp-python[server]==0.3.36"
CLIENTS = (1, 4)
TOKENS = 128

Times = list[float]  # when each token came
Ask = Callable[[dict[str, object]], Times]


def run(rounds: int = 5, llama_server: str = "") -> Iterator[str]:
    """`rounds` of every server with every number of clients; `llama_server` is that program's path."""
    with ExitStack() as opened:
        servers: dict[str, Ask] = {"xllamacpp in process": in_process()}
        appliance = opened.enter_context(_almanac())
        servers["Almanac"] = over_http(appliance)
        if python := _peer_python():
            servers["llama-cpp-python"] = over_http(opened.enter_context(_llama_cpp_python(python)))
        else:
            yield "llama-cpp-python could not be installed here, and is left out."
        if llama_server:
            servers["llama-server"] = over_http(opened.enter_context(_llama_server(llama_server)))
        rates = measured(servers, rounds)
    yield "| tokens/s | " + " | ".join(f"{name}" for name in servers) + " |"
    yield "|---|" + "---|" * len(servers)
    for clients in CLIENTS:
        ours = rates["Almanac", clients]
        cells = []
        for name in servers:
            theirs = rates[name, clients]
            ratio = median(mine / other for mine, other in zip(ours, theirs, strict=True))
            cells.append(f"{median(theirs):.1f}" + ("" if name == "Almanac" else f" ({ratio:.2f})"))
        yield f"| {clients} client{'s' if clients > 1 else ''} | " + " | ".join(cells) + " |"
    yield f"\n{rounds} rounds, taken in turn; in brackets, Almanac's divided by it, the median over the rounds."


def measured(servers: dict[str, Ask], rounds: int) -> dict[tuple[str, int], list[float]]:
    rates: dict[tuple[str, int], list[float]] = {}
    for round_ in range(-1, rounds):
        for clients in CLIENTS:
            for name, ask in servers.items():
                rate = together(ask, round_, clients)
                if round_ >= 0:  # the first warms all of them
                    rates.setdefault((name, clients), []).append(rate)
    return rates


def together(ask: Ask, round_: int, clients: int) -> float:
    """Tokens per second of so many that ask at once."""
    times: list[Times] = []
    threads = [
        threading.Thread(target=lambda at=at: times.append(ask(body(round_, clients, at))))
        for at in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = sorted(moment for one in times for moment in one)
    assert len(times) == clients
    if len(every) < clients * TOKENS / 2:
        raise WrongResult(f"{len(every)} tokens for {clients} clients: the model stopped early")
    return (len(every) - 1) / (every[-1] - every[0])


def body(round_: int, clients: int, at: int) -> dict[str, object]:
    # Another first word each time, so that no prompt is in a cache.
    text = f"{round_}.{clients}.{at}. Tell a long story, in many chapters, of a lamp in a lighthouse and of its keeper."
    return {
        "model": chat_model().stem,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": TOKENS,
        "stream": True,
        "ignore_eos": True,  # llama-cpp-python knows no such thing, and may stop before the others
    }


def in_process() -> Ask:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(chat_model())
    parameters.n_ctx, parameters.n_parallel = CONTEXT_TOKENS * max(CLIENTS), max(CLIENTS)
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = THREADS
    parameters.verbosity, parameters.ui = 0, False
    server = xllamacpp.Server(parameters)

    def ask(request: dict[str, object]) -> Times:
        times: Times = []

        def note(chunk: object) -> None:
            text = chunk if isinstance(chunk, str) else json.dumps(chunk)
            times.extend([time.perf_counter()] * _tokens(text.encode()))

        server.handle_chat_completions(json.dumps(request), note)
        return times

    return ask


def over_http(url: str) -> Ask:
    """Read from a bare socket: a client library's own work is not what is measured."""
    host, port = urlsplit(url).netloc.split(":")

    def ask(request: dict[str, object]) -> Times:
        sent, times, tail = json.dumps(request).encode(), list[float](), b""
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        with socket.create_connection((host, int(port)), timeout=300) as connection:
            connection.sendall(f"{head}content-length: {len(sent)}\r\n\r\n".encode() + sent)
            while received := connection.recv(65536):
                assert not received.startswith(b"HTTP/1.1 4"), received
                times += [time.perf_counter()] * _tokens(received)
                tail = (tail + received)[-32:]
                if b"[DONE]" in tail:
                    break
        return times

    return ask


def _tokens(received: bytes) -> int:
    return received.count(b'"content":"') + received.count(b'"content": "') - received.count(b'"content":""')


@contextmanager
def _almanac() -> Iterator[str]:
    settings = (
        f"[llm]\ncontext_tokens = {CONTEXT_TOKENS}\nparallel = {max(CLIENTS)}\nthreads = {THREADS}\n"
        "[llm.cache]\ncapacity_mib = 0\n"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "data").mkdir()
        (folder / "data" / ".furnished").touch()
        with running(folder, settings=settings) as appliance:
            yield appliance.url


@contextmanager
def _llama_cpp_python(python: Path) -> Iterator[str]:
    command = (
        *(str(python), "-m", "llama_cpp.server", "--model", str(chat_model()), "--verbose", "False"),
        # As it comes, a request cuts off the one before it.
        *("--interrupt_requests", "False"),
        *("--n_ctx", str(CONTEXT_TOKENS), "--n_threads", str(THREADS), "--n_threads_batch", str(THREADS)),
    )
    with _listening(command) as url:
        yield url


@contextmanager
def _llama_server(program: str) -> Iterator[str]:
    many = max(CLIENTS)
    command = (
        *(program, "-m", str(chat_model()), "-c", str(CONTEXT_TOKENS * many), "-np", str(many)),
        *("-t", str(THREADS), "-tb", str(THREADS), "--no-webui", "--offline"),
    )
    with _listening(command) as url:
        yield url


@contextmanager
def _listening(command: tuple[str, ...]) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = subprocess.DEVNULL
    # As for our worker: see `llm.orders`.
    with subprocess.Popen(
        (*command, "--host", "127.0.0.1", "--port", str(port)),
        stdout=quiet,
        stderr=quiet,
        env=os.environ | {"GOMP_SPINCOUNT": "1000"},
    ) as server:
        try:
            ends = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert server.poll() is None, f"{command[0]} ended"
                    assert time.monotonic() < ends, f"{command[0]} does not listen"
                    time.sleep(0.2)
            time.sleep(3)  # llama-server listens before it has loaded
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


def _peer_python() -> Path | None:
    python = ENVIRONMENT / "bin" / "python"
    if python.exists():
        return python
    try:
        subprocess.run((sys.executable, "-m", "venv", str(ENVIRONMENT)), check=True)
        subprocess.run((str(python), "-m", "pip", "install", "-q", PACKAGE), check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return python
