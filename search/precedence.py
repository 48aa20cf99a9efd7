"""Precedence: a reader who waits goes before work that can wait.

Searches and answers enter `foreground`; the embedding loop asks `wait_quiet`
before each batch. Knows nothing of either.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Precedence:
    def __init__(self) -> None:
        self._quiet = threading.Condition()
        self._running = 0

    @contextmanager
    def foreground(self) -> Iterator[None]:
        """Mark a search or an answer as running, for as long as the block lasts."""
        with self._quiet:
            self._running += 1
        try:
            yield
        finally:
            with self._quiet:
                self._running -= 1
                self._quiet.notify_all()

    def wait_quiet(self, longest_s: float) -> float:
        """Return when nothing runs in the foreground, or after `longest_s`; the seconds waited.

        The bound keeps a shelf from never being finished in a house where
        somebody is always asking.
        """
        began = time.monotonic()
        with self._quiet:
            self._quiet.wait_for(lambda: self._running == 0, timeout=longest_s)
        return time.monotonic() - began
