"""A chat model that dies, hangs, runs out of memory, and one that is swapped for another, while people talk to it."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.places import chat_model, embedding_model
from tests.running import Appliance, running

pytestmark = pytest.mark.models

SWAPS, CLIENTS = 50, 4
BACK_WITHIN_S = 10
# Three unanswered looks, each some seconds after the one before and with some to answer.
FOUND_HUNG_WITHIN_S = 40
LONG = "Count from one to one thousand, in words, and leave nothing out."


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Appliance]:
    """Three models with the same content, of which two may be loaded at once."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".furnished").touch()
    models = tmp_path / "models"
    (models / "chat").mkdir(parents=True)
    (models / "embedding").symlink_to(embedding_model().parent)
    for name in ("ash", "birch", "cedar"):
        (models / "chat" / f"{name}.gguf").symlink_to(chat_model())
    library = tmp_path / "library" / "garden"
    library.mkdir(parents=True)
    (library / "bees.md").write_text("# Bees\n\nThe bees of the east wall drink from the cistern at noon.\n")
    settings = (
        "[ingest]\nsettle_s = 0.2\n[llm]\ncontext_tokens = 1024\nmax_answer_tokens = 16\nloaded_at_once = 2\n"
    )
    with running(tmp_path, settings=settings, models=models) as appliance:
        appliance.until_state("garden/bees.md", "findable")
        yield appliance


def client_of(house: Appliance) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0, timeout=120)


def worker_of(house: Appliance) -> int:
    """The pid of the one model worker that runs."""
    assert house.process
    found = subprocess.run(
        ["pgrep", "-P", str(house.process.pid), "-f", "llm.engines.worker"],
        capture_output=True,
        text=True,
        check=False,
    )
    [pid] = found.stdout.split()
    return int(pid)


@contextlib.contextmanager
def searching(house: Appliance) -> Iterator[None]:
    """Searches all the while; each must find, and none may take long."""
    over, trouble, took = threading.Event(), [], []

    def search() -> None:
        while not over.wait(0.05):
            began = time.monotonic()
            status, found = house.get("/api/search", q="bees cistern")
            took.append(time.monotonic() - began)
            if status != 200 or not found["items"] or found["degraded"]:
                trouble.append((status, found))

    thread = threading.Thread(target=search)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert trouble == []
    assert len(took) > 5
    assert max(took) < 5


def broken_off(house: Appliance, break_it: Callable[[int], Any]) -> str:
    """What a client is told whose stream is broken off; its words until then are honest ones."""
    heard = 0
    with client_of(house) as client, pytest.raises(openai.APIError) as told:
        for chunk in client.chat.completions.create(
            model="ash",
            messages=[{"role": "user", "content": LONG}],
            stream=True,
            temperature=0,
            max_tokens=900,
        ):
            heard += bool(chunk.choices and chunk.choices[0].delta.content)
            if heard == 5:
                break_it(worker_of(house))
                heard += 1
    assert heard >= 5
    return str(told.value)


def back_after(house: Appliance) -> float:
    began = time.monotonic()
    house.until(lambda: house.get("/status")[1]["model"]["state"] == "ready", 30)
    took = time.monotonic() - began
    with client_of(house) as client:
        answer = client.chat.completions.create(
            model="ash", messages=[{"role": "user", "content": "Hi"}], max_tokens=4
        )
    assert answer.choices[0].finish_reason in {"stop", "length"}
    return took


def test_a_worker_that_is_killed_in_the_middle_of_a_stream(house: Appliance) -> None:
    with searching(house):
        told = broken_off(house, lambda pid: os.kill(pid, signal.SIGKILL))
        assert "stopped while it was answering" in told
        assert back_after(house) < BACK_WITHIN_S


def test_a_worker_that_hangs_in_the_middle_of_a_stream(house: Appliance) -> None:
    hung = []
    with searching(house):
        told = broken_off(house, lambda pid: (hung.append(time.monotonic()), os.kill(pid, signal.SIGSTOP)))
        assert time.monotonic() - hung[0] < FOUND_HUNG_WITHIN_S
        assert "stopped while it was answering" in told
        assert back_after(house) < BACK_WITHIN_S


