"""A house with the smallest bounds, for what goes wrong: a full line, a model that dies, a house that is stopped."""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.running import Appliance
from tests.web.busy import chat, load, taken

SETTINGS = "[llm]\nparallel = 1\n[llm.queue]\nper_reader = 1\nin_all = 1\ndrain_s = 0.5\n"


@contextmanager
def full(house: Appliance) -> Iterator[tuple[dict[str, Any], ExitStack]]:
    """The slot taken, and one who waits: nobody else may. Gives what to ask, and the crowd, to send it away."""
    with taken(house, waiting=1) as crowd:
        yield chat(house, max_tokens=4), crowd


@contextmanager
def struck(house: Appliance) -> Iterator[None]:
    """The model's worker is killed as soon as it is answering somebody."""
    looks = itertools.count(1)
    with _meanwhile(
        # At the third look, each a tenth of a second after the last, the engine itself has been asked.
        lambda: house.until(lambda: load(house)["running"] and next(looks) == 3, 20),
        lambda: os.kill(_worker(house), signal.SIGKILL),
    ):
        yield


@contextmanager
def stopped(house: Appliance) -> Iterator[None]:
    """The slot is taken, and the house is told to stop as soon as somebody waits for it."""
    assert house.process
    with (
        taken(house),
        _meanwhile(lambda: house.until(lambda: load(house)["waiting"], 20), house.process.terminate),
    ):
        yield


@contextmanager
def _meanwhile(wait: Callable[[], object], act: Callable[[], object]) -> Iterator[None]:
    """In the length of a block, `act` once `wait` has returned. Fails if it was never time for it."""
    acted: list[bool] = []

    def run() -> None:
        with suppress(AssertionError):
            wait()
            act()
            acted.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert acted, "what should have gone wrong did not"


def _worker(house: Appliance) -> int:
    assert house.process
    children = Path(f"/proc/{house.process.pid}/task").glob("*/children")
    pids = [pid for path in children for pid in path.read_text().split()]
    (worker,) = [pid for pid in pids if b"llm.engines.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return int(worker)
