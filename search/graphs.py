"""Graphs: models in ONNX, opened by ONNX Runtime.

The only module that imports the runtime. Its hard rules: it is imported when a
graph is opened and not before, and it is silenced before that.
"""

import os
from pathlib import Path
from typing import Any


def open_graph(path: Path, *, threads: int, frugal: bool) -> Any:
    """An `InferenceSession` on the CPU. Raises what the runtime raises, a dozen classes of its own.

    `frugal` gives memory back after every call, which costs an eighth of the
    speed: right for a process that runs a graph now and then.
    """
    # Before the import: that alone writes a device id and a queue of events
    # into the user's home, and the call below comes too late to prevent it.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415 - the hard rules above

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena keeps the memory of the largest batch ever seen for ever.
    options.enable_cpu_mem_arena = not frugal
    if frugal:
        # Between queries nobody needs threads that wait by turning in circles.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
