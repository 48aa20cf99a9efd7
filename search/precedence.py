"""Precedence: a reader who waits goes before work that can wait.

Searches and answers enter `foreground`; whoever does work that can wait asks
here whether it is quiet. Knows nothing of either.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Precedence:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0

    @property
    def busy(self) -> bool:
        """Whether somebody waits."""
        return self._running > 0

    @contextmanager
    def foreground(self) -> Iterator[None]:
        """Mark a search or an answer as running, for as long as the block lasts."""
        with self._changed:
            self._running += 1
            if self._running == 1:
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                if not self._running:
                    self._changed.notify_all()

    def wait_busy(self, until: threading.Event) -> None:
        """Return when something runs in the foreground, or `until` is set and `wake` was called."""
        with self._changed:
            self._changed.wait_for(lambda: self._running > 0 or until.is_set())

    def wait_quiet(self, longest_s: float) -> None:
        """Return when nothing runs in the foreground, or after `longest_s`.

        The bound keeps work from never being finished in a house where
        somebody is always asking.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0, timeout=longest_s)

    def wake(self) -> None:
        """Have those who wait look again."""
        with self._changed:
            self._changed.notify_all()
