"""A completion that was streamed and put together is what the engine tells whole."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llm.engines.supervisor import ModelSettings, Supervisor
from tests.places import chat_model

pytestmark = pytest.mark.models

ASKED = [{"role": "user", "content": "Name three trees."}]
CALLABLE = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}
CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one token": {"max_tokens": 1},
    "stopped": {"stop": ["a", "e", "i"]},
    "log probabilities": {"logprobs": True, "top_logprobs": 2},
    "a schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
            },
        }
    },
    "a call": {"tools": [CALLABLE], "tool_choice": "required", "max_tokens": 60},
    "many letters": {"messages": [{"role": "user", "content": "Say: ñ 木 🌳 ø"}], "max_tokens": 40},
}
TEXTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "log probabilities": {"logprobs": 2},
    "nothing": {"max_tokens": 0},
}


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what no two answers share."""
    kept = {
        name: what for name, what in answer.items() if name not in {"id", "created", "timings", "__verbose"}
    }
    for choice in kept["choices"]:
        choice["logprobs"] = choice.get("logprobs")
        for call in choice.get("message", {}).get("tool_calls") or ():
            call["id"] = bool(call["id"])
    return kept


async def loaded(folder: Path) -> Supervisor:
    supervisor = Supervisor(chat_model(), folder / "run", ModelSettings(context_tokens=1024, parallel=1))
    await supervisor.start()
    await supervisor.settled.wait()
    return supervisor


def test_it_is_the_same(tmp_path: Path) -> None:
    async def scene() -> None:
        supervisor = await loaded(tmp_path)
        engine = supervisor.engine()
        try:
            for path, write, base, cases in (
                ("/v1/chat/completions", engine.chat, {"messages": ASKED}, CHATS),
                ("/v1/completions", engine.complete, {"prompt": "Trees are"}, TEXTS),
            ):
                for name, case in cases.items():
                    body = (
                        {"temperature": 0, "seed": 1, "max_tokens": 16, "cache_prompt": False} | base | case
                    )
                    whole = msgspec.json.decode(await engine._post(path, body | {"stream": False}))
                    gathered = await write(body)
                    assert told(gathered) == told(whole), name
                    assert gathered.keys() >= {"id", "created", "timings", "usage"}
        finally:
            await supervisor.stop()

    asyncio.run(scene())


def test_a_whole_answer_that_nobody_waits_for_gives_its_slot_back(tmp_path: Path) -> None:
    """The engine has one: a short answer comes long before the abandoned one could have ended."""

    async def scene() -> None:
        supervisor = await loaded(tmp_path)
        engine = supervisor.engine()
        long = {"messages": ASKED, "max_tokens": 500, "temperature": 0, "ignore_eos": True}
        short = {"messages": ASKED, "max_tokens": 2, "temperature": 0}
        try:
            began = time.monotonic()
            await engine.chat(long)
            its_time = time.monotonic() - began
            await engine.chat(short)
            for _ in range(3):
                abandoned = asyncio.create_task(engine.chat(long))
                await asyncio.sleep(its_time / 10)
                abandoned.cancel()
                with suppress(asyncio.CancelledError):
                    await abandoned
                began = time.monotonic()
                await engine.chat(short)
                assert time.monotonic() - began < its_time / 4
        finally:
            await supervisor.stop()

    asyncio.run(scene())
