"""Batching: long work done batch by batch, for clients who can wait.

Its hard rule: one batch is computed at a time, whoever asks; clients take turns
batch by batch, and after its first each batch lets searches and answers go
before. So thousands of texts from one client delay another's search by one
batch at most.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from search.precedence import Precedence

Given = TypeVar("Given")
Made = TypeVar("Made")


class Batching:
    def __init__(self, *, longest_wait_s: float = 0.25) -> None:
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
