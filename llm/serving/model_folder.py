"""The models folder, looked at again and again: which files came, changed or went, once nobody writes to them.

Knows files, not what becomes of their models.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from llm.model_files.registry import ModelFile, Registry

LOOK_S = 10.0  # how often the models folder is looked through
_SHORTEST_LOOK_S = 1.0  # between two looks that names nobody knows give rise to
_QUIET_S = 3.0  # a file that was written to within this time is still being copied


class ModelFolder:
    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self.unsettled = set[Path]()  # still being written to, perhaps
        self.known = self._found()  # what the last `look` saw; others look, too
        self._looked_at = -_SHORTEST_LOOK_S

    async def look_again(self) -> None:
        """Look now, for a name that nothing has: its file may have come a moment ago."""
        if self._clock() - self._looked_at >= _SHORTEST_LOOK_S:
            self._looked_at = self._clock()
            await asyncio.to_thread(self._registry.look)

    async def look(self) -> list[Path]:
        """Those that came, changed or went since the last time, and that nobody has written to lately."""
        await asyncio.to_thread(self._registry.look)
        # Not what that look tells: a listing may have looked a moment ago, and heard of it first.
        before, self.known = self.known, self._found()
        self.unsettled |= {file for file, model in self.known.items() if before.get(file) is not model}
        if before != self.known:
            self._registry.compare_in_background()
        settled = [file for file in self.unsettled if _quiet(file)]
        self.unsettled.difference_update(settled)
        return settled

    def _found(self) -> dict[Path, ModelFile]:
        return {model.file: model for model in self._registry.files()}


def _quiet(file: Path) -> bool:
    """Whether nobody has written to it lately; true of one that is gone."""
    try:
        return time.time() - file.stat().st_mtime > _QUIET_S
    except OSError:
        return True
