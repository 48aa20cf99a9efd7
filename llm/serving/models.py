"""The models: every one that can be asked, and which of them are in memory.

    load, or somebody asks ─► its line is held ─► room is made ─► loaded ─► the line moves
                                                   └── those used longest ago: drained, unloaded

Knows the model files, the remote engines and the memory; knows no HTTP. Its hard
rule: one model is brought or let go at a time, and a line that is held is either
moved again or told why not; so an answer is never lost to a swap.
"""

import asyncio
import logging
import shlex
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec

from library.errors import (
    ConfigurationError,
    InvalidRequest,
    ModelFileInvalid,
    ModelNotFound,
    ModelUnavailable,
)
from llm.engines.model_state import ModelState
from llm.engines.remote import RemoteModel
from llm.model_files.card import CTRANSFORMERS, IN_WORDS, SERVED, Kind, ModelCard
from llm.model_files.eyes import Eyes
from llm.model_files.registry import Registry
from llm.serving.model_folder import LOOK_S, ModelFolder
from llm.serving.queue import Load, QueueSettings, Turns
from llm.serving.room import Residence, Room
from llm.serving.served import Host, ServedModel

log = logging.getLogger(__name__)

# How often the time that it took to be loaded a model may go on, though others are waited
# for: else two that are asked for in turn would do nothing but load.
TENURE = 2.0
_LONGEST_TENURE_S = 60.0
_PATIENCE_S = 600  # for answers under way, before a model is unloaded all the same
# What a file was to its host may be true no longer once there is another in its place.
_OF_ANOTHER_FILE = frozenset({ModelState.READY, ModelState.FAILED, ModelState.ABSENT})
_CLOSING = "Almanac is being stopped. Ask again when it is back."


class Memory(Protocol):
    """What is remembered from one start to the next."""

    @property
    def default(self) -> str | None: ...
    @property
    def loaded(self) -> tuple[str, ...]: ...
    def keep(self, default: str | None, loaded: tuple[str, ...]) -> None: ...


