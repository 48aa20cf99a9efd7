"""The chat model: which file of those there are is loaded.

The configured one, else the first that can be used: a broken file, one that is
no chat model and one that is too large for the memory hide no other.
"""

from pathlib import Path

from appliance.config import Config
from library.errors import ConfigurationError, ModelFileInvalid
from llm.card import inspect_chat_model
from llm.digests import Digests
from llm.footprint import Fit, Slots
from llm.model_listing import Worker
from llm.registry import ModelFile, ModelFileState, Registry
from llm.worker import PROMPT_CACHE_MIB


def open_registry(config: Config) -> Registry:
    """The models folder, looked through."""
    registry = Registry(
        config.models,
        Digests(config.data / "model-digests.json"),
        Slots(config.llm.context_tokens, config.llm.parallel, PROMPT_CACHE_MIB * 2**20),
    )
    registry.look()
    return registry


def chat_model_file(config: Config, registry: Registry) -> Path | None:
    """The GGUF file to load, or None if there is none that can be, or none is wanted.

    Raises ConfigurationError when the configured file is missing, ModelFileInvalid
    when it is no chat model. One that seems too large is loaded all the same, if
    it was asked for.
    """
    if not config.llm.enabled:
        return None
    if config.llm.model:
        chosen = _configured(config, registry)
        inspect_chat_model(chosen)
        return chosen
    return next((model.file for model in registry.chat_models() if _fits(model, registry)), None)


def would_load(config: Config, registry: Registry) -> Worker | None:
    """What a start would choose, for a listing while nothing runs; a wrong configuration chooses nothing."""
    try:
        file = chat_model_file(config, registry)
    except (ConfigurationError, ModelFileInvalid):
        return None
    return Worker(file, ModelFileState.REGISTERED.value, None, loaded=False) if file else None


def passed_over(registry: Registry) -> list[str]:
    """What keeps files from being chosen: a sentence for each that is broken or too large."""
    broken = [model.reason for model in registry.files() if model.reason]
    too_large = [
        f"The model {model.path} is too large. {registry.estimate(model.card).says}"
        for model in registry.chat_models()
        if model.card and not _fits(model, registry)
    ]
    return broken + too_large


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
    return model.card is not None and registry.estimate(model.card).fit is not Fit.NO
