"""A line of progress: renewed in place on a terminal; elsewhere a new one now and then."""

import shutil
import sys
import time

_A_LINE_EVERY_S = 10


class Line:
    def __init__(self) -> None:
        self._shown, self._at = "", float("-inf")

    def show(self, text: str) -> None:
        if sys.stdout.isatty():
            room = shutil.get_terminal_size().columns - 1  # a line that wraps cannot be renewed in place
            fits = text if len(text) <= room else f"{text[: max(0, room - 1)]}…"
            print(f"\r\033[K{fits}", end="", flush=True)
        elif text != self._shown and time.monotonic() - self._at > _A_LINE_EVERY_S:
            print(text, flush=True)
            self._shown, self._at = text, time.monotonic()
