"""The supervisor: with the real engine what must work, with a fake one what must not break it."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from library.errors import ModelFailed, ModelUnavailable
from llm.engines.supervisor import ModelSettings, ModelState, Supervisor
from tests.llm.fake_engine_server import Mode, worker
from tests.llm.gguf_files import WHOLE
from tests.places import ROOT, chat_model

HELLO = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 8, "temperature": 0}
ENDLESS = HELLO | {"max_tokens": 3900, "ignore_eos": True}
BRISK = ModelSettings(
    load_timeout_s=20, health_interval_s=0.05, health_timeout_s=0.2, first_pause_s=0, grace_s=1
)


def children() -> list[int]:
    """Process ids of the workers that this process has."""
    command = ["ps", "-o", "pid=", "--ppid", str(os.getpid())]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [int(pid) for pid in listed if Path(f"/proc/{pid}").exists() and _is_worker(int(pid))]


def _told(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def _is_worker(pid: int) -> bool:
    command = _told(pid, "cmdline")
    return b"llm.engines.worker" in command or b"fake_engine_server" in command


async def until(true: Callable[[], bool], within_s: float = 10) -> None:
    ends = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@asynccontextmanager
async def stopped_at_the_end(supervisor: Supervisor) -> AsyncGenerator[Supervisor, None]:
    """Start, and see to it that nothing is left behind."""
    descriptors, tasks = open_descriptors(), len(asyncio.all_tasks())
    await supervisor.start()
    try:
        yield supervisor
    finally:
        began = time.monotonic()
        await supervisor.stop()
        assert time.monotonic() - began < 5
        assert children() == []
        assert supervisor.state in {ModelState.STOPPED, ModelState.ABSENT}
        assert not list(supervisor._runtime_folder.glob("*"))
        await until(lambda: open_descriptors() <= descriptors, 1)  # asyncio closes pipes a turn later
        assert len(asyncio.all_tasks()) <= tasks


def real(folder: Path, settings: ModelSettings = BRISK) -> Supervisor:
    return Supervisor(chat_model(), folder / "run", settings)


def fake(folder: Path, mode: Mode, settings: ModelSettings = BRISK, **more: object) -> Supervisor:
    file = folder / "a-model.gguf"
    file.write_bytes(WHOLE)
    return Supervisor(file, folder / "run", settings, worker=worker(mode), **more)


# --- the real engine ------------------------------------------------------------------------------


@pytest.mark.models
def test_a_model_is_loaded_asked_and_stopped(tmp_path):
    async def scene():
        supervisor = real(tmp_path)
        assert supervisor.state is ModelState.STOPPED
        async with stopped_at_the_end(supervisor):
            assert supervisor.state is ModelState.LOADING
            with pytest.raises(ModelUnavailable, match="is being loaded"):
                supervisor.engine()
            await supervisor.settled.wait()
            assert (supervisor.state, supervisor.reason) == (ModelState.READY, None)
            assert supervisor.model_id == chat_model().stem
            answer = await supervisor.engine().chat(HELLO)
            assert answer["choices"][0]["message"]["content"]
        with pytest.raises(ModelUnavailable, match="stopped"):
            supervisor.engine()

    asyncio.run(scene())


@pytest.mark.models
def test_a_killed_worker_is_back_by_itself(tmp_path):
    async def scene():
        async with stopped_at_the_end(real(tmp_path)) as supervisor:
            await supervisor.settled.wait()
            engine = supervisor.engine()
            async with aclosing(engine.stream(ENDLESS)) as payloads:
                await anext(payloads)
                os.kill(children()[0], signal.SIGKILL)
                with pytest.raises(ModelFailed, match="stopped while it was answering"):
                    async for _ in payloads:
                        pass
            async with asyncio.timeout(10):
                await until(lambda: supervisor.state is ModelState.LOADING)
                assert "SIGKILL" in (supervisor.reason or "")
                await supervisor.settled.wait()
                assert (await supervisor.engine().chat(HELLO))["usage"]
            with pytest.raises(ModelUnavailable):
                await engine.chat(HELLO)

    asyncio.run(scene())


@pytest.mark.models
def test_stopping_ends_the_answers_under_way(tmp_path):
    async def scene():
        async with stopped_at_the_end(real(tmp_path)) as supervisor:
            await supervisor.settled.wait()
            async with aclosing(supervisor.engine().stream(ENDLESS)) as payloads:
                await anext(payloads)
                await asyncio.gather(supervisor.stop(), supervisor.stop())
                with pytest.raises(ModelFailed):
                    async for _ in payloads:
                        pass

    asyncio.run(scene())


@pytest.mark.models
def test_a_stopped_model_can_be_started_again(tmp_path):
    async def scene():
        supervisor = real(tmp_path)
        for _ in range(2):
            async with stopped_at_the_end(supervisor):
                await supervisor.start()  # a second start does nothing
                await supervisor.settled.wait()
                assert await supervisor.engine().healthy()

    asyncio.run(scene())


@pytest.mark.models
def test_stopping_while_loading_leaves_nothing(tmp_path):
    async def scene():
        for pause_s in (0, 0.02, 0.1, 0.2):
            async with stopped_at_the_end(real(tmp_path)):
                await asyncio.sleep(pause_s)

    asyncio.run(scene())


@pytest.mark.models
def test_the_socket_and_its_key_are_nobody_elses(tmp_path):
    async def scene():
        async with stopped_at_the_end(real(tmp_path)) as supervisor:
            await supervisor.settled.wait()
            (folder,) = (tmp_path / "run").iterdir()
            assert folder.stat().st_mode & 0o777 == 0o700
            assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
            assert (folder / "engine.sock").stat().st_mode & 0o077 == 0
            key = supervisor.engine()._client.headers["authorization"].removeprefix("Bearer ").encode()
            assert len(key) == 64
            (pid,) = children()
            assert key not in _told(pid, "cmdline")
            assert key not in _told(pid, "environ")

    asyncio.run(scene())


@pytest.mark.models
def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path):
    async def scene():
        async with stopped_at_the_end(real(tmp_path / ("x" * 120))) as supervisor:
            await supervisor.settled.wait()
            assert supervisor.state is ModelState.READY

    asyncio.run(scene())


@pytest.mark.models
def test_a_worker_dies_with_a_killed_parent(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(chat_model()), str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert _is_worker(pid)
        parent.kill()
    ends = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < ends
        time.sleep(0.02)

    async def what_it_left_is_swept():
        assert list(tmp_path.glob("model-*"))
        supervisor = Supervisor(chat_model(), tmp_path, BRISK)
        async with stopped_at_the_end(supervisor):
            await supervisor.settled.wait()

    asyncio.run(what_it_left_is_swept())


_PARENT = """
import asyncio, subprocess, sys
from os import getpid
from pathlib import Path
from llm.engines.supervisor import Supervisor

