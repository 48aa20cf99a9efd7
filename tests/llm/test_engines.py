"""Which engine a file goes to, and what is said where that engine cannot have it."""

import asyncio
from pathlib import Path

import pytest

from library.errors import ModelFileInvalid, ModelUnavailable
from llm.engines import choice
from llm.engines.choice import CTRANSFORMERS, XLLAMACPP, worker_of
from llm.engines.ctransformers.convert import convert
from llm.engines.supervisor import ModelSettings, Supervisor
from llm.model_files.card import inspect
from llm.model_files.digests import Digests
from llm.model_files.footprint import Slots, footprint
from llm.model_files.registry import Registry
from tests.contracts.engines import kept
from tests.llm.gguf_files import said
from tests.llm.tiny_llama import BYTE_LEVEL, tiny_llama

NOT_THERE = (
    "The engine ctransformers is not installed. Install it with `pip install 'almanac[ctransformers]'`."
)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    file = tmp_path / "b.gguf"
    file.write_bytes(tiny_llama(BYTE_LEVEL))
    return file


@pytest.fixture
def converted(published: Path) -> Path:
    file = published.with_name("a.gguf")
    convert(published, file)
    return file


def failed(file: Path, folder: Path) -> str:
    """Why a supervisor gives this file up."""
    reasons: list[str] = []

    async def run() -> None:
        supervisor = Supervisor(file, folder / "run", ModelSettings())
        await supervisor.start()
        await supervisor.settled.wait()
        reasons.append(f"{supervisor.state}: {supervisor.reason}")
        await supervisor.stop()

    asyncio.run(run())
    return reasons[0]


def test_a_file_goes_to_the_engine_that_it_was_written_for(
    published: Path, converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "available", lambda: None)
    assert worker_of(inspect(published), published) == XLLAMACPP
    assert worker_of(inspect(converted), converted) == CTRANSFORMERS
    monkeypatch.setattr(choice, "available", lambda: NOT_THERE)
    assert worker_of(inspect(published), published) == XLLAMACPP
    with pytest.raises(ModelUnavailable, match="pip install"):
        worker_of(inspect(converted), converted)


def test_where_the_engine_is_not_installed_that_is_said_once_and_for_all(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "available", lambda: NOT_THERE)
    assert failed(converted, tmp_path) == f"failed: {NOT_THERE}"


def test_a_file_that_only_says_that_it_was_written_for_it_never_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "available", lambda: None)
    file = tmp_path / "a.gguf"
    file.write_bytes(
        tiny_llama(BYTE_LEVEL, lambda keys, _: keys.update(engine=said("almanac.engine", "ctransformers")))
    )
    with pytest.raises(ModelFileInvalid, match="byte-level"):
        worker_of(inspect(file), file)
    assert failed(file, tmp_path).startswith("failed: ctransformers cannot run a.gguf")


def test_an_engine_that_nobody_knows_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(tiny_llama(change=lambda keys, _: keys.update(engine=said("almanac.engine", "rm -rf"))))
    assert inspect(file).engine is None


def test_it_is_never_the_one_that_is_chosen_unasked(published: Path, converted: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path, Digests(tmp_path / "digests.json"))
    registry.look()
    assert [model.file for model in registry.files()] == [converted, published]
    assert [model.file for model in registry.chat_models()] == [published, converted]


def test_it_remembers_one_prompt_whatever_the_slots(converted: Path, published: Path) -> None:
    many = Slots(context_tokens=256, parallel=4, prompt_cache_bytes=2**28)
    assert footprint(inspect(converted), many).cache == footprint(inspect(published), Slots(256, 1)).cache


def most_taken(pid: int | None) -> int:
    """The most memory that a process ever had, in bytes."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.models
def test_the_estimate_is_what_it_takes_in_the_end(tmp_path: Path) -> None:
    """From above, and by little: a house with little memory must be able to rely on it."""

    async def scene() -> None:
        async with kept("ctransformers", tmp_path, context_tokens=1024) as one:
            full = {"messages": [{"role": "user", "content": "water " * 900}], "max_tokens": 20}
            await one.host.engine().chat(full | {"ignore_eos": True, "temperature": 0})
            assert one.host.model_file is not None
            taken = most_taken(one.host.pid)
            estimate = footprint(inspect(one.host.model_file), Slots(1024, 2)).total
            assert taken < estimate < 1.25 * taken

    asyncio.run(scene())
