"""The chat models: which of those there are answers, and the house that keeps them.

The configured one, else the one chosen by hand, else the first that can be used: a broken
file, one that is no chat model and one that is too large for the memory hide no other.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from appliance.config import Config, LlmConfig
from library.errors import ConfigurationError, ModelFileInvalid
from library.facts import Facts, peek
from llm.engines.devices import gpus_found
from llm.engines.model_state import ModelState
from llm.engines.remote import RemoteModel
from llm.engines.spoken import Spoken
from llm.engines.supervisor import WHAT_TO_DO, ModelSettings, Supervisor
from llm.engines.worker import PROMPT_CACHE_MIB
from llm.model_files.card import inspect_chat_model
from llm.model_files.digests import Digests
from llm.model_files.eyes import NONE
from llm.model_files.footprint import Fit, Slots, Verdict
from llm.model_files.registry import ModelFile, Registry, model_id
from llm.serving.listing import Serving
from llm.serving.models import Models
from llm.serving.room import Residence

_DEFAULT, _LOADED = "chat_model", "chat_models_loaded"


def open_registry(config: Config) -> Registry:
    """The models folder, looked through."""
    registry = Registry(
        config.models,
        Digests(config.data / "model-digests.json"),
        lambda name: _slots(config.llm.of(name)),
    )
    registry.look()
    return registry


def chosen_model(config: Config, registry: Registry, remembered: str | None = None) -> Path | str | None:
    """The model that answers: a file to load or the name of a remote one; None if there is none, or none is wanted.

    The configured one; else the `remembered` one, by its path below the models
    folder or its name; else the first file that can be loaded; else the first
    remote one. Raises ConfigurationError when what is configured does not exist,
    ModelFileInvalid when it is no chat model. One that seems too large is loaded
    all the same, if it was asked for.
    """
    if not config.llm.enabled:
        return None
    remotes = [remote.name for remote in config.llm.remotes]
    if config.llm.model in remotes:
        return config.llm.model
    if config.llm.model:
        chosen = _configured(config, registry)
        inspect_chat_model(chosen)
        return chosen
    if remembered in remotes:
        return remembered
    fitting = [model for model in registry.chat_models() if _fits(model, registry)]
    fitting.sort(key=lambda model: model.path != remembered)
    return fitting[0].file if fitting else next(iter(remotes), None)


def would_serve(config: Config, registry: Registry) -> dict[Path, Serving]:
    """What a start would load, for a listing while nothing runs; a wrong configuration chooses nothing."""
    try:
        chosen = chosen_model(config, registry, chosen_by_hand(config))
    except (ConfigurationError, ModelFileInvalid):
        return {}
    waiting = Serving(ModelState.REGISTERED.value, None, loaded=False, chosen=True)
    return {chosen: waiting} if isinstance(chosen, Path) else {}


def open_models(
    config: Config, registry: Registry, facts: Facts, on_spoken: Callable[[Spoken], None]
) -> Models:
    """The house of models, nothing of it loaded yet. Raises as `chosen_model`."""
    remembered = RememberedModels(facts)

    def open_host(file: Path | None) -> Supervisor:
        return Supervisor(
            file,
            config.data / "run",
            _settings(config.llm if file is None else config.llm.of(model_id(file))),
            absence=_told_absence(config, registry) if file is None else "",
            eyes=lambda: NONE if file is None else registry.eyes(file),
            on_spoken=on_spoken,
        )

    enabled = config.llm.enabled
    gpus = gpus_found() if enabled and config.llm.uses_gpu else []
    return Models(
        registry,
        remembered,
        open_host,
        lambda: chosen_model(config, registry, remembered.default),
        queue=config.llm.queue,
        residence=Residence(
            on_demand=config.llm.on_demand,
            at_once=config.llm.loaded_at_once,
            memory_bytes=config.llm.memory_mib * 2**20,
            idle_s=config.llm.idle_minutes * 60,
            gpu_free_bytes=sum(gpu.free_bytes for gpu in gpus),
        ),
        remotes=[RemoteModel(remote, on_spoken=on_spoken) for remote in config.llm.remotes if enabled],
    )


def _slots(llm: LlmConfig) -> Slots:
    return Slots(llm.context_tokens, llm.parallel, PROMPT_CACHE_MIB * 2**20)


def _settings(llm: LlmConfig) -> ModelSettings:
    return ModelSettings(
        context_tokens=llm.context_tokens,
        parallel=llm.parallel,
        threads=llm.threads or None,
        gpu_layers=None if llm.gpu_layers == "auto" else llm.gpu_layers,
        load_timeout_s=llm.load_timeout_s,
    )


def chosen_by_hand(config: Config) -> str | None:
    """What `almanac models use` chose, as the record says; for those who tell of a start and do not make one."""
    return peek(config.data / "record.sqlite3", _DEFAULT)


class RememberedModels:
    """What was chosen and loaded by hand, kept in the record."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    @property
    def default(self) -> str | None:
        return self._facts.get(_DEFAULT)

    @property
    def loaded(self) -> tuple[str, ...]:
        return tuple(msgspec.json.decode(self._facts.get(_LOADED) or "[]", type=list[str]))

    def keep(self, default: str | None, loaded: tuple[str, ...]) -> None:
        self._facts.put_all({_DEFAULT: default, _LOADED: msgspec.json.encode(loaded).decode()})


def passed_over(registry: Registry) -> list[str]:
    """What keeps files from being chosen: a sentence for each that is broken or too large."""
    broken = [model.reason for model in registry.files() if model.reason]
    too_large = [
        f"The model {model.path} is too large. {estimate.says}"
        for model in registry.chat_models()
        if (estimate := _estimate(model, registry)) and estimate.fit is Fit.NO
    ]
    return broken + too_large


def _told_absence(config: Config, registry: Registry) -> str:
    """Why there is none, and what to do about it: no file helps where it is switched off."""
    why = absence(config, registry)
    return f"{why} {WHAT_TO_DO}" if config.llm.enabled else why


def absence(config: Config, registry: Registry) -> str:
    """Why no chat model was chosen, in a sentence or two."""
    if not config.llm.enabled:
        return "The chat model is switched off (`llm.enabled`)."
    why = passed_over(registry)
    more = f" And {len(why) - 1} more: see `almanac models`." if len(why) > 1 else ""
    return f"No chat model can be used. {why[0]}{more}" if why else "No chat model is installed."


def _configured(config: Config, registry: Registry) -> Path:
    named = Path(config.llm.model)
    places = [named] if named.is_absolute() else [config.models / "chat" / named, named.absolute()]
    # By its path below the models folder, or by the name that requests call it.
    places += [model.file for model in registry.files() if config.llm.model in {model.path, model.id}]
    for place in places:
        if place.is_file():
            return place
    raise ConfigurationError("llm.model", f"names {named}, which does not exist.")


def _fits(model: ModelFile, registry: Registry) -> bool:
    estimate = _estimate(model, registry)
    return estimate is not None and estimate.fit is not Fit.NO


def _estimate(model: ModelFile, registry: Registry) -> Verdict | None:
    if model.card is None:
        return None
    return registry.estimate(model.file, model.card, eyes=registry.eyes(model.file))
