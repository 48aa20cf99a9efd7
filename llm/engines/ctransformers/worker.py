"""The ctransformers worker: a disposable child that hosts the second engine on a Unix socket.

Started by `llm.engines.supervisor` as `python -m llm.engines.ctransformers.worker`, and told
what to load as `llm.engines.orders` says. ctransformers brings no server: this one is
`llm.engines.ctransformers.wire` on uvicorn, in a thread beside the one that waits for
the end.

Its hard rule: it is the only module that imports the engine, and gives it no
file that `llm.engines.ctransformers.preflight` does not let through.
"""

import asyncio
import os
import socket
import sys
import threading
from ctypes import c_int
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import uvicorn

from library.errors import ModelFileInvalid
from llm.engines.ctransformers.preflight import available, inspect_for_ctransformers
from llm.engines.ctransformers.wire import Wire
from llm.engines.ctransformers.writer import Writer
from llm.engines.orders import Listening, Refused, WorkerOrders, cores, received, until_told_to_stop
from llm.model_files.card import CTRANSFORMERS
from llm.model_files.chat_template import ChatTemplate, TemplateRefused
from llm.model_files.vocabulary import Vocabulary


def main() -> None:
    """Serve until told to stop: exit code 0. Exit code 1 when the engine refuses the model."""
    orders, tell = received({})
    try:
        wire = _load(orders)
    except (ModelFileInvalid, TemplateRefused, RuntimeError, OSError, ValueError) as error:
        print(f"error loading model: {error}", file=sys.stderr, flush=True)
        tell(Refused(str(error)))
        sys.exit(1)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(orders.socket)
    listening.listen(128)
    threading.Thread(target=_serve, args=(wire, listening), name="serving", daemon=True).start()
    tell(Listening(f"{CTRANSFORMERS} {version(CTRANSFORMERS)}"))
    until_told_to_stop()


def _serve(wire: Wire, listening: socket.socket) -> NoReturn:
    """In a thread of its own, where uvicorn leaves signals alone. It ends with the process, or ends it."""
    settings = uvicorn.Config(
        wire, loop="asyncio", http="h11", ws="none", lifespan="off",
        log_config=None, access_log=False, server_header=False, date_header=False,
    )  # fmt: skip
    try:
        asyncio.run(uvicorn.Server(settings).serve(sockets=[listening]))
    finally:
        os._exit(1)


def _load(orders: WorkerOrders) -> Wire:
    if why := available():
        raise RuntimeError(why)
    contents = inspect_for_ctransformers(Path(orders.model_file))
    from ctransformers.llm import LLM, Config  # noqa: PLC0415 - only once a file may be given to it

    # Its threads spin while they wait for each other: with as many as there are cores,
    # anything else that runs makes it many times slower. See docs/experiments.md.
    threads = orders.threads or max(1, cores() - 1)
    config = Config(context_length=orders.context_tokens, threads=threads)
    model: Any = LLM(orders.model_file, "gguf", config=config, lib=_library())
    vocabulary = Vocabulary(contents, lambda text: _sentence_pieces(model, text))
    template = ChatTemplate(
        contents.text("tokenizer.chat_template"), bos=vocabulary.opening_text, eos=vocabulary.closing_text
    )
    writer = Writer(model, vocabulary, context_tokens=orders.context_tokens, threads=threads)
    return Wire(writer, vocabulary, template, model_id=orders.model_id, key=orders.key)


def _sentence_pieces(model: Any, text: str) -> list[int]:
    """With room for a token a byte: the library's own call has it for one a letter, and writes beyond it."""
    encoded = text.encode("utf-8", "replace")
    found = (c_int * (len(encoded) + 2))()
    count = model.ctransformers_llm_tokenize(encoded, False, found)
    return list(found[:count])


def _library() -> str | None:
    """Which of its builds this processor runs. It would find out by starting programs; None lets it."""
    try:
        described = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    flags = next((set(line.split()) for line in described.splitlines() if line.startswith("flags")), set())
    if not flags:
        return None
    if {"avx2", "fma", "f16c"} <= flags:
        return "avx2"
    return "avx" if {"avx", "f16c"} <= flags else "basic"


if __name__ == "__main__":
    main()
