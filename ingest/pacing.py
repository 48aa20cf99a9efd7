"""Pacing: ingest stands aside while somebody searches or is answered.

A worker that is merely nice still takes the cores' caches, and stalls every
thread of a model that waits for its slowest one; so the workers are held
(SIGSTOP) for as long as a reader waits, and take a breath now and then, so
that a shelf is finished also in a house where somebody is always asking.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

from search.precedence import Precedence


class Held(Protocol):
    """A child that can be held where it stands."""

    def halt(self) -> None: ...

    def go_on(self) -> None: ...


class Pacer:
    """Holds some workers; one thread."""

    def __init__(
        self, precedence: Precedence, links: Sequence[Held], *, longest_s: float, breath_s: float
    ) -> None:
        """At most `longest_s` held at a time, then let go for `breath_s`."""
        self._precedence, self._links = precedence, links
        self._longest_s, self._breath_s = longest_s, breath_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._pace, name="pacing", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let the workers go; the thread ends by itself."""
        self._stopping.set()
        self._precedence.wake()
        for link in self._links:
            link.go_on()

    def _pace(self) -> None:
        while not self._stopping.is_set():
            self._precedence.wait_busy(self._stopping)
            if self._stopping.is_set():
                return
            for link in self._links:
                link.halt()
            self._precedence.wait_quiet(self._longest_s)
            for link in self._links:
                link.go_on()
            if self._precedence.busy:
                self._stopping.wait(self._breath_s)