def test_a_worker_that_may_take_no_more_memory(house: Appliance) -> None:
    """Its limit is set where it stands; then it is asked for what needs more."""

    def starve(pid: int) -> None:
        taken = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (taken, taken))

    with client_of(house) as client, searching(house):
        starve(worker_of(house))
        endings = set()
        for _ in range(6):
            try:
                answer = client.chat.completions.create(
                    model="ash", messages=[{"role": "user", "content": "word " * 700}], max_tokens=4
                )
                endings.add(answer.choices[0].finish_reason)
            except openai.APIError as error:
                endings.add(type(error).__name__)
                assert "model" in str(error)
        assert endings <= {"stop", "length", "InternalServerError", "BadRequestError"}, endings
        assert back_after(house) < BACK_WITHIN_S


class Talker(threading.Thread):
    """One who asks again and again until it is over, and notes whatever is not a whole answer."""

    def __init__(self, house: Appliance, at: int, over: threading.Event) -> None:
        super().__init__()
        self._client, self._over, self._rng = client_of(house), over, random.Random(at)
        self._models = ("ash", "birch", "cedar", "almanac")
        self.answered, self.lost = 0, list[str]()

    def run(self) -> None:
        while not self._over.is_set():
            model, stream = self._rng.choice(self._models), self._rng.random() < 0.5
            try:
                ending = self._asked(model, stream=stream)
            except openai.APIError as error:
                ending = repr(error)
            if ending in {"stop", "length"}:
                self.answered += 1
            else:
                self.lost.append(f"{model}, {stream=}: {ending}")
        self._client.close()

    def _asked(self, model: str, *, stream: bool) -> str | None:
        asked: Any = {
            "model": model,
            "messages": [{"role": "user", "content": "Where do the bees drink?"}],
            "max_tokens": 8,
        }
        if not stream:
            return self._client.chat.completions.create(**asked).choices[0].finish_reason
        ending = None
        for chunk in self._client.chat.completions.create(**asked, stream=True):
            ending = (chunk.choices[0].finish_reason if chunk.choices else None) or ending
        return ending


@pytest.mark.timeout(900)
def test_fifty_swaps_while_four_talk_lose_no_answer_and_no_memory(house: Appliance) -> None:
    assert house.process

    def memory_mib() -> float:
        """Of the house alone: what a model had is given back by the end of its process."""
        for line in Path(f"/proc/{house.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
        raise AssertionError

    def descriptors() -> int:
        return len(list(Path(f"/proc/{house.process.pid}/fd").iterdir()))

    def asked(what: str, model: str, **more: object) -> None:
        status, _, body = house.request(
            "POST",
            f"/api/models/{what}",
            body={"model": model, **more},
        )
        assert status == 202, body

    def states() -> dict[str, str]:
        return {model["id"]: model["state"] for model in house.get("/api/models")[1]["items"]}

    rng = random.Random(5)
    over = threading.Event()
    talkers = [Talker(house, at, over) for at in range(CLIENTS)]
    for talker in talkers:
        talker.start()
    try:
        time.sleep(5)
        before, open_before = memory_mib(), descriptors()
        for swap in range(SWAPS):
            model = ("ash", "birch", "cedar")[swap % 3]
            asked("default", model)
            house.until(lambda model=model: house.get("/status")[1]["model"]["id"] == model, 120)
            what = rng.choice(("load", "unload"))
            asked(what, rng.choice(("ash", "birch", "cedar")))
            loaded = [one for one, state in states().items() if state in {"ready", "draining"}]
            assert len(loaded) <= 2, loaded
    finally:
        over.set()
        for talker in talkers:
            talker.join(180)
    lost = [loss for talker in talkers for loss in talker.lost]
    assert lost == []
    assert sum(talker.answered for talker in talkers) >= SWAPS
    assert all(talker.answered for talker in talkers)
    for model in ("ash", "birch", "cedar"):
        asked("unload", model)
    house.until(lambda: not {"ready", "loading", "draining"} & set(states().values()), 60)
    workers = subprocess.run(
        ["pgrep", "-P", str(house.process.pid), "-f", "llm.engines.worker"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert workers.stdout.split() == []
    assert descriptors() <= open_before + 4
    assert memory_mib() < before + 30, f"{before:.0f} MiB before"
    print(f"{sum(talker.answered for talker in talkers)} answers, {before:.0f} -> {memory_mib():.0f} MiB")
