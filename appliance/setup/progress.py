"""Progress: what the person at the terminal sees while a first run is at work.

Knows nothing of pip or models. A terminal gets one line a step, refreshed in
place; a file, a pipe or NO_COLOR gets plain lines, at most three for a step.
"""

import enum
import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from typing import TextIO

# A log that lists every library is read by nobody.
_PLAIN_LINES_PER_STEP = 3


class SetupStopped(Exception):
    """Set-up cannot go on. str() is one sentence or two: what happened, what to do."""


class Step(enum.Enum):
    """What is done, in order: the words for it, and its share of a first run's seconds, in percent."""

    PYTHON = "Preparing Python", 6
    LIBRARIES = "Installing libraries", 60
    ALMANAC = "Installing Almanac", 4
    EMBEDDER = "Search model", 16
    CHAT = "Chat model", 14

    def __init__(self, words: str, percent: int) -> None:
        self.words = words
        self.percent = percent

    @property
    def ordinal(self) -> int:
        return list(Step).index(self) + 1

    @property
    def percent_before(self) -> int:
        return sum(step.percent for step in list(Step)[: self.ordinal - 1])


class Progress:
    """One run of some or all of the steps."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._step: Step | None = None
        self._plain_lines = 0
        self._line_is_open = False

    def tell(self, step: Step, done: float, words: str = "") -> None:
        """Say how far a step is. `done` is 0..1; `words` follow the step's own, after a colon."""
        if step is not self._step:
            self._end_line()
            self._step, self._plain_lines = step, 0
        done = min(max(done, 0.0), 1.0)
        percent = round(step.percent_before + step.percent * done)
        line = f"[{step.ordinal}/{len(Step)} {percent:3} %] {step.words}" + (f": {words}" if words else "")
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r{line[:width]}\x1b[K")
            self._line_is_open = True
        elif self._plain_lines <= done * _PLAIN_LINES_PER_STEP and done < 1:
            self._plain_lines = int(done * _PLAIN_LINES_PER_STEP) + 1
            self._write(f"{line}\n")

    def say(self, sentence: str) -> None:
        """A sentence on a line of its own."""
        self._end_line()
        self._write(f"{sentence}\n")

    def _end_line(self) -> None:
        if self._line_is_open:
            self._write("\n")
            self._line_is_open = False

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def in_one_sentence(progress: Progress, work: Callable[[], None]) -> int:
    """Do the work and give the exit code: 0; 1 with the reason said; 130 when it was told to stop."""

    def stop(*_signal: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        work()
    except SetupStopped as reason:
        progress.say(str(reason))
    except KeyboardInterrupt:
        progress.say("Set-up was stopped; the next start takes it up again.")
        return 130
    except OSError as error:
        if error.errno == errno.ENOSPC:
            progress.say("The disk is full: make room (about 2 GB for everything), then start again.")
        else:
            progress.say(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.")
    else:
        return 0
    return 1