async def main():
    supervisor = Supervisor(Path(sys.argv[1]), Path(sys.argv[2]))
    await supervisor.start()
    await supervisor.settled.wait()
    found = subprocess.run(["pgrep", "-P", str(getpid()), "-f", "llm.engines.worker"], capture_output=True, text=True)
    print(found.stdout.strip(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.models
def test_a_file_that_is_cut_short_is_never_loaded(tmp_path):
    broken = tmp_path / "broken.gguf"
    shutil.copyfile(chat_model(), broken)
    os.truncate(broken, broken.stat().st_size // 2)
    assert "cut short" in refused(Supervisor(broken, tmp_path / "run", worker=("/bin/false",)))


@pytest.mark.models
def test_an_architecture_that_the_engine_does_not_know_is_never_loaded(tmp_path):
    strange = tmp_path / "strange.gguf"
    shutil.copyfile(chat_model(), strange)
    with strange.open("r+b") as file:
        at = file.read(4096).index(b"general.architecture") + len(b"general.architecture") + 4 + 8
        file.seek(at)
        file.write(b"zlama")
    refusal = refused(Supervisor(strange, tmp_path / "run", worker=("/bin/false",)))
    assert "zlama, which the engine does not know" in refusal


@pytest.mark.models
def test_a_file_that_the_engine_refuses_is_given_up_at_once(tmp_path):
    """Whole in form, and without what a model needs."""
    hollow = tmp_path / "hollow.gguf"
    hollow.write_bytes(WHOLE)
    assert "key not found in model" in refused(Supervisor(hollow, tmp_path / "run", BRISK))


# --- no engine ------------------------------------------------------------------------------------


def refused(supervisor: Supervisor) -> str:
    """The reason of a model that is given up without a second try."""

    async def scene() -> str:
        async with stopped_at_the_end(supervisor):
            async with asyncio.timeout(10):
                await supervisor.settled.wait()
            assert supervisor.state is ModelState.FAILED
            with pytest.raises(ModelUnavailable) as caught:
                supervisor.engine()
            assert str(caught.value) == supervisor.reason
            return supervisor.reason

    return asyncio.run(scene())


def test_a_file_that_is_no_model_is_refused(tmp_path):
    text = tmp_path / "text.gguf"
    text.write_text("Once upon a time")
    assert "not a GGUF model file" in refused(Supervisor(text, tmp_path / "run", worker=("/bin/false",)))


@pytest.mark.parametrize("file", [None, Path("none.gguf")])
def test_without_a_model_that_is_said_and_nothing_started(tmp_path, file):
    async def scene():
        supervisor = Supervisor(file and tmp_path / file, tmp_path / "run", worker=("/bin/false",))
        async with stopped_at_the_end(supervisor):
            assert supervisor.state is ModelState.ABSENT
            await supervisor.settled.wait()
            with pytest.raises(ModelUnavailable, match=r"Put a \.gguf file"):
                supervisor.engine()

    asyncio.run(scene())


# --- a fake engine --------------------------------------------------------------------------------


class Pauses:
    """A sleep that takes no time and remembers how long it was asked to take."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (Mode.DIES_AT_ONCE, "GGML_ASSERT(n > 0) failed"),
        (Mode.DIES_AFTER, "SIGKILL"),
        (Mode.BABBLES, "code 0"),
    ],
)
def test_a_worker_that_always_dies_is_given_up_after_five_times(tmp_path, mode, said):
    async def scene():
        pauses = Pauses()
        settings = ModelSettings(health_interval_s=0.05)
        supervisor = fake(tmp_path, mode, settings, sleep=pauses, jitter=lambda: 0.0)
        async with stopped_at_the_end(supervisor):
            await until(lambda: supervisor.state is ModelState.FAILED)
            assert said in supervisor.reason
            assert "5 times" in supervisor.reason
            assert pauses.taken == [0.5, 1, 2, 4]
            await supervisor.start()
            await until(lambda: len(pauses.taken) == 5)
            assert pauses.taken[4] == 0.5

    asyncio.run(scene())


def test_a_worker_that_was_steady_is_always_started_again(tmp_path):
    """A clock on which every life of a worker lasts two minutes."""
    now = iter(range(0, 10**6, 120))

    async def scene():
        pauses = Pauses()
        supervisor = fake(
            tmp_path, Mode.DIES_AFTER, sleep=pauses, jitter=lambda: 1.0, clock=lambda: float(next(now))
        )
        async with stopped_at_the_end(supervisor):
            await until(lambda: len(pauses.taken) >= 7)
            assert supervisor.state is not ModelState.FAILED

    asyncio.run(scene())


def test_pauses_grow_to_half_a_minute_and_jitter_only_shortens_them():
    steady = Supervisor(None, Path(), jitter=lambda: 0.0)
    assert [steady._pause_s(failures) for failures in (1, 2, 3, 7, 50)] == [0.5, 1, 2, 30, 30]
    early = Supervisor(None, Path(), jitter=lambda: 1.0)
    assert early._pause_s(50) == 15


def test_a_hung_worker_is_killed_and_replaced(tmp_path):
    async def scene():
        supervisor = fake(tmp_path, Mode.DEAF, msgspec.structs.replace(BRISK, grace_s=0.1))
        async with stopped_at_the_end(supervisor):
            await supervisor.settled.wait()
            (first,) = children()
            await until(lambda: supervisor.state is not ModelState.READY)
            assert "hung" in supervisor.reason
            await until(lambda: bool(children()) and children() != [first])

    asyncio.run(scene())


def test_a_well_worker_is_left_alone(tmp_path):
    async def scene():
        async with stopped_at_the_end(fake(tmp_path, Mode.WELL)) as supervisor:
            await supervisor.settled.wait()
            before = children()
            await asyncio.sleep(0.5)  # ten health checks
            assert supervisor.state is ModelState.READY
            assert children() == before

    asyncio.run(scene())


def test_a_worker_that_ignores_being_told_to_stop_is_killed(tmp_path):
    async def scene():
        settings = ModelSettings(grace_s=0.3)
        async with stopped_at_the_end(fake(tmp_path, Mode.DEAF, settings)) as supervisor:
            await supervisor.settled.wait()

    asyncio.run(scene())


def test_a_worker_that_takes_too_long_to_load_is_ended(tmp_path):
    async def scene():
        settings = ModelSettings(load_timeout_s=0.5, quick_failures=2, first_pause_s=0)
        async with stopped_at_the_end(fake(tmp_path, Mode.SILENT, settings)) as supervisor:
            await supervisor.settled.wait()
            assert supervisor.state is ModelState.FAILED
            assert "longer than 0.5 s" in supervisor.reason

    asyncio.run(scene())


def test_a_refused_model_is_not_tried_again(tmp_path):
    reason = refused(fake(tmp_path, Mode.REFUSES))
    assert "a-model could not be loaded: unknown model architecture: 'zlama'." in reason


@pytest.mark.parametrize("mode", [Mode.NO_GPU_MEMORY, Mode.GPU_CRASH])
def test_a_model_that_does_not_load_with_the_gpu_is_loaded_without(tmp_path, mode, caplog, monkeypatch):
    monkeypatch.setattr("llm.engines.supervisor.gpu_nodes", lambda: ["nvidia0"])

    async def scene():
        async with stopped_at_the_end(fake(tmp_path, mode)) as supervisor:
            await until(lambda: supervisor.state is ModelState.READY)
            assert supervisor.device == "CPU"

    asyncio.run(scene())
    assert "CUDA0" in caplog.text
    assert "tried again without the GPU" in caplog.text


def test_where_there_is_no_gpu_none_is_blamed_for_a_worker_that_dies(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("llm.engines.supervisor.gpu_nodes", list)
    assert "GGML_ASSERT" in refused(fake(tmp_path, Mode.DIES_AT_ONCE, sleep=Pauses()))
    assert "GPU" not in caplog.text


def test_a_worker_that_cannot_be_started_is_a_failure_in_words(tmp_path):
    file = tmp_path / "a-model.gguf"
    file.write_bytes(WHOLE)

    async def scene():
        supervisor = Supervisor(file, tmp_path / "run", BRISK, worker=("/nonexistent/python",))
        async with stopped_at_the_end(supervisor):
            await until(lambda: supervisor.state is ModelState.FAILED)
            assert "could not be started" in supervisor.reason

    asyncio.run(scene())


def test_stopping_in_the_moment_in_which_a_health_check_runs_out_stops(tmp_path):
    """A timeout that has run out looks like a cancel for one turn of the loop; stop() must not take it for its own."""

    async def scene():
        supervisor = fake(tmp_path, Mode.WELL)

        async def checking():
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.001):
                        await asyncio.Event().wait()

        supervisor._task = asyncio.create_task(checking())
        while not supervisor._task.cancelling():  # noqa: ASYNC110 - the very turn is meant
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await supervisor.stop()
        assert supervisor._task.cancelled()

    asyncio.run(scene())
