"""What the engine could compute on: looked for only where the kernel has a node of a GPU."""

import subprocess
import time
from types import SimpleNamespace

import pytest

from llm.engines import devices
from llm.engines.devices import Gpu, gpu_nodes, gpus, gpus_found, on_device


def test_without_a_node_no_process_is_started(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("asked"))
    assert gpus_found(nodes=tmp_path) == []


def test_with_one_the_engine_is_asked_in_a_process_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "nvidia0").touch()
    (tmp_path / "dri").mkdir()
    (tmp_path / "dri" / "renderD128").touch()
    assert gpu_nodes(tmp_path) == ["nvidia0", "dri/renderD128"]
    assert gpus_found(nodes=tmp_path) == gpus()  # the real engine, which says what it finds here
    told = b'[{"name": "CUDA0", "description": "A GPU", "free_bytes": 5, "total_bytes": 9}]'
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=told))
    assert gpus_found(nodes=tmp_path) == [Gpu("CUDA0", "A GPU", 5, 9)]


@pytest.mark.parametrize("command", [("sleep", "30"), ("false",), ("echo", "nonsense"), ("/nonexistent",)])
def test_a_driver_that_hangs_or_breaks_is_none(tmp_path, monkeypatch, command):
    (tmp_path / "kfd").touch()
    run = subprocess.run
    monkeypatch.setattr(devices, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(subprocess, "run", lambda _, **how: run(command, **how))
    began = time.monotonic()
    assert gpus_found(nodes=tmp_path) == []
    assert time.monotonic() - began < 10


def test_what_a_model_computes_on_is_said_in_words():
    gpu = Gpu("CUDA0", "NVIDIA H200", 1, 2)
    assert on_device(-1, []) == on_device(0, [gpu]) == "CPU"
    assert on_device(-1, [gpu]) == "NVIDIA H200, as many layers as fit"
    assert on_device(12, [gpu, gpu]) == "NVIDIA H200, NVIDIA H200, 12 layers"
