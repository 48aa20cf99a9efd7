"""Footprints: what a model will take, and what there is."""

from pathlib import Path

import msgspec
import pytest

from llm.model_files.card import Cache, Kind, ModelCard, inspect
from llm.model_files.footprint import Fit, Footprint, Slots, footprint, verdict
from llm.model_files.free_memory import free_memory
from tests.llm.minilm_gguf import write_embedder
from tests.places import chat_model, embedding_model

MIB, GIB = 2**20, 2**30

EIGHT = ModelCard(
    kind=Kind.CHAT,
    architecture="llama",
    name="Eight",
    licence="",
    context_tokens=131_072,
    template=True,
    quantisation="Q4_K_M",
    parameters=8_030_000_000,
    tensors=291,
    vocabulary=128_256,
    width=4096,
    cache=Cache(whole=32 * 8 * (128 + 128) * 2),
    size_bytes=4_920_000_000,
)


def test_the_cache_grows_with_context_and_slots():
    one = footprint(EIGHT, Slots(context_tokens=8192, parallel=1))
    assert one.cache == GIB  # 128 KiB a token, as everybody says of this model
    assert footprint(EIGHT, Slots(context_tokens=8192, parallel=4)).cache == 4 * GIB
    assert footprint(EIGHT, Slots(context_tokens=16384, parallel=1)).cache == 2 * GIB
    assert footprint(EIGHT, Slots(8192, 1, prompt_cache_bytes=MIB)).cache == GIB + MIB
    assert one.weights == EIGHT.size_bytes
    assert 100 * MIB < one.working < 500 * MIB


def test_a_slot_is_never_longer_than_the_model_was_trained_for():
    short = msgspec.structs.replace(EIGHT, context_tokens=2048)
    assert footprint(short, Slots(32_768, 1)) == footprint(short, Slots(2048, 1))


def test_layers_with_a_window_stop_growing():
    windowed = msgspec.structs.replace(EIGHT, cache=Cache(whole=0, windowed=1000, window=512))
    assert footprint(windowed, Slots(1024, 1)).cache == 1024 * 1000
    assert footprint(windowed, Slots(65_536, 1)).cache == 1024 * 1000


@pytest.mark.parametrize(
    ("free", "fit"),
    [(2000, Fit.GO), (1251, Fit.GO), (1249, Fit.TIGHT), (1000, Fit.TIGHT), (999, Fit.NO), (0, Fit.NO)],
)
def test_the_verdict_is_given_in_words(free, fit):
    told = verdict(Footprint(weights=600 * MIB, cache=300 * MIB, working=100 * MIB), free * MIB)
    assert told.fit is fit
    assert "about 1,000 MiB (600 MiB of weights, 300 MiB of context, 100 MiB to work in)" in told.says
    assert f"{free:,} MiB are free" in told.says
    assert told.says.endswith(".")


def test_where_the_machine_does_not_tell_only_the_need_is_said():
    told = verdict(Footprint(weights=20 * GIB, cache=0, working=0), None)
    assert (told.fit, told.free_bytes) == (Fit.GO, None)
    assert "20.0 GiB" in told.says


@pytest.mark.models
def test_the_starter_model_needs_what_was_measured():
    """docs/experiments.md: 535 MiB resident with two full slots of 8,192."""
    needs = footprint(inspect(chat_model()), Slots(context_tokens=8192, parallel=2)).total
    assert 535 * MIB < needs < 1.15 * 535 * MIB


@pytest.mark.models
def test_one_that_makes_vectors_needs_what_was_measured(tmp_path):
    """docs/decisions/0027: 154 MiB resident with whole texts of 512 in hand, 366 of 2,048."""
    card = inspect(write_embedder(tmp_path / "reads.gguf", embedding_model()))
    assert card.in_one_piece
    needs = footprint(card, Slots(4096, 2, prompt_cache_bytes=GIB))  # which is for chats
    assert needs.cache == 0
    assert 154 * MIB < needs.total < 1.2 * 154 * MIB
    longer = footprint(msgspec.structs.replace(card, context_tokens=2048), Slots(4096, 2))
    assert 366 * MIB < longer.total < 1.2 * 366 * MIB


def test_a_chat_models_architecture_that_makes_vectors_needs_more_than_chatting():
    vectors = msgspec.structs.replace(EIGHT, kind=Kind.EMBEDDING)
    more = footprint(vectors, Slots(4096, 2)).working - footprint(EIGHT, Slots(4096, 2)).working
    assert more == 2 * 4 * 512 * EIGHT.vocabulary
    whole = footprint(msgspec.structs.replace(vectors, in_one_piece=True), Slots(4096, 2))
    assert whole.working > 7 * footprint(vectors, Slots(4096, 2)).working


# --- what is free ---------------------------------------------------------------------------------


def put(root: Path, path: str, content: object) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(f"{content}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, "proc/meminfo", "MemTotal: 8192 kB\nMemFree: 10 kB\nMemAvailable:    4096 kB")
    return tmp_path


def test_without_groups_it_is_what_the_kernel_could_give(root):
    assert free_memory(root) == 4 * MIB


def test_a_container_allows_less(root):
    put(root, "proc/self/cgroup", "0::/")
    put(root, "sys/fs/cgroup/memory.max", 3 * MIB)
    put(root, "sys/fs/cgroup/memory.current", 2 * MIB)
    assert free_memory(root) == MIB
    put(root, "sys/fs/cgroup/memory.stat", f"anon 5\ninactive_file {MIB // 2}")
    assert free_memory(root) == MIB + MIB // 2


def test_a_group_above_binds_too(root):
    put(root, "proc/self/cgroup", "0::/system.slice/almanac.service")
    put(root, "sys/fs/cgroup/system.slice/almanac.service/memory.max", "max")
    put(root, "sys/fs/cgroup/system.slice/almanac.service/memory.current", 5)
    put(root, "sys/fs/cgroup/system.slice/memory.max", 2 * MIB)
    put(root, "sys/fs/cgroup/system.slice/memory.current", MIB)
    assert free_memory(root) == MIB


def test_the_older_groups_are_understood(root):
    put(root, "proc/self/cgroup", "8:pids:/\n4:memory:/docker/abc\n0::/")
    put(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", MIB)
    put(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", 2 * MIB)
    assert free_memory(root) == 0


def test_a_group_without_a_limit_and_one_that_is_not_there_bind_nothing(root):
    put(root, "proc/self/cgroup", "0::/../gone")
    assert free_memory(root) == 4 * MIB
    put(root, "sys/fs/cgroup/memory.max", "max")
    assert free_memory(root) == 4 * MIB


def test_no_linux_tells_nothing(tmp_path):
    assert free_memory(tmp_path) is None


def test_this_machine_tells_something():
    assert (free_memory() or 0) > 0
