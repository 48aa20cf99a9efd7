"""Chat through `/v1/chat/completions`, beside xllamacpp called in process

The same model file, prompt and settings, alternately. In process, xllamacpp
streams into a callback; through HTTP, a client reads the appliance's stream.
Tokens per second are those after the first token.
"""

import json
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import xllamacpp

from tests.places import chat_model
from tests.running import running

ROUNDS = 7
TOKENS = 200
CONTEXT_TOKENS, PARALLEL, THREADS = 4096, 2, 2


def body(round_: int, model: str) -> dict[str, object]:
    # Another first word in each round, so that no prompt is in the cache.
    text = f"{round_}. Explain in detail how a household stores drinking water safely for two weeks."
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": TOKENS,
        "ignore_eos": True,
        "stream": True,
    }


def run() -> Iterator[str]:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(chat_model())
    parameters.n_ctx, parameters.n_parallel = CONTEXT_TOKENS * PARALLEL, PARALLEL
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = THREADS
    parameters.verbosity, parameters.ui = 0, False
    with tempfile.TemporaryDirectory() as scratch:
        settings = f"[llm]\ncontext_tokens = {CONTEXT_TOKENS}\nparallel = {PARALLEL}\nthreads = {THREADS}\n"
        settings += "[llm.cache]\ncapacity_mib = 0\n"  # every answer is to be written
        with running(Path(scratch), settings=settings) as appliance:
            appliance.until(lambda: appliance.get("/status")[1]["documents"]["findable"] > 20, 180)
            raw_server = xllamacpp.Server(parameters)
            model = appliance.get("/status")[1]["model"]["id"]
            raw, through = [], []
            for round_ in range(-1, ROUNDS):
                pair = (
                    in_process(raw_server, body(round_, model)),
                    over_http(appliance.url, body(round_, model)),
                )
                if round_ >= 0:  # the first pair warms both
                    raw.append(pair[0])
                    through.append(pair[1])
    rate = median(t[1] / r[1] for t, r in zip(through, raw, strict=True))
    later_ms = median((t[0] - r[0]) * 1000 for t, r in zip(through, raw, strict=True))
    yield "| | in process | through /v1 | |"
    yield "|---|---|---|---|"
    yield (
        f"| tokens/s, median | {median(r[1] for r in raw):.1f} | {median(t[1] for t in through):.1f} "
        f"| ratio {rate:.3f} |"
    )
    yield (
        f"| time to first token, ms, median | {median(r[0] for r in raw) * 1000:.1f} "
        f"| {median(t[0] for t in through) * 1000:.1f} | {later_ms:+.1f} ms |"
    )
    yield f"\n{TOKENS} tokens, {ROUNDS} pairs, taken in turn; ratios are medians over the pairs."


def in_process(server: xllamacpp.Server, request: dict[str, object]) -> tuple[float, float]:
    """(seconds to the first token, tokens per second after it)."""
    times: list[float] = []

    def note(chunk: object) -> None:
        text = chunk if isinstance(chunk, str) else json.dumps(chunk)
        times.extend(
            [time.perf_counter()] * text.count('"content": "')
            or [time.perf_counter()] * text.count('"content":"')
        )

    began = time.perf_counter()
    server.handle_chat_completions(json.dumps(request), note)
    return times[0] - began, (len(times) - 1) / (times[-1] - times[0])


def over_http(url: str, request: dict[str, object]) -> tuple[float, float]:
    """The same, read from a bare socket: a client library's own work is not what is measured."""
    host, port = urlsplit(url).netloc.split(":")
    body = json.dumps(request).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    times: list[float] = []
    tail = b""
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        began = time.perf_counter()
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        while received := connection.recv(65536):
            assert b" 400 " not in received[:20], received
            times += [time.perf_counter()] * received.count(b'"content":"')
            tail = (tail + received)[-32:]
            if b"[DONE]" in tail:
                break
    return times[0] - began, (len(times) - 1) / (times[-1] - times[0])
