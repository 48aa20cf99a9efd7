"""The queue: its order, its bounds, and that nothing of it is ever lost."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from library.errors import ModelUnavailable, Overloaded, WaitedTooLong
from llm.serving.queue import Place, Priority, QueueSettings, Reader, Turns

READERS = ("Ann", "Bo", "Cy")
DEVICES = ("old PC", "phone", "pad")
ALL_READERS = [Reader(name, device) for device in DEVICES for name in READERS[: 1 + len(device) // 5]]
SOON_S = 10


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def line_up(turns: Turns, stack: ExitStack, *readers: str, priority: Priority = Priority.CHAT) -> list[Place]:
    return [stack.enter_context(turns.place(Reader(reader), priority=priority)) for reader in readers]


def order_of(turns: Turns, *lined_up: tuple[str, Priority]) -> list[str]:
    """Who is called in which order while somebody else has the only slot, as the places themselves tell it."""
    with ExitStack() as stack:
        line_up(turns, stack, "first")
        places = [
            stack.enter_context(turns.place(Reader(reader), priority=priority))
            for reader, priority in lined_up
        ]
        return [place.reader.name for place in sorted(places, key=lambda place: place.position)]


def test_readers_take_turns_and_a_reader_s_own_keep_their_order() -> None:
    with ExitStack() as stack:
        turns = Turns(1, QueueSettings())
        line_up(turns, stack, "first")
        places = line_up(turns, stack, "Ann", "Ann", "Ann", "Bo", "Cy", "Bo")
        assert [place.position for place in places] == [1, 4, 6, 2, 3, 5]


def test_many_names_on_one_device_are_one_device_s_turns() -> None:
    with ExitStack() as stack:
        turns = Turns(1, QueueSettings())
        line_up(turns, stack, "first")
        many = [stack.enter_context(turns.place(Reader(f"key {n}", "greedy"))) for n in range(5)]
        modest = [stack.enter_context(turns.place(Reader(name, "modest"))) for name in ("Ann", "Ann", "Bo")]
        assert [place.position for place in modest] == [2, 6, 4]
        assert [place.position for place in many] == [1, 3, 5, 7, 8]


def test_a_full_line_has_room_for_whoever_has_fewer_places_in_it() -> None:
    turns = Turns(1, QueueSettings(in_all=6))
    with ExitStack() as stack:
        line_up(turns, stack, "first")
        greedy = [stack.enter_context(turns.place(Reader(f"key {n}", "greedy"))) for n in range(6)]
        with pytest.raises(Overloaded, match="6 requests are waiting"), turns.place(Reader("7", "greedy")):
            pass
        modest = [stack.enter_context(turns.place(Reader("Ann", "modest"))) for _ in range(3)]
        assert [place.position for place in modest] == [2, 4, 6]
        assert [str(place.why)[:44] for place in greedy if place.why] == [
            "The model is busy, and 4 requests of yours a",
            "The model is busy, and 5 requests of yours a",
            "The model is busy, and 6 requests of yours a",
        ]
        assert [place.position for place in greedy] == [1, 3, 5, 0, 0, 0]
        # Three each: nobody has a better right than another.
        with pytest.raises(Overloaded), turns.place(Reader("Bo", "modest")):
            pass
        assert turns.load().refused == 5
        third = stack.enter_context(turns.place(Reader("Cy", "third")))
        assert third.position == 3


def test_chat_goes_before_background_work_that_came_first() -> None:
    back, chat = Priority.BACKGROUND, Priority.CHAT
    assert order_of(Turns(1, QueueSettings()), ("summary", back), ("summary", back), ("Ann", chat)) == [
        "Ann",
        "summary",
        "summary",
    ]


def test_as_many_run_as_there_are_slots() -> None:
    turns = Turns(3, QueueSettings())
    with ExitStack() as stack:
        places = line_up(turns, stack, *"abcde")
        assert [place.position for place in places] == [0, 0, 0, 1, 2]
        assert (turns.load().running, turns.load().waiting, turns.load().readers) == (3, 2, 2)
    assert (turns.load().running, turns.load().waiting) == (0, 0)


def test_past_its_bound_a_reader_is_refused_and_another_is_not() -> None:
    turns = Turns(1, QueueSettings(per_reader=2, in_all=3))
    with ExitStack() as stack:
        line_up(turns, stack, "Ann", "Ann", "Ann")  # one runs, two wait
        with pytest.raises(Overloaded, match="2 requests of yours are waiting") as own:
            line_up(turns, stack, "Ann")
        line_up(turns, stack, "Bo")
        with pytest.raises(Overloaded, match="3 requests are waiting") as all_:
            line_up(turns, stack, "Cy")
        assert turns.load().refused == 2
    # Five seconds a turn, as long as none has been had: Ann's last stands second, the line is three long.
    assert (own.value.retry_after_s, all_.value.retry_after_s) == (10, 15)
    assert own.value.code == "overloaded"


def test_when_to_ask_again_follows_what_turns_take() -> None:
    clock = Clock()
    turns = Turns(2, QueueSettings(in_all=4), clock=clock)
    for _ in range(200):
        with turns.place(Reader("Ann")):
            clock.now += 2.9
    with ExitStack() as stack:
        line_up(turns, stack, *"abcdef")
        with pytest.raises(Overloaded) as refused:
            line_up(turns, stack, "g")
    assert refused.value.retry_after_s == 6  # four of three seconds or less, two at a time
    assert "Ask again in 6 seconds." in str(refused.value)


def test_who_leaves_the_line_moves_everybody_up() -> None:
    turns = Turns(1, QueueSettings())
    with ExitStack() as stack:
        line_up(turns, stack, "first")
        leaving = ExitStack()
        line_up(turns, leaving, "Ann", "Ann")
        (bo,) = line_up(turns, stack, "Bo")
        assert bo.position == 2
        leaving.close()
        assert bo.position == 1


class Queue(RuleBasedStateMachine):
    """Everybody who can come and leave, in any order: what must hold after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.turns = Turns(2, QueueSettings(per_reader=3, in_all=6), clock=self.clock)
        self.held: dict[Place, ExitStack] = {}
        self.closed = False

    @rule(reader=st.sampled_from(ALL_READERS), priority=st.sampled_from(Priority))
    def comes(self, reader: Reader, priority: Priority) -> None:
        stack = ExitStack()
        waiting = self._line()
        own = [place for place in waiting if place.reader == reader]
        running = [place for place in self.held if not place.position and not self._turned_away(place)]
        free = len(running) < 2
        places = Counter(place.reader.device for place in waiting)
        others = max((count for device, count in places.items() if device != reader.device), default=0)
        lesser = others > places[reader.device] + 1
        try:
            place = stack.enter_context(self.turns.place(reader, priority=priority))
        except ModelUnavailable:
            assert self.closed
            return
        except Overloaded as refused:
            assert not free
            assert len(own) == 3 or (len(waiting) == 6 and not lesser)
            assert 1 <= refused.retry_after_s <= 60
            return
        assert not self.closed
        assert free == (place.position == 0)
        assert free or (len(own) < 3 and (len(waiting) < 6 or lesser))
        self.held[place] = stack
        gone = [one for one in waiting if self._turned_away(one)]
        if not free and len(waiting) == 6:  # one had to go: the last of the device that had most
            (last,) = gone
            assert places[last.reader.device] == others
            assert isinstance(last.why, Overloaded)
            assert last == [one for one in waiting if one.reader.device == last.reader.device][-1]
        else:
            assert not gone

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(list(self.held)))
        was_running = place.position == 0 and not self._turned_away(place)
        before = {waiting: waiting.position for waiting in self._line()}
        self.held.pop(place).close()
        if was_running:  # everybody moves up by one
            assert all(waiting.position == was - 1 for waiting, was in before.items())
        else:  # whoever left the line, nobody is further from their turn than before
            before.pop(place, None)
            assert all(0 < waiting.position <= was for waiting, was in before.items())

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: not self.closed)
    @rule(really=st.integers(0, 9))
    def closes(self, really: int) -> None:
        if really:
            return
        self.closed = True
        self.turns.close()
        assert not self._line()

    @invariant()
    def no_slot_is_free_while_somebody_waits(self) -> None:
        load = self.turns.load()
        waiting = self._line()
        running = [place for place in self.held if not place.position and not self._turned_away(place)]
        assert load.waiting == len(waiting)
        assert load.running == len(running) <= 2
        assert not waiting or len(running) == 2
        assert [place.position for place in waiting] == list(range(1, len(waiting) + 1))
        assert all(place.news.is_set() for place in running)
        assert not any(place.news.is_set() for place in waiting)

    @invariant()
    def nobody_is_called_twice_while_another_reader_or_device_waits(self) -> None:
        for priority in Priority:
            line = [place.reader for place in self._line() if place.priority is priority]
            self._takes_turns([reader.device for reader in line])
            for device in DEVICES:
                self._takes_turns([reader.name for reader in line if reader.device == device])

    @staticmethod
    def _takes_turns(line: list[str]) -> None:
        """Between two turns of one, each other that waits has its own."""
        for at, one in enumerate(line):
            if one in line[at + 1 :]:
                again = line.index(one, at + 1)
                assert set(line[again:]) - {one} <= set(line[at + 1 : again])

    def teardown(self) -> None:
        for place in list(self.held):
            self.held.pop(place).close()
        assert (self.turns.load().running, self.turns.load().waiting) == (0, 0)
        assert self.turns._lines == {priority: {} for priority in Priority}

    def _line(self) -> list[Place]:
        return sorted((place for place in self.held if place.position), key=lambda place: place.position)

    @staticmethod
    def _turned_away(place: Place) -> bool:
        return place.state.name == "TURNED_AWAY"


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# --- on the event loop ---------------------------------------------------------------------------


