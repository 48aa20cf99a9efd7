"""Batching: long work lets others go before it."""

import asyncio
import threading
from collections.abc import Sequence

from search.precedence import Precedence
from web.batching import Batching


def test_two_clients_take_turns_batch_by_batch() -> None:
    seen: list[str] = []

    def compute(some: Sequence[str]) -> list[str]:
        seen.extend(some)
        return [text.upper() for text in some]

    async def scene() -> None:
        batching, precedence = Batching(), Precedence()
        made = await asyncio.gather(
            batching.run(compute, ["a1", "a2", "a3"], batch=1, precedence=precedence),
            batching.run(compute, ["b1", "b2", "b3"], batch=1, precedence=precedence),
        )
        assert made == [["A1", "A2", "A3"], ["B1", "B2", "B3"]]

    asyncio.run(scene())
    assert seen == ["a1", "b1", "a2", "b2", "a3", "b3"]


def test_the_first_batch_goes_at_once_and_the_next_waits_for_a_search() -> None:
    searching, first = threading.Event(), threading.Event()
    seen: list[tuple[int, bool]] = []

    def compute(some: Sequence[int]) -> list[int]:
        seen.append((some[0], searching.is_set()))
        first.set()
        return list(some)

    async def scene() -> None:
        batching, precedence = Batching(longest_wait_s=60), Precedence()

        def search() -> None:
            with precedence.foreground():
                searching.set()
                first.wait(10)
                searching.clear()

        under_way = threading.Thread(target=search)
        under_way.start()
        searching.wait(10)
        await batching.run(compute, [1, 2], batch=1, precedence=precedence)
        under_way.join()

    asyncio.run(scene())
    assert seen == [(1, True), (2, False)]


def test_whoever_leaves_gives_the_turn_on() -> None:
    computing = threading.Event()
    done: list[int] = []

    def compute(some: Sequence[int]) -> list[int]:
        computing.set()
        done.extend(some)
        return list(some)

    async def scene() -> None:
        batching, precedence = Batching(), Precedence()
        leaving = asyncio.create_task(batching.run(compute, range(10_000), batch=1, precedence=precedence))
        await asyncio.to_thread(computing.wait, 10)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert await batching.run(compute, [-1], batch=1, precedence=precedence) == [-1]
        assert len(done) < 10_000

    asyncio.run(scene())
