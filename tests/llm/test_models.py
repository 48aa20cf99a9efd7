"""The house of models: who is loaded when, who makes room, and that nobody who waits is forgotten."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from library.errors import InvalidRequest, ModelNotFound, ModelUnavailable
from llm.engines.model_state import ModelState
from llm.engines.remote import RemoteModel, RemoteSettings
from llm.model_files.card import Kind
from llm.model_files.eyes import NONE, Eyes
from llm.model_files.footprint import Slots
from llm.model_files.registry import Registry
from llm.serving import room as under_test
from llm.serving.models import Models
from llm.serving.queue import QueueSettings, Reader
from llm.serving.room import Residence
from llm.serving.served import ServedModel
from tests.llm.gguf_files import WHOLE, counted, gguf, said
from tests.llm.tiny_eyes import tiny_eyes
from tests.llm.tiny_llama import WIDTH, tiny_llama

EMBEDDING = gguf([said("general.architecture", "bert"), counted("bert.pooling_type", 1)])
RERANK = gguf([said("general.architecture", "bert"), counted("bert.pooling_type", 4)])


class FakeHost:
    """Loads in two turns of the loop, or fails; remembers what was done with it."""

    def __init__(
        self,
        file: Path | None,
        events: list[str],
        failing: set[str],
        eyes: Callable[[], Eyes] = lambda: NONE,
    ) -> None:
        self.model_file, self.model_id = file, file.stem if file else None
        self.state = ModelState.STOPPED if file else ModelState.ABSENT
        self.reason: str | None = "nothing here" if file is None else None
        self.settled = asyncio.Event()
        self.device, self.pid = None, None
        self.eyes, self._look_for_eyes = NONE, eyes
        self._events, self._failing = events, failing

    def engine(self) -> Any:
        if self.state is not ModelState.READY:
            raise ModelUnavailable(self.reason or "not ready")
        return self.model_id

    async def engine_back(self, within_s: float) -> Any:
        return self.engine()

    async def start(self) -> None:
        if self.state is ModelState.READY or self.model_file is None:
            return
        self.settled.clear()
        self.state, self.eyes = ModelState.LOADING, self._look_for_eyes()
        asyncio.get_running_loop().call_later(0.01, self._loaded)

    def _loaded(self) -> None:
        failed = self.model_id in self._failing
        self.state = ModelState.FAILED if failed else ModelState.READY
        self.reason = f"{self.model_id} is broken." if failed else None
        self._events.append(f"{'failed' if failed else 'loaded'} {self.model_id}")
        self.settled.set()

    async def stop(self) -> None:
        if self.state is not ModelState.ABSENT:
            self._events.append(f"stopped {self.model_id}")
            self.state = ModelState.STOPPED


class FakeMemory:
    default: str | None = None
    loaded: tuple[str, ...] = ()

    def keep(self, default: str | None, loaded: tuple[str, ...]) -> None:
        self.default, self.loaded = default, loaded


class Scene:
    def __init__(self, folder: Path, **residence: Any) -> None:
        self.folder, self.events, self.failing = folder, list[str](), set[str]()
        self.memory, self.now = FakeMemory(), 1000.0
        self.registry = Registry(folder, slots=lambda _: Slots(parallel=1))
        self.registry.look()
        self.residence = Residence(**{"at_once": 1, "memory_bytes": 2**40} | residence)

    def put(self, name: str) -> Path:
        file = self.folder / f"{name}.gguf"
        file.write_bytes(WHOLE)
        os.utime(file, (time.time() - 60,) * 2)
        self.registry.look()
        return file

    def _choose(self) -> Path | None:
        chat = self.registry.chat_models()
        return next((m.file for m in chat if m.path == self.memory.default), chat[0].file if chat else None)

    @asynccontextmanager
    async def house(self, queue: QueueSettings | None = None) -> AsyncIterator[Models]:
        house = Models(
            self.registry,
            self.memory,
            lambda file: FakeHost(file, self.events, self.failing, lambda: self.registry.eyes(file)),
            self._choose,
            queue=queue or QueueSettings(),
            residence=self.residence,
            clock=lambda: self.now,
        )
        await house.start()
        try:
            yield house
        finally:
            await house.stop()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path)
    for name in "abc":
        made.put(name)
    return made


def run(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scene(), 20))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is watched tells nobody
            await asyncio.sleep(0.005)


async def ready(model: ServedModel) -> None:
    await until(lambda: model.state is ModelState.READY)


def test_the_default_is_loaded_at_the_start_and_others_when_they_are_asked_for(scene):
    async def play():
        async with scene.house() as house:
            assert house.default.state in {ModelState.REGISTERED, ModelState.LOADING}
            await ready(house.default)
            assert (house.default.id, house.ids()) == ("a", ["a", "b", "c"])
            assert house.named("b").state is ModelState.REGISTERED
            async with house.named("b").turn(Reader("Ann")) as engine:
                assert engine == "b"
            assert scene.events == ["loaded a", "stopped a", "loaded b"]
            assert house.default.state is ModelState.UNLOADED
            async with house.default.turn(Reader("Ann")) as engine:  # and it comes back when it is asked for
                assert engine == "a"

    run(play)


def test_what_was_used_longest_ago_makes_room(tmp_path):
    scene = Scene(tmp_path, at_once=2)
    for name in "abc":
        scene.put(name)

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            for name in "bac":
                scene.now += 60
                async with house.named(name).turn(Reader("Ann")):
                    pass
            assert scene.events == ["loaded a", "loaded b", "stopped b", "loaded c"]

    run(play)


def test_who_is_being_answered_is_never_interrupted_and_who_waits_is_answered_later(scene):
    async def play():
        async with scene.house() as house:
            await ready(house.default)
            a, b, told = house.named("a"), house.named("b"), []

            async def ask(model: ServedModel, who: str) -> None:
                async with model.turn(Reader(who)) as engine:
                    told.append((who, engine))

            async with a.turn(Reader("first")):
                others = [
                    asyncio.create_task(ask(model, who))
                    for model, who in ((b, "Ben"), (a, "Ann"), (b, "Bea"))
                ]
                await asyncio.sleep(0.1)
                assert (a.state, told) == (ModelState.DRAINING, [])
                assert "being unloaded" in a.reason
            await asyncio.gather(*others)
            assert sorted(told) == [("Ann", "a"), ("Bea", "b"), ("Ben", "b")]

    run(play)


def test_a_model_that_others_wait_for_is_left_alone_for_a_while(scene):
    async def play():
        async with scene.house() as house:
            await ready(house.default)
            b, house.default.tenure_s = house.named("b"), 0.2
            async with house.default.turn(Reader("Ann")):
                waiting = asyncio.create_task(anext(aiter_of(b)))
                await asyncio.sleep(0.1)
                assert house.default.state is ModelState.READY  # still its time
                await until(lambda: house.default.state is ModelState.DRAINING)
            assert await waiting == "b"

    run(play)


async def aiter_of(model: ServedModel) -> AsyncIterator[str]:
    async with model.turn(Reader("Ben")) as engine:
        yield engine


def test_one_that_cannot_be_loaded_says_why_to_everybody_who_waits_and_is_not_tried_by_requests(scene):
    scene.failing.add("b")

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            b = house.named("b")

            async def ask() -> str:
                try:
                    async with b.turn(Reader("Ann")):
                        return "answered"
                except ModelUnavailable as error:
                    return str(error)

            assert await asyncio.gather(ask(), ask()) == ["b is broken."] * 2
            assert await ask() == "b is broken."
            assert scene.events.count("failed b") == 1
            scene.failing.clear()
            house.bring("b")  # but it is by whoever loads it by hand
            await ready(b)

    run(play)


def test_one_that_is_too_large_is_refused_in_words_unless_somebody_insists(tmp_path):
    scene = Scene(tmp_path, memory_bytes=1)
    for name in "ab":
        scene.put(name)

    async def play():
        async with scene.house() as house:
            await ready(house.default)  # the default is always tried
            with pytest.raises(ModelUnavailable, match=r"too large\. It needs about"):
                async with house.named("b").turn(Reader("Ann")):
                    pass
            assert "too large" in house.named("b").problem
            house.bring("b", insisted=True)
            await ready(house.named("b"))
            assert house.named("b").problem is None

    run(play)


def test_nobody_makes_room_for_one_that_would_not_fit_even_then(tmp_path):
    scene = Scene(tmp_path, at_once=1, memory_bytes=1)
    for name in "ab":
        scene.put(name)

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            house.bring("b")
            await until(lambda: house.named("b").problem is not None)
            assert "`llm.memory_mib`" in house.named("b").problem
            assert "`almanac models load b --insist`" in house.named("b").problem
            assert scene.events == ["loaded a"]

    run(play)


def test_the_default_is_loaded_again_however_large_it_is(tmp_path):
    scene = Scene(tmp_path, memory_bytes=1)
    scene.put("a")

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            house.let_go("a")
            await until(lambda: house.default.state is ModelState.UNLOADED)
            async with house.default.turn(Reader("Ann")) as engine:
                assert engine == "a"

    run(play)


def test_what_others_may_still_take_is_not_free(tmp_path, monkeypatch):
    scene = Scene(tmp_path, at_once=9, memory_bytes=0)
    for name in "ab":
        scene.put(name)

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            needs = house._room.needs(house.default).total
            monkeypatch.setattr(under_test, "free_memory", lambda: 2 * needs - 1)
            async with house.named("b").turn(Reader("Ann")):
                assert house.default.state is ModelState.UNLOADED
            monkeypatch.setattr(under_test, "free_memory", lambda: 2 * needs)
            async with house.default.turn(Reader("Ann")):
                assert house.named("b").state is ModelState.READY

    run(play)


def test_one_that_is_there_already_makes_nobody_go_and_keeps_nobody_waiting(tmp_path, monkeypatch):
    scene = Scene(tmp_path, at_once=9, memory_bytes=0)
    for name in "ab":
        scene.put(name)

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            house.bring("b")
            await ready(house.named("b"))
            monkeypatch.setattr(under_test, "free_memory", lambda: 0)  # the two have all of it
            house.bring("b")
            async with (
                asyncio.timeout(1),
                house.named("b").turn(Reader("Ann")),
                house.default.turn(Reader("Ann")),
            ):
                pass
            await until(lambda: not house._bringing)
            assert house.named("b").problem is None
            assert scene.events == ["loaded a", "loaded b"]

    run(play)


def test_whatever_goes_wrong_when_room_is_made_is_told_to_who_waits(scene, monkeypatch):
    async def play():
        async with scene.house() as house:
            await ready(house.default)

            def gone(*_: object) -> Any:
                raise PermissionError(13, "Permission denied", str(scene.folder))

            monkeypatch.setattr(under_test, "footprint", gone)
            with pytest.raises(ModelUnavailable, match="unforeseen") as told:
                async with asyncio.timeout(1), house.named("b").turn(Reader("Ann")):
                    pass
            assert str(scene.folder) not in str(told.value)
            monkeypatch.undo()
            async with asyncio.timeout(1), house.named("b").turn(Reader("Ann")) as engine:
                assert engine == "b"

    run(play)


def test_nobody_makes_room_for_who_has_left(scene):
    async def play():
        async with scene.house() as house:
            await ready(house.default)
            async with house.default.turn(Reader("Ann")):
                b = asyncio.create_task(leave(house.named("b"), "Bob"))
                await until(lambda: house.default.draining)
                c = asyncio.create_task(leave(house.named("c"), "Cid"))
                await until(lambda: house.named("c").turns.waiting)
                c.cancel()
            await b
            await until(lambda: not house._bringing)
            assert scene.events == ["loaded a", "stopped a", "loaded b"]
            async with asyncio.timeout(1), house.named("c").turn(Reader("Cid")) as engine:
                assert engine == "c"

    async def leave(model: ServedModel, reader: str) -> None:
        async with model.turn(Reader(reader)):
            pass

    run(play)


def test_room_is_made_without_reading_files_that_are_known(scene, monkeypatch):
    async def play():
        monkeypatch.setattr(under_test, "inspect_served", lambda file: pytest.fail(f"{file} was read"))
        async with scene.house() as house:
            await ready(house.default)
            async with house.named("b").turn(Reader("Ann")):
                pass

    run(play)


def test_nothing_is_loaded_by_requests_where_that_is_not_wished(tmp_path):
    scene = Scene(tmp_path, on_demand=False)
    for name in "ab":
        scene.put(name)

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            assert house.ids() == ["a"]
            with pytest.raises(ModelUnavailable, match="Whoever runs Almanac can load it"):
                async with house.named("b").turn(Reader("Ann")):
                    pass
            house.bring("b")
            await ready(house.named("b"))
            assert house.ids() == ["a", "b"]

    run(play)


def test_unloading_waits_for_answers_or_does_not(scene):
    async def play():
        async with scene.house() as house:
            await ready(house.default)
            a = house.default
            async with a.turn(Reader("Ann")):
                house.let_go("a")
                await until(lambda: a.state is ModelState.DRAINING)
                await asyncio.sleep(0.05)
                assert scene.events == ["loaded a"]
            await until(lambda: a.state is ModelState.UNLOADED)
            house.bring("a")
            await ready(a)
            async with a.turn(Reader("Ann")):
                house.let_go("a", now=True)
                await until(lambda: a.state is ModelState.UNLOADED)

    run(play)


def test_one_that_nobody_asks_for_long_is_unloaded_but_the_default_is_not(tmp_path):
    scene = Scene(tmp_path, at_once=9, idle_s=600)
    for name in "ab":
        scene.put(name)

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            async with house.named("b").turn(Reader("Ann")):
                scene.now += 601
                house._unload_idle()
                await asyncio.sleep(0.05)
                assert house.named("b").state is ModelState.READY  # it is being asked
            house._unload_idle()
            await asyncio.sleep(0.05)
            assert house.named("b").state is ModelState.READY
            scene.now += 601
            house._unload_idle()
            await until(lambda: house.named("b").state is ModelState.UNLOADED)
            assert house.default.state is ModelState.READY

    run(play)


def test_another_default_is_loaded_before_the_former_goes_and_is_remembered(tmp_path):
    scene = Scene(tmp_path, at_once=2)
    for name in "ab":
        scene.put(name)

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            house.use("b")
            await until(lambda: house.default.id == "b" and house.named("a").state is ModelState.UNLOADED)
            assert scene.events == ["loaded a", "loaded b", "stopped a"]
            assert scene.memory.default == "b.gguf"
        async with scene.house() as house:
            assert house.default.id == "b"

    run(play)


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_default_that_cannot_be_loaded_leaves_the_former(tmp_path, at_once):
    scene = Scene(tmp_path, at_once=at_once)
    for name in "ab":
        scene.put(name)
    scene.failing.add("b")

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            house.use("b")
            await until(lambda: house.named("b").state is ModelState.FAILED)
            await until(lambda: house.default.id == "a")
            assert scene.memory.default is None
            async with house.default.turn(Reader("Ann")) as engine:
                assert engine == "a"

    run(play)


def test_what_was_loaded_by_hand_is_loaded_again_at_the_next_start(tmp_path):
    scene = Scene(tmp_path, at_once=3)
    for name in "abc":
        scene.put(name)

    async def play():
        async with scene.house() as house:
            house.bring("b")
            house.bring("c")
            await ready(house.named("c"))
            house.let_go("c")
        assert scene.memory.loaded == ("b.gguf",)
        async with scene.house() as house:
            await ready(house.named("b"))
            assert house.named("c").state is ModelState.REGISTERED

    run(play)


def test_models_of_other_kinds_are_kept_like_any_and_never_answer(tmp_path):
    scene = Scene(tmp_path, at_once=2)
    for name, file in (("a", WHOLE), ("reads", EMBEDDING), ("judges", RERANK)):
        scene.put(name).write_bytes(file)
    scene.registry.look()

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            assert (house.ids(), house.ids(Kind.EMBEDDING), house.ids(Kind.RERANK)) == (
                ["a"],
                ["reads"],
                ["judges"],
            )
            for name in ("reads", "judges"):
                assert house.why_not(name) is None
                async with house.named(name).turn(Reader("Ann")) as engine:
                    assert engine == name
                with pytest.raises(InvalidRequest, match=r"cannot be .*: it is "):
                    house.use(name)
            assert house.default.id == "a"
            assert scene.events == ["loaded a", "loaded reads", "stopped a", "loaded judges"]
            house.bring("reads")
            with pytest.raises(ModelNotFound, match="Known models: a, reads, judges"):
                house.named("nonsuch")
        async with scene.house() as house:  # loaded by hand, so at every start
            await ready(house.named("reads"))

    run(play)


def test_a_default_that_becomes_one_of_another_kind_answers_no_more(scene):
    async def play():
        async with scene.house() as house:
            await ready(house.default)
            scene.put("a").write_bytes(EMBEDDING)
            os.utime(scene.folder / "a.gguf", (time.time() - 30,) * 2)
            await house._look()
            await until(lambda: house.default.problem is not None)
            assert house.default.state is ModelState.UNLOADED
            with pytest.raises(ModelUnavailable, match="its file is an embedding model"):
                async with house.default.turn(Reader("Ann")):
                    pass
            house.use("b")
            await until(lambda: house.default.id == "b")
            async with house.named("a").turn(Reader("Ann")):  # of vectors, now
                assert house.named("a").kind is Kind.EMBEDDING

    run(play)


def test_a_first_model_is_taken_up_without_a_restart(tmp_path):
    scene = Scene(tmp_path)

    async def play():
        async with scene.house() as house:
            assert (house.default.state, house.default.id, house.ids()) == (ModelState.ABSENT, None, [])
            with pytest.raises(ModelUnavailable, match="nothing here"):
                async with house.default.turn(Reader("Ann")):
                    pass
            (scene.folder / "new.gguf").write_bytes(WHOLE)
            await house._look()
            assert house.default.id is None  # it may still be being copied
            os.utime(scene.folder / "new.gguf", (time.time() - 60,) * 2)
            await house._look()
            await ready(house.default)
            assert house.default.id == "new"

    run(play)


def test_a_model_whose_file_changes_is_loaded_anew_and_one_whose_file_goes_is_forgotten(scene):
    async def play():
        async with scene.house() as house:
            await ready(house.default)
            (scene.folder / "a.gguf").write_bytes(WHOLE + b"\0")
            os.utime(scene.folder / "a.gguf", (time.time() - 30,) * 2)
            await house._look()
            await until(lambda: scene.events == ["loaded a", "stopped a", "loaded a"])
            house.named("c").host.state = ModelState.ABSENT  # asked for while its file was being replaced
            scene.put("c").write_bytes(WHOLE + b"\0")
            os.utime(scene.folder / "c.gguf", (time.time() - 30,) * 2)
            await house._look()
            await until(lambda: "loaded c" in scene.events)
            house.named("b")
            (scene.folder / "b.gguf").unlink()
            await house._look()
            with pytest.raises(ModelNotFound, match="Known models: a, c"):
                house.named("b")

    run(play)


def test_a_model_is_loaded_anew_when_a_projector_comes_changes_or_goes(scene):
    model, projector = scene.folder / "a.gguf", scene.folder / "mmproj.gguf"

    def write(file: Path, content: bytes, age_s: float) -> None:
        file.write_bytes(content)
        os.utime(file, (time.time() - age_s,) * 2)

    async def play():
        write(model, tiny_llama(), 90)
        scene.registry.look()
        async with scene.house() as house:
            await ready(house.default)
            assert house.seeing() == []
            for at, change in enumerate(
                (
                    lambda: write(projector, tiny_eyes(WIDTH), 60),
                    lambda: write(projector, tiny_eyes(WIDTH, seed=2), 30),
                    projector.unlink,
                ),
                start=1,
            ):
                change()
                await house._look()
                await until(lambda: scene.events == ["loaded a", *["stopped a", "loaded a"] * at])  # noqa: B023
                assert house.seeing() == (["a"] if projector.exists() else [])
            write(scene.folder / "mmproj-wide.gguf", tiny_eyes(WIDTH * 2), 30)  # which is not its own
            await house._look()
            await asyncio.sleep(0.05)
            assert len(scene.events) == 7

    run(play)


def test_a_model_that_answers_is_not_given_up_for_a_broken_file(scene):
    def write(content: bytes) -> None:
        (scene.folder / "a.gguf").write_bytes(content)
        os.utime(scene.folder / "a.gguf", (time.time() - 30,) * 2)

    async def play():
        async with scene.house() as house:
            await ready(house.default)
            write(WHOLE[:-1])  # half of it has been copied
            await house._look()
            await asyncio.sleep(0.05)
            assert (scene.events, house.default.state) == (["loaded a"], ModelState.READY)
            write(WHOLE + b"\0")
            await house._look()
            await until(lambda: scene.events == ["loaded a", "stopped a", "loaded a"])

    run(play)


def test_a_change_that_a_listing_has_seen_first_is_not_missed(tmp_path):
    scene = Scene(tmp_path)

    async def play():
        async with scene.house() as house:
            scene.put("a")  # looks, as a listing does
            await house._look()
            await ready(house.default)
            (scene.folder / "a.gguf").write_bytes(WHOLE + b"\0")
            os.utime(scene.folder / "a.gguf", (time.time() - 30,) * 2)
            scene.registry.look()
            await house._look()
            await until(lambda: scene.events == ["loaded a", "stopped a", "loaded a"])

    run(play)


def test_another_answers_when_the_file_of_the_one_that_did_is_gone(scene):
    async def play():
        async with scene.house() as house:
            await ready(house.default)
            (scene.folder / "a.gguf").unlink()
            await house._look()
            assert house.default.id == "a"  # it is loaded still
            house.default.host.state = ModelState.ABSENT  # as when its worker has ended
            await house._look()
            await ready(house.default)
            assert house.default.id == "b"

    run(play)


def test_a_file_that_cannot_be_used_is_not_said_to_be_missing(scene):
    (scene.folder / "half.gguf").write_bytes(WHOLE[:-1])

    async def play():
        async with scene.house() as house:
            with pytest.raises(ModelNotFound, match="'half' does not exist here"):
                house.named("half")
            await house.look_again()
            with pytest.raises(ModelNotFound, match=r"'half' cannot be used\. half\.gguf is cut short"):
                house.named("half")

    run(play)


def test_closing_turns_away_who_waits_and_who_comes(scene):
    async def play():
        async with scene.house() as house:
            await ready(house.default)
            async with house.default.turn(Reader("Ann")):
                waiting = asyncio.create_task(anext(aiter_of(house.default)))
                await asyncio.sleep(0.02)
                house.close()
                with pytest.raises(ModelUnavailable, match="being stopped"):
                    await waiting
            await asyncio.wait_for(house.drained(), 1)
            await house.stop()
            with pytest.raises(ModelUnavailable, match="being stopped"):
                async with house.named("b").turn(Reader("Ann")):
                    pass

    run(play)


def test_what_is_said_of_all_lines_together_adds_up(tmp_path):
    scene = Scene(tmp_path, at_once=2)
    for name in "ab":
        scene.put(name)

    async def play():
        async with scene.house() as house:
            async with house.named("a").turn(Reader("Ann")), house.named("b").turn(Reader("Ann")):
                assert (house.load().slots, house.load().running) == (2, 2)
            assert house.load().served == 2

    run(play)


def test_a_model_on_another_machine_is_neither_loaded_nor_unloaded(tmp_path):
    scene = Scene(tmp_path)
    remote = RemoteModel(RemoteSettings(name="far", url="http://127.0.0.1:9"))

    async def play():
        house = Models(
            scene.registry,
            scene.memory,
            lambda file: FakeHost(file, scene.events, scene.failing),
            lambda: "far",
            queue=QueueSettings(),
            remotes=[remote],
        )
        await house.start()
        try:
            await until(lambda: house.default.state is ModelState.FAILED)
            with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1:9 does not answer"):
                async with house.default.turn(Reader("Ann")):
                    pass
            for do in (house.bring, house.let_go):
                with pytest.raises(InvalidRequest, match="another machine"):
                    do("far")
        finally:
            await house.stop()

    run(play)


def test_no_password_of_a_remote_engine_is_told():
    async def play():
        settings = RemoteSettings(name="big", url="http://ann:secret@gpu.lan:8000/v1?key=secret")
        remote = RemoteModel(settings)
        assert settings.shown == "http://gpu.lan:8000/v1"
        assert "secret" not in f"{remote.reason} {remote.device}"

    run(play)
