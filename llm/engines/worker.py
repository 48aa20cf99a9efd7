"""The model worker: a disposable child that hosts the engine on a Unix socket.

Started by `llm.engines.supervisor` as `python -m llm.engines.worker`, and told what to load as
`llm.engines.orders` says. The engine itself speaks the OpenAI wire format on the socket.

Its hard rule: with `llm.engines.devices` it is the only module that imports the engine.
"""

import os
import sys
from typing import Any

from llm.engines.devices import gpus, on_device
from llm.engines.orders import Listening, Refused, WorkerOrders, cores, received, until_told_to_stop
from llm.model_files.card import Kind

# Prompts kept in memory for their next turn, so that a conversation is not read
# anew with each question. The engine's own default is 8 GiB, which is a leak by
# another name on a home server.
PROMPT_CACHE_MIB = 256

_ENVIRONMENT = {
    # How often a thread looks whether the others are done before it sleeps, in the
    # engine's OpenMP. Its default of 300,000 ends in threads that spin on a core
    # which the others need, as soon as anything else runs on the machine. 2 cores,
    # 135M parameters, tok/s alone and beside one busy process at nice 19:
    # 300,000: 148, 12. 1,000: 155, 34. 300: 141, 62. 0: 47, 80.
    "GOMP_SPINCOUNT": "1000",
}


def main() -> None:
    """Serve until told to stop: exit code 0. Exit code 1 when the engine refuses the model."""
    orders, tell = received(_ENVIRONMENT)
    try:
        _engine, listening = _load(orders)  # the name keeps it alive
    except RuntimeError as error:
        tell(Refused(str(error), gpu=orders.gpu_layers != 0 and bool(gpus())))
        sys.exit(1)
    tell(listening)
    until_told_to_stop()


def _load(orders: WorkerOrders) -> tuple[Any, Listening]:
    """Load the model and answer on the socket, from threads of the engine's own."""
    import xllamacpp  # noqa: PLC0415  (libgomp reads the environment when it is loaded)

    # The engine hands what it cannot decode to `ffprobe`, as if it were a film, and that can
    # do far more with a stranger's bytes, and ask other hosts. Here it finds no programs at all.
    os.environ["PATH"] = os.devnull
    asked = xllamacpp.CommonParams()
    asked.model.path = orders.model_file
    asked.mmproj.path = orders.projector
    asked.mmproj_use_gpu = orders.gpu_layers != 0
    asked.model_alias = {orders.model_id}
    asked.hostnames = [orders.socket]
    asked.port = 0
    asked.api_keys = [orders.key]
    # The engine divides its context by its slots; each is promised the whole of ours.
    # A pool shared by all (`kv_unified`) would promise it to one at a time only.
    asked.n_ctx = orders.context_tokens * orders.parallel
    asked.n_parallel = orders.parallel
    asked.cache_ram_mib = PROMPT_CACHE_MIB if orders.kind is Kind.CHAT else 0
    # Between two batches, and only there, the engine looks whether somebody has left,
    # and writes the next word of its other answers. By default it reads four times as much at once.
    asked.n_batch = asked.n_ubatch = orders.batch_tokens
    asked.embedding = orders.kind is not Kind.CHAT
    if orders.kind is Kind.RERANK:  # it does not believe the file alone
        asked.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    asked.n_gpu_layers = orders.gpu_layers  # with -1 the engine itself measures what fits
    asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = orders.threads or cores()
    asked.verbosity = 1  # errors; anything above writes down the prompts
    asked.offline = True
    asked.cors_origins = ""
    asked.ui = asked.endpoint_slots = asked.endpoint_props = asked.endpoint_metrics = False
    server = xllamacpp.Server(asked)
    return server, Listening(f"xllamacpp {xllamacpp.__version__}", on_device(orders.gpu_layers, gpus()))


if __name__ == "__main__":
    main()
