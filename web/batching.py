"""Batching: long work done batch by batch, for clients who can wait.

Its hard rule: one batch is computed at a time, whoever asks; clients take turns
batch by batch, and after its first each batch lets searches and answers go
before. So thousands of texts from one client delay another's search by one
batch at most. What a model of the house computes in its own process takes its
turns in that model's line, each batch one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from llm.serving.queue import Reader
from llm.serving.served import ServedModel
from search.precedence import Precedence

if TYPE_CHECKING:
    from llm.engines.engine import Engine

Given = TypeVar("Given")
Made = TypeVar("Made")


_LONGEST_WAIT_S = 0.25


async def in_turns(
    ask: Callable[["Engine", int, Given], Awaitable[Made]],
    given: Sequence[Given],
    *,
    model: ServedModel,
    reader: Reader,
    batch: int,
    precedence: Precedence,
) -> list[Made]:
    """What `ask` gets from the model's engine for each given, told its index; in their order, one after the other.

    Between two batches whoever else waits for the model is called. Cancelling
    frees the slot at once. Raises as `ServedModel.turn` and `ask` do.
    """
    made: list[Made] = []
    for first in range(0, len(given), batch):
        before: AbstractContextManager[None] = nullcontext()
        if first:
            await asyncio.to_thread(precedence.wait_quiet, _LONGEST_WAIT_S)
        else:
            before = precedence.foreground()  # somebody waits for these few, as for a search
        with before:
            async with model.turn(reader) as engine:
                some = given[first : first + batch]
                made += [await ask(engine, first + at, one) for at, one in enumerate(some)]
    return made


class Batching:
    def __init__(self, *, longest_wait_s: float = _LONGEST_WAIT_S) -> None:
        """`longest_wait_s` is for one batch: where somebody is always answered, the others still get on."""
        self._longest_wait_s = longest_wait_s
        self._turn = asyncio.Lock()  # first come, first served

    async def run(
        self,
        compute: Callable[[Sequence[Given]], Sequence[Made]],
        given: Sequence[Given],
        *,
        batch: int,
        precedence: Precedence,
    ) -> list[Made]:
        """What `compute` makes of everything given, in its order. Cancelling ends it after the batch in hand."""

        def one(some: Sequence[Given], *, patient: bool) -> Sequence[Made]:
            if patient:
                precedence.wait_quiet(self._longest_wait_s)
                return compute(some)
            with precedence.foreground():  # somebody waits for these few, as for a search
                return compute(some)

        made: list[Made] = []
        for first in range(0, len(given), batch):
            async with self._turn:
                some = given[first : first + batch]
                made += await asyncio.to_thread(one, some, patient=first > 0)
        return made