class Models:
    """All methods belong to one event loop, but those that only tell."""

    def __init__(
        self,
        registry: Registry,
        memory: Memory,
        open_host: Callable[[Path | None], Host],
        choose: Callable[[], Path | str | None],
        *,
        queue: QueueSettings,
        residence: Residence | None = None,
        remotes: Sequence[RemoteModel] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`open_host` keeps a file (None: no model at all); `choose` names the default, a file or a remote's name."""
        self._registry, self._memory = registry, memory
        self._open_host, self._choose = open_host, choose
        self._queue, self._clock = queue, clock
        self._residence = residence or Residence()
        self._files = dict[Path, ServedModel]()
        self._remotes = {
            remote.model_id: ServedModel(
                remote, Turns(remote.settings.parallel, queue, clock=clock), self._want
            )
            for remote in remotes
        }
        self._moving = asyncio.Lock()
        self._bringing = dict[ServedModel, asyncio.Task[None]]()
        self._insisted = set[ServedModel]()  # of those, as is
        self._on_request = set[ServedModel]()  # which only those want who stand in the line
        self._tasks = set[asyncio.Task[None]]()
        self._folder = ModelFolder(registry, clock)
        self._room = Room(registry, self._residence)
        self.stopping = False
        self.default = self._chosen()

    # --- who there is --------------------------------------------------------------------------------

    def named(self, name: str) -> ServedModel:
        """By id, or a file's path below the models folder. Raises ModelNotFound."""
        if name == self.default.id:
            return self.default
        if name in self._remotes:
            return self._remotes[name]
        for model in self._registry.served_models():
            if name in {model.id, model.path}:
                return self._of_file(model.file)
        for served in self._files.values():  # one whose file has gone meanwhile, or lies elsewhere
            if served.id == name and served.loaded:
                return served
        known = tuple(id_ for kind in SERVED for id_ in self.ids(kind))
        raise ModelNotFound(name, known, self.why_not(name))

    def kind_of(self, name: str) -> Kind | None:
        """Of the file that has that id, though a request may be unable to have it loaded."""
        files = self._registry.served_models()
        return next((model.card.kind for model in files if model.id == name and model.card), None)

    def is_remote(self, name: str) -> bool:
        return name in self._remotes

    def why_not(self, name: str) -> str | None:
        """Of a file that is there and cannot be asked: why, as a sentence."""
        try:
            model = self._registry.find(name)
        except ModelNotFound:
            return None
        if model.card is None:
            return model.reason
        return None if model.card.kind in SERVED else f"It is {IN_WORDS[model.card.kind]}."

    async def look_again(self) -> None:
        """Look through the folder now, for a name that nothing has: its file may have come a moment ago."""
        await self._folder.look_again()

    def ids(self, kind: Kind = Kind.CHAT) -> list[str]:
        """Of all of a kind that can be asked; of chat models, the default first."""
        files = [model.id for model in self._registry.of_kind(kind)] if self._residence.on_demand else []
        served = [model for model in list(self._files.values()) if model.loaded and model.kind is kind]
        loaded = [model.id for model in served if model.id]
        first = [*filter(None, [self.default.id]), *self._remotes] if kind is Kind.CHAT else []
        return list(dict.fromkeys([*first, *loaded, *files]))

    def eyes(self, file: Path) -> Eyes:
        """What the model of a file sees with; of one that is loaded, what it was loaded with."""
        served = self._files.get(file)
        return (served.host.eyes if served and served.loaded else None) or self._registry.eyes(file)

    def seeing(self) -> list[str]:
        """Ids of those that see pictures; of those on other machines that is not known."""
        known = set(self.ids())
        files = self._registry.chat_models()
        return [model.id for model in files if model.id in known and self.eyes(model.file).see]

    def served(self) -> list[ServedModel]:
        """Those that have been asked for since the start, the default first."""
        others = [*self._files.values(), *self._remotes.values()]
        return [self.default, *(model for model in others if model is not self.default)]

    def comes_by_itself(self, model: ServedModel) -> bool:
        """Whether whoever asks it is answered, if after a while; as far as can be told."""
        return model.loaded or (model.problem is None and self._residence.on_demand)

    def load(self) -> Load:
        """Of all lines together."""
        loads = [model.turns.load() for model in self.served()]
        first, *others = loads
        for other in others:
            sums = {
                name: getattr(first, name) + getattr(other, name)
                for name in first.__struct_fields__
                if name != "turn_s"
            }
            first = msgspec.structs.replace(first, **sums, turn_s=max(first.turn_s, other.turn_s))
        return first

    # --- what is done with them ------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to load what is to be loaded, and return at once."""
        for remote in self._remotes.values():
            await remote.host.start()
        if self.default.file is None and self.default.id is None:
            await self.default.host.start()  # which says that there is none
        self._begin(self._watch())
        wanted = [self.default, *self._remembered()]
        for model in wanted:
            if model.file is not None:
                self._bring(model, insisted=model is self.default)

    async def stop(self) -> None:
        """End all of them, answers under way included."""
        self.stopping = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(model.host.stop() for model in self.served()))

    def close(self) -> None:
        """Turn away who waits and who comes."""
        for model in self.served():
            model.turns.close()

    async def drained(self) -> None:
        """Return when nobody is answered any more, or after the queue's `drain_s`."""
        await asyncio.gather(*(model.turns.drained() for model in self.served()))

    def bring(self, name: str, *, insisted: bool = False) -> ServedModel:
        """Begin to load a model, and return at once. It is loaded at the next start, too.

        `insisted`: also if it seems too large. Raises ModelNotFound, and
        InvalidRequest for a remote one.
        """
        model = self._own(name)
        self._bring(model, insisted=insisted)
        self._keep(loaded={*self._memory.loaded, *self._key(model)})
        return model

    def let_go(self, name: str, *, now: bool = False) -> ServedModel:
        """Begin to unload a model, once the answers under way have ended or `now`. Raises as `bring`."""
        model = self._own(name)
        if model.loaded:
            self._begin(self._unload(model, now=now))
        self._keep(loaded=set(self._memory.loaded) - self._key(model))
        return model

    def use(self, name: str) -> ServedModel:
        """Begin to make a model the default: it is loaded first, and the former one unloaded after it.

        Until then, and if it cannot be loaded, the former stays. Raises ModelNotFound,
        and InvalidRequest for one that does not chat.
        """
        model = self.named(name)
        if model.kind is not Kind.CHAT:
            raise InvalidRequest("model", f"cannot be {name!r}: it is {IN_WORDS[model.kind]}.")
        self._begin(self._swap(model))
        return model

    # --- how -------------------------------------------------------------------------------------------

    def _want(self, model: ServedModel) -> None:
        """Somebody lines up for it. Raises ModelUnavailable where that would be in vain."""
        if self.stopping:
            raise ModelUnavailable(_CLOSING)
        match model.host.state:
            case ModelState.READY | ModelState.LOADING:
                return
            case ModelState.STOPPED if model.file is not None:
                if model not in self._bringing and not self._residence.on_demand:
                    raise ModelUnavailable(
                        f"{model.reason} Whoever runs Almanac can load it: `almanac models load {_typed(model)}`."
                    )
                self._bring(model, insisted=model is self.default, on_request=True)
            case _:
                raise ModelUnavailable(model.host.reason or f"The model {model.id} cannot be asked.")

    def _bring(
        self, model: ServedModel, *, insisted: bool = False, on_request: bool = False
    ) -> asyncio.Task[None]:
        if model not in self._bringing:
            model.problem = None
            if model.state is not ModelState.READY:  # who asks one that is there has nothing to wait for
                model.turns.hold()
            self._bringing[model] = self._begin(self._brought(model))
            if on_request:
                self._on_request.add(model)
        if not on_request:
            self._on_request.discard(model)
        if insisted:
            self._insisted.add(model)
        return self._bringing[model]

    async def _brought(self, model: ServedModel) -> None:
        async with self._moving:
            if model in self._on_request and not model.turns.waiting:
                self._brought_no_more(model)  # all have left: nobody makes room for them
            else:
                await self._load(model)

    async def _load(self, model: ServedModel) -> None:
        """To be called by whoever moves. Its line moves afterwards, or was turned away."""
        model.problem = None
        model.turns.hold()
        try:
            if not model.loaded:  # else it has its room, and would be counted beside itself
                self._look_at_kind(model)
                await self._make_room(model)
            began = self._clock()
            await model.host.start()
            await model.host.settled.wait()
            model.host.engine()
        except ModelUnavailable as error:
            model.problem = str(error)
            log.warning("%s", error)
        except Exception:
            model.problem = f"The model {model.id} could not be loaded: something unforeseen happened."
            log.exception("A model could not be loaded.")
        else:
            model.was_ready, model.ready_at = True, self._clock()
            model.tenure_s = min(TENURE * (model.ready_at - began), _LONGEST_TENURE_S)
        finally:
            # Before anybody is told: who is turned away may well ask again at once.
            self._brought_no_more(model)
        if model.problem is not None:
            model.turns.turn_away(ModelUnavailable(model.problem))
        model.turns.resume()

    def _look_at_kind(self, model: ServedModel) -> None:
        """A file may have become one of another kind. Raises ModelUnavailable if the default chats no more."""
        model.kind = self._kind(model.file)
        if model is self.default and model.kind is not Kind.CHAT:
            raise ModelUnavailable(
                f"The model {model.id} does not answer: its file is {IN_WORDS[model.kind]} now. "
                "Whoever runs Almanac can choose another: `almanac models use NAME`."
            )

    def _brought_no_more(self, model: ServedModel) -> None:
        self._bringing.pop(model, None)
        self._insisted.discard(model)
        self._on_request.discard(model)

    async def _make_room(self, model: ServedModel) -> None:
        """Unload others, those that nobody asks and that were used longest ago first. Raises ModelUnavailable."""
        # Nobody is sent away for one that would not fit even then.
        if (
            needs := self._room.lacking(model, self._loaded(), alone=True)
        ) is not None and model not in self._insisted:
            raise self._too_large(model, needs)
        while (needs := self._room.lacking(model, self._loaded())) is not None:
            others = [other for other in self._loaded() if other is not model]
            if not others:
                if model in self._insisted:
                    return
                raise self._too_large(model, needs)
            other = min(others, key=lambda other: (other.busy, other.used_at))
            spared_s = other.ready_at + other.tenure_s - self._clock()
            if other.busy and spared_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(spared_s):
                        await other.turns.idle()
            await self._let_go(other)

    def _too_large(self, model: ServedModel, needs: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"The model {model.id} is not loaded: it is too large. {needs} "
            f"Whoever runs Almanac can insist: `almanac models load {_typed(model)} --insist`."
        )

    async def _unload(self, model: ServedModel, *, now: bool = False) -> None:
        async with self._moving:
            await self._let_go(model, now=now)

    async def _let_go(self, model: ServedModel, *, now: bool = False) -> None:
        model.draining = True
        model.turns.hold()
        try:
            if not now:
                try:
                    async with asyncio.timeout(_PATIENCE_S):
                        await model.turns.idle()
                except TimeoutError:
                    log.warning("The model %s is unloaded while it answers: that took too long.", model.id)
            await model.host.stop()
            log.info("The model %s was unloaded.", model.id)
        finally:
            model.draining = False
        if model.turns.waiting:
            try:
                self._want(model)
            except ModelUnavailable as error:
                model.turns.turn_away(error)

    async def _swap(self, model: ServedModel) -> None:
        async with self._moving:
            former = self.default
            if model.file is not None and model.host.state is not ModelState.READY:
                if self._room.lacking(model, self._loaded()) is not None:
                    self.default = model  # the former makes room: whoever comes now waits for this one
                await self._load(model)
            if model.host.state is not ModelState.READY:
                self.default = former
                return
            self.default = model
        self._keep(default=next(iter(self._key(model)), model.id))
        log.info("The model %s answers from now on.", model.id)
        if former is not model and former.file is not None and former.loaded:
            await self._unload(former)

    # --- looking after them ----------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._look()
                self._unload_idle()
            except Exception:
                log.exception("The models folder could not be looked after; it is tried again.")

    async def _look(self) -> None:
        """Take note of model files that came, changed or went."""
        settled = await self._folder.look()
        for other in self._seeing_otherwise(settled):
            log.info("The chat model %s is loaded anew: the projector beside it has changed.", other.id)
            self._begin(self._anew(other))
        for file in settled:
            served, found = self._files.get(file), self._folder.known.get(file)
            if served is not None and served.host.state is ModelState.READY and not (found and found.card):
                log.warning("The model %s stays as it was loaded: its file is gone or broken.", served.id)
            elif served is not None and served.host.state in _OF_ANOTHER_FILE:
                log.info("The model %s is loaded anew: its file has changed.", served.id)
                self._begin(self._anew(served))
            elif self.default.state is ModelState.ABSENT and self.default.file is None:
                self._choose_anew()
        if self.default.state is ModelState.ABSENT and self.default.file is not None:
            self._choose_anew()  # its file is gone
        for file, served in list(self._files.items()):
            if (
                served is not self.default
                and served not in self._bringing
                and not served.loaded
                and not served.busy
                and not file.exists()
            ):
                del self._files[file]

    def _seeing_otherwise(self, settled: Sequence[Path]) -> list[ServedModel]:
        """Those that are loaded, and beside which a projector came, changed or went."""
        found = []
        for file, served in self._files.items():
            eyes, now = served.host.eyes, self._registry.eyes(file).projector
            if served.host.state is ModelState.READY and eyes is not None and eyes.projector != now:
                concerned = {file, *(one.file for one in (eyes.projector, now) if one is not None)}
                if file not in settled and not concerned & self._folder.unsettled:
                    found.append(served)
        return found

    def _choose_anew(self) -> None:
        with suppress(ConfigurationError, ModelFileInvalid):  # the one that is configured is gone, or broken
            self.default = self._chosen()
            if self.default.file is not None:
                self._bring(self.default, insisted=True)

    async def _anew(self, model: ServedModel) -> None:
        await self._unload(model)
        await self._bring(model, insisted=model is self.default)

    def _unload_idle(self) -> None:
        longest = self._residence.idle_s
        for model in self._loaded() if longest else ():
            unused = self._clock() - model.used_at
            if (
                model is not self.default
                and not model.busy
                and model not in self._bringing
                and unused > longest
            ):
                log.info("The model %s has not been asked for a while.", model.id)
                self._begin(self._unload(model))

    def _loaded(self) -> list[ServedModel]:
        return [model for model in self.served() if model.file is not None and model.loaded]

    def _chosen(self) -> ServedModel:
        chosen = self._choose()
        if isinstance(chosen, str):
            return self._remotes[chosen]
        if chosen is not None:
            return self._of_file(chosen)
        return ServedModel(self._open_host(None), Turns(1, self._queue, clock=self._clock), self._want)

    def _of_file(self, file: Path) -> ServedModel:
        if file not in self._files:
            turns = Turns(self._slots_of(file), self._queue, held=True, clock=self._clock)
            self._files[file] = ServedModel(self._open_host(file), turns, self._want, kind=self._kind(file))
        return self._files[file]

    def _slots_of(self, file: Path) -> int:
        """Who asks for more than the engine writes at once waits here, where it is told its position."""
        card = self._card(file)
        return (
            1 if card is not None and card.engine == CTRANSFORMERS else self._registry.slots_of(file).parallel
        )

    def _kind(self, file: Path | None) -> Kind:
        card = self._card(file)
        return card.kind if card is not None and card.kind in SERVED else Kind.CHAT

    def _card(self, file: Path | None) -> ModelCard | None:
        """As the last look through the folder found it."""
        return next((model.card for model in self._registry.files() if model.file == file), None)

    def _own(self, name: str) -> ServedModel:
        model = self.named(name)
        if model.file is None:
            raise InvalidRequest("model", f"cannot be {name!r}: it runs on another machine.")
        return model

    def _remembered(self) -> list[ServedModel]:
        by_path = {model.path: model.file for model in self._registry.served_models()}
        return [self._of_file(by_path[path]) for path in self._memory.loaded if path in by_path]

    def _key(self, model: ServedModel) -> set[str]:
        """What a file is remembered by: its path below the models folder. Empty for one that lies elsewhere."""
        return {known.path for known in self._registry.files() if known.file == model.file}

    def _keep(self, *, default: str | None = None, loaded: set[str] | None = None) -> None:
        self._memory.keep(
            default or self._memory.default,
            self._memory.loaded if loaded is None else tuple(sorted(loaded)),
        )

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _typed(model: ServedModel) -> str:
    """Its name, as a shell takes it."""
    return shlex.quote(model.id or "")
