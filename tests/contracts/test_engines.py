"""Every engine keeps the same promises: the default, ctransformers, and a server by URL."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from library.errors import InvalidRequest, ModelFailed, ModelUnavailable
from llm.engines.engine import Engine
from llm.engines.model_state import ModelState
from llm.serving.served import Host
from tests.contracts.engines import ENGINES, Standing, kept, standing

pytestmark = pytest.mark.models

WATER = [{"role": "user", "content": "What is water?"}]
BRIEF = {"messages": WATER, "max_tokens": 12, "temperature": 0}
# Many seconds of writing for the engine, unless it is told that nobody reads.
ENDLESS = {"messages": WATER, "max_tokens": 900, "temperature": 0, "ignore_eos": True}
SOON_S = 10


@pytest.fixture(params=ENGINES, scope="module")
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """An engine that all tests ask, one after another, as a house does."""
    with standing(request.param, tmp_path_factory.mktemp("engine")) as one:
        yield one


async def chunks_of(engine: Engine, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with aclosing(engine.stream(body)) as payloads:
        return [json.loads(payload) async for payload in payloads]


def text_in(chunks: list[dict[str, Any]]) -> str:
    deltas = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta or "" for delta in deltas)


def said(whole: dict[str, Any]) -> str:
    return whole["choices"][0]["message"]["content"]


async def answers(host: Host) -> bool:
    try:
        return bool(said(await host.engine().chat(BRIEF)))
    except (ModelUnavailable, ModelFailed):
        return False


def test_an_answer_is_the_same_whole_and_streamed(one: Standing) -> None:
    async def scene() -> None:
        asked = one.host.engine()
        whole = await asked.chat(BRIEF)
        assert whole["object"] == "chat.completion"
        assert whole["choices"][0]["message"]["role"] == "assistant"
        chunks = await chunks_of(asked, BRIEF)
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert len({chunk["id"] for chunk in chunks}) == 1
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert text_in(chunks) == said(whole) != ""
        ends = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
        assert [end for end in ends if end] == [whole["choices"][0]["finish_reason"]]
        assert await asked.healthy()

    one.run(scene())


def test_usage_adds_up(one: Standing) -> None:
    async def scene() -> None:
        asked = one.host.engine()
        usage = (await asked.chat(BRIEF))["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["prompt_tokens"] == await asked.count_tokens(WATER)
        without = await chunks_of(asked, BRIEF)
        assert not any(chunk.get("usage") for chunk in without)
        *_, last = await chunks_of(asked, BRIEF | {"stream_options": {"include_usage": True}})
        assert last["choices"] == []
        told = last["usage"]
        assert (told["prompt_tokens"], told["completion_tokens"]) == (
            usage["prompt_tokens"],
            usage["completion_tokens"],
        )
        # The conversation was read before: its beginning is remembered.
        assert 0 < told["prompt_tokens_details"]["cached_tokens"] < told["prompt_tokens"]

    one.run(scene())


def test_an_answer_ends_where_it_should(one: Standing) -> None:
    async def scene() -> None:
        asked = one.host.engine()
        short = await asked.chat(BRIEF | {"max_tokens": 5})
        assert short["choices"][0]["finish_reason"] == "length"
        assert short["usage"]["completion_tokens"] == 5
        whole = said(await asked.chat(BRIEF))
        words = whole.split()
        stop = f"{words[3]} {words[4]}"  # several tokens: its beginning must be held back
        for stops in (stop, ["never said", stop]):
            stopped = await asked.chat(BRIEF | {"stop": stops})
            assert stopped["choices"][0]["finish_reason"] == "stop"
            assert said(stopped) == whole[: whole.index(stop)]
            assert text_in(await chunks_of(asked, BRIEF | {"stop": stops})) == said(stopped)

    one.run(scene())


def test_a_request_can_be_repeated(one: Standing) -> None:
    async def scene() -> None:
        asked = one.host.engine()
        answers = {said(await asked.chat(BRIEF | {"seed": seed})) for seed in (1, 1, 2)}
        assert len(answers) == 1
        free = BRIEF | {"temperature": 2, "top_k": 0, "top_p": 1, "max_tokens": 20}
        assert len({said(await asked.chat(free | {"seed": seed})) for seed in range(4)}) > 1

    one.run(scene())


def test_a_bare_prompt_is_gone_on_with(one: Standing) -> None:
    async def scene() -> None:
        asked = one.host.engine()
        body = {"prompt": "Water is", "max_tokens": 4, "temperature": 0}
        whole = await asked.complete(body)
        async with aclosing(asked.text_batches(body)) as batches:
            chunks = [json.loads(payload) async for batch in batches for payload in batch]
        text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
        assert text == whole["choices"][0]["text"] != ""

    one.run(scene())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_prompt_past_the_context_is_the_requests_fault(engine: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with kept(engine, tmp_path, context_tokens=256) as one:
            asked = one.host.engine()
            long = {"messages": [{"role": "user", "content": "water " * 300}]}
            for attempt in (asked.chat(long), anext(asked.stream(long))):
                with pytest.raises(
                    InvalidRequest, match=r"hold 3\d\d tokens and the model's context 256"
                ) as caught:
                    await attempt
                assert caught.value.parameter == "messages"
            with pytest.raises(InvalidRequest, match="context 256") as caught:
                await asked.complete({"prompt": "water " * 300})
            assert caught.value.parameter == "prompt"
            full = await asked.chat({"messages": WATER, "temperature": 0, "ignore_eos": True})
            assert full["choices"][0]["finish_reason"] == "length"
            assert full["usage"]["total_tokens"] <= 256

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"messages": "water"}, "messages"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "wizard"}}}},
            "response_format",
        ),
    ],
)
def test_what_an_engine_will_not_take_is_named(one: Standing, wrong: dict[str, Any], named: str) -> None:
    async def scene() -> None:
        for attempt in (
            one.host.engine().chat(BRIEF | wrong),
            anext(one.host.engine().stream(BRIEF | wrong)),
        ):
            with pytest.raises(InvalidRequest) as caught:
                await attempt
            assert caught.value.parameter == named
        assert said(await one.host.engine().chat(BRIEF))

    one.run(scene())


def test_whoever_leaves_frees_the_engine(one: Standing) -> None:
    async def scene() -> None:
        asked = one.host.engine()
        for _ in range(3):
            async with (
                aclosing(asked.stream(ENDLESS)) as first,
                aclosing(asked.stream(ENDLESS)) as second,
            ):
                await anext(first)
                waiting = asyncio.create_task(anext(second))
                await asyncio.sleep(0.1)
                waiting.cancel()
                await asyncio.wait({waiting})
            whole = asyncio.create_task(asked.chat(ENDLESS))
            await asyncio.sleep(0.3)
            whole.cancel()
            with pytest.raises(asyncio.CancelledError):
                await whole
            async with asyncio.timeout(SOON_S):
                assert said(await asked.chat(BRIEF))

    one.run(scene())


def test_more_requests_than_slots_all_get_their_own_answer(one: Standing) -> None:
    async def scene() -> None:
        asked = one.host.engine()
        bodies = [BRIEF | {"messages": [{"role": "user", "content": text}]} for text in ("Hello.", "2 + 2?")]
        alone = [said(await asked.chat(body)) for body in bodies]
        together = await asyncio.gather(*(chunks_of(asked, body) for body in bodies * 3))
        assert [text_in(chunks) for chunks in together] == alone * 3

    one.run(scene())


def test_a_wrong_key_is_refused(one: Standing) -> None:
    async def scene() -> None:
        asked = one.host.engine()
        headers = asked._client.headers
        right, headers["authorization"] = headers["authorization"], "Bearer wrong"
        try:
            with pytest.raises(ModelUnavailable, match="key"):
                await asked.chat(BRIEF)
        finally:
            headers["authorization"] = right

    one.run(scene())


def test_an_engine_that_is_killed_is_back_by_itself(one: Standing) -> None:
    async def scene() -> None:
        async with aclosing(one.host.engine().stream(ENDLESS)) as payloads:
            await anext(payloads)
            await one.kill()
            with pytest.raises(ModelFailed, match="stopped while it was answering"):
                async for _ in payloads:
                    pass
        ends = time.monotonic() + 30
        while not await answers(one.host):
            assert time.monotonic() < ends
            await asyncio.sleep(0.05)
        assert one.host.state is ModelState.READY

    one.run(scene())
