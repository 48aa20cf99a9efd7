"""Rate: how much was done a second, over the last half minute of work."""

import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

_LOOKED_BACK_S = 30.0


class Rate:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done: deque[tuple[float, int]] = deque([(clock(), 0)])
        self.total = 0

    def note(self, count: int) -> None:
        self.total += count
        now = self._clock()
        while len(self._done) > 1 and self._done[0][0] < now - _LOOKED_BACK_S:
            self._done.popleft()
        if now - self._done[-1][0] > _LOOKED_BACK_S:
            # After a rest nobody knows when this began: it starts the clock, and is not measured by it.
            self._done = deque([(now, 0)])
            return
        self._done.append((now, count))

    def a_second(self) -> float | None:
        """None while nothing has been done for half a minute.

        Work comes in batches of seconds. The time since the last one counts only
        once it is longer than any batch took, else the rate would fall from each
        batch to the next, and every estimate would go up and down with it.
        """
        done = list(self._done)
        now = self._clock()
        if now - done[-1][0] > _LOOKED_BACK_S or len(done) < 2:
            return None
        longest = max(after - before for (before, _), (after, _) in pairwise(done))
        until = max(done[-1][0], now - longest)
        return sum(count for _, count in done[1:]) / max(1e-3, until - done[0][0])
