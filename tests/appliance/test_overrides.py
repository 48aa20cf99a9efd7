"""Single models with settings of their own, from the configuration to the slots of the real engine."""

import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.config import LlmConfig, ModelOverride, load_config
from library.errors import ConfigurationError
from tests.places import chat_model
from tests.running import Appliance, running
from tests.web.busy import streaming

SETTINGS = """
[llm]
parallel = 2
context_tokens = 1024
loaded_at_once = 2
[[llm.overrides]]
name = "own"
parallel = 3
context_tokens = 512
"""


def test_what_an_override_leaves_out_is_as_for_all() -> None:
    llm = LlmConfig(parallel=4, threads=2, overrides=(ModelOverride("big", parallel=1, gpu_layers=0),))
    own = llm.of("big")
    assert (own.parallel, own.threads, own.gpu_layers, own.context_tokens) == (1, 2, 0, 4096)
    assert llm.of("other") == llm
    assert llm.uses_gpu
    assert not LlmConfig(gpu_layers=0, overrides=(ModelOverride("big", parallel=1),)).uses_gpu
    assert LlmConfig(gpu_layers=0, overrides=(ModelOverride("big", gpu_layers="auto"),)).uses_gpu


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('name = "a"\n[[llm.overrides]]\nname = "a"\n', "llm.overrides[1].name"),
        ('name = "a"\nparallel = 0\n', "llm.overrides[0].parallel"),
        ('name = "a"\nmodel = "b"\n', "llm.overrides[0].model"),
        ('name = "almanac"\n', "llm.overrides[0].name"),
        ("parallel = 1\n", "llm.overrides[0]"),
    ],
)
def test_an_override_that_cannot_be_stops_the_start(tmp_path: Path, table: str, says: str) -> None:
    file = tmp_path / "almanac.toml"
    file.write_text(f"[[llm.overrides]]\n{table}")
    with pytest.raises(ConfigurationError) as refused:
        load_config(file)
    assert says in str(refused.value)


@pytest.mark.models
def test_each_model_has_its_own_slots_and_context(tmp_path: Path) -> None:
    chat = tmp_path / "models" / "chat"
    chat.mkdir(parents=True)
    for name in ("common", "own"):
        shutil.copy(chat_model(), chat / f"{name}.gguf")
    with running(tmp_path, settings=SETTINGS, models=tmp_path / "models", ready=False) as house:
        assert slots_and_limit(house, "common") == (2, 1024)
        assert slots_and_limit(house, "own") == (3, 512)
        common, own = (
            house.get(f"/api/models/{name}")[1]["memory"]["needs_bytes"] for name in ("common", "own")
        )
        assert own < common


def slots_and_limit(house: Appliance, name: str) -> tuple[int, int]:
    """How many answers of a model are written at once, and the context that a prompt too long is told of."""
    asked = {"model": name, "messages": [{"role": "user", "content": "word " * 3000}]}
    status, answer = house.post("/v1/chat/completions", asked)
    assert status == 400
    limit = re.search(r"the model's context (\d+)", answer["error"]["message"])
    assert limit
    endless = {"stream": True, "max_tokens": 300, "ignore_eos": True}
    asked["messages"] = [{"role": "user", "content": "Count."}]
    with ExitStack() as opened:
        for n in range(5):
            opened.enter_context(streaming(house, asked | endless | {"seed": n}))

        def all_are_there() -> dict[str, int] | None:
            (model,) = [one for one in house.get("/status")[1]["models"] if one["id"] == name]
            queue: dict[str, int] = model["queue"]
            return queue if queue["running"] + queue["waiting"] == 5 else None

        return int(house.until(all_are_there, 20)["running"]), int(limit[1])
