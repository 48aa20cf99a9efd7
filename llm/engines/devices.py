"""Devices: what the engine could compute on besides the processor.

Imports the engine, so it is asked in a process of its own
(`python -m llm.engines.devices`) by everybody but the model worker: a broken driver ends that one only.
"""

import subprocess
import sys
from pathlib import Path

import msgspec

_TIMEOUT_S = 20
# Without one of these there is no GPU that any build of the engine could use.
_NODES = ("nvidia0", "nvidiactl", "kfd", "dri/renderD128")


class Gpu(msgspec.Struct, frozen=True):
    name: str  # as the engine calls it: CUDA0, Vulkan0
    description: str
    free_bytes: int
    total_bytes: int


def gpus() -> list[Gpu]:
    """Those that this build of the engine can use, in this process."""
    import xllamacpp  # noqa: PLC0415

    kinds = xllamacpp.ggml_backend_dev_type
    of_interest = {kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU}
    return [
        Gpu(told["name"], told["description"], told["memory_free"], told["memory_total"])
        for told in xllamacpp.get_device_info()
        if told["type"] in of_interest
    ]


def gpus_found(*, nodes: Path = Path("/dev")) -> list[Gpu]:
    """The same, asked in a process of its own; none where the machine has no node of a GPU.

    Takes some tenths of a second where it has one.
    """
    if not gpu_nodes(nodes):
        return []
    try:
        asked = subprocess.run(
            (sys.executable, "-m", "llm.engines.devices"),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
        return msgspec.json.decode(asked.stdout, type=list[Gpu])
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return []


def gpu_nodes(nodes: Path = Path("/dev")) -> list[str]:
    """The names of what the kernel offers of a GPU, used or not."""
    return [name for name in _NODES if (nodes / name).exists()]


def on_device(gpu_layers: int, found: list[Gpu]) -> str:
    """What a model that was loaded so computes on, in words."""
    if gpu_layers == 0 or not found:
        return "CPU"
    named = ", ".join(f"{gpu.description or gpu.name}" for gpu in found)
    return f"{named}, {'as many layers as fit' if gpu_layers < 0 else f'{gpu_layers} layers'}"


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(gpus()))