def scene(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(SOON_S):
            await work()

    asyncio.run(bounded())


async def steps(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_who_waits_is_told_their_position_as_it_changes_and_that_the_turn_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llm.serving.queue.LOOK_S", 0.01)

    async def work() -> None:
        turns = Turns(1, QueueSettings())
        first, second = ExitStack(), ExitStack()
        line_up(turns, first, "Ann")
        line_up(turns, second, "Bo")
        with turns.place(Reader("Cy")) as place:
            told = place.positions()
            assert await anext(told) == 2
            first.close()
            assert await anext(told) == 1
            second.close()
            assert [position async for position in told] == [0]
        with turns.place(Reader("Ann")) as place:
            assert [position async for position in place.positions()] == []

    scene(work)


def test_who_waits_is_told_something_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.serving.queue.LOOK_S", 0.01)
    monkeypatch.setattr("llm.serving.queue.KEEP_ALIVE_S", 0.05)

    async def work() -> None:
        turns = Turns(1, QueueSettings())
        with turns.place(Reader("Ann")), turns.place(Reader("Bo")) as place:
            told = place.positions()
            assert [await anext(told) for _ in range(3)] == [1, 1, 1]

    scene(work)


def test_whose_deadline_passes_is_told_when_to_ask_again() -> None:
    async def work() -> None:
        turns = Turns(1, QueueSettings(wait_s=0.05))
        with turns.place(Reader("Ann")):
            with pytest.raises(WaitedTooLong, match="not free within") as late:
                async with turns.turn(Reader("Bo")):
                    raise AssertionError("nobody called")
            assert late.value.retry_after_s == 5
            assert (turns.load().waiting, turns.load().expired) == (0, 1)

    scene(work)


def test_the_next_one_is_called_within_a_moment_and_not_at_their_next_look() -> None:
    async def work() -> None:
        turns = Turns(1, QueueSettings())
        called = asyncio.Event()

        async def waits() -> None:
            async with turns.turn(Reader("Bo")):
                called.set()

        with turns.place(Reader("Ann")):
            waiting = asyncio.create_task(waits())
            await steps()
        await steps()
        assert called.is_set()
        await waiting

    scene(work)


def test_a_closing_queue_turns_away_who_waits_and_who_comes_and_awaits_who_runs() -> None:
    async def work() -> None:
        turns = Turns(1, QueueSettings(drain_s=60))
        running = ExitStack()
        line_up(turns, running, "Ann")
        waiting = asyncio.create_task(turns.turn(Reader("Bo")).__aenter__())
        await steps()
        turns.close()
        draining = asyncio.create_task(turns.drained())
        with pytest.raises(ModelUnavailable, match="being stopped"):
            await waiting
        with pytest.raises(ModelUnavailable, match="being stopped"), turns.place(Reader("Cy")):
            pass
        await steps()
        assert not draining.done()
        running.close()
        await draining

    scene(work)


def test_a_closing_queue_does_not_wait_for_ever() -> None:
    async def work() -> None:
        turns = Turns(1, QueueSettings(drain_s=0.05))
        with turns.place(Reader("Ann")):
            turns.close()
            await turns.drained()
            assert turns.load().running == 1

    scene(work)


@pytest.mark.parametrize("at_step", range(12))
def test_a_cancellation_at_any_step_leaves_nothing_behind(at_step: int) -> None:
    """The second of three is cancelled after so many steps of the loop; the third always gets its turn."""

    async def work() -> None:
        turns = Turns(1, QueueSettings())

        async def has_turn(name: str, lasts: int) -> str:
            async with turns.turn(Reader(name)):
                await steps(lasts)
                return name

        tasks = [asyncio.create_task(has_turn(name, 3)) for name in READERS]
        await steps(at_step)
        tasks[1].cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert (ended[0], ended[2]) == ("Ann", "Cy")
        assert (turns.load().running, turns.load().waiting) == (0, 0)

    scene(work)


@pytest.mark.parametrize("seed", range(8))
def test_a_thousand_readers_who_change_their_minds_leave_nothing_behind(seed: int) -> None:
    async def work() -> None:
        chance = random.Random(seed)
        slots = chance.randint(1, 4)
        turns = Turns(slots, QueueSettings(per_reader=1000, in_all=1000))
        at_once, most = 0, 0

        async def has_turn(reader: str) -> None:
            nonlocal at_once, most
            async with turns.turn(Reader(reader), priority=chance.choice(list(Priority))):
                at_once += 1
                most = max(most, at_once)
                try:
                    await _some(chance)
                    if chance.random() < 0.1:
                        raise RuntimeError
                finally:
                    at_once -= 1

        tasks = []
        for n in range(1000):
            tasks.append(asyncio.create_task(has_turn(f"reader {n % 7}")))
            if chance.random() < 0.4:
                chance.choice(tasks).cancel()
            if chance.random() < 0.5:
                await _some(chance)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ended} <= {type(None), RuntimeError, asyncio.CancelledError}
        assert most == slots
        assert (turns.load().running, turns.load().waiting) == (0, 0)
        assert turns.load().served >= sum(end is None for end in ended) > 300

    scene(work)


def _some(chance: random.Random) -> Awaitable[None]:
    return asyncio.sleep(chance.choice((0, 0, 0, 0.0005)))
