"""Rate: how much was done a second, over the last half minute of work."""

import time
from collections import deque
from collections.abc import Callable

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
            self._done = deque([(now, 0)])  # after a rest, the time before it does not count
        self._done.append((now, count))

    def a_second(self) -> float | None:
        """None while nothing has been done for half a minute."""
        done = list(self._done)
        now = self._clock()
        if now - done[-1][0] > _LOOKED_BACK_S or len(done) < 2:
            return None
        return sum(count for _, count in done[1:]) / max(1e-3, now - done[0][0])
