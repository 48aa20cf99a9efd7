"""The answerer, where the real model cannot be made to do on demand what is asked here: it repeats itself."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

from llm.answering.answer import Answerer, Question
from llm.events import Done
from tests.llm.passages import passage


class RepeatingEngine:
    model_id, context_tokens = "parrot", 4096

    def __init__(self) -> None:
        self.left = False

    async def count_tokens(self, messages: list[dict[str, Any]]) -> int:
        return 10 * len(messages)

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                for word in ("Boil ", "the ", "water ", "for ", "one ", "minute. "):
                    yield json.dumps({"choices": [{"delta": {"content": word}}]}).encode()
        finally:
            self.left = True


class Model:
    to_be_awaited = being_loaded = False

    def __init__(self, engine: RepeatingEngine) -> None:
        self._engine = engine

    def engine(self) -> RepeatingEngine:
        return self._engine

    async def engine_back(self) -> RepeatingEngine:
        return self._engine

    @contextmanager
    def place(self, _: object) -> Iterator[SimpleNamespace]:
        async def positions() -> AsyncGenerator[int, None]:
            return
            yield

        yield SimpleNamespace(positions=positions)


def test_an_answer_that_is_ended_because_it_repeats_itself_has_its_usage_all_the_same() -> None:
    engine = RepeatingEngine()
    found = SimpleNamespace(passages=(passage("Boil the water for one minute."),), degraded=())
    answerer = Answerer(
        SimpleNamespace(search=lambda *_, **__: found),  # type: ignore[arg-type]
        SimpleNamespace(default=Model(engine), stopping=False),  # type: ignore[arg-type]
        SimpleNamespace(foreground=nullcontext),  # type: ignore[arg-type]
        passages=4,
        max_answer_tokens=400,
    )

    async def ask() -> list[object]:
        return [event async for event in answerer.answer(Question(text="How long must I boil water?"))]

    done = asyncio.run(ask())[-1]
    assert isinstance(done, Done)
    assert engine.left
    # Two messages of ten tokens; the sentence, and what was written of it again before that was seen.
    assert done.usage.prompt_tokens == 20
    assert 12 <= done.usage.completion_tokens <= 13
    assert done.finish_reason == "stop"
