"""`almanac models convert`: a model file written anew for ctransformers, with progress and the next step.

Works on files alone: no appliance need run, and one that does takes note of the new file by itself.
"""

import argparse
import json
import shlex
from pathlib import Path

from appliance.chat_model import open_registry
from appliance.config import Config, load_config
from appliance.line import Line
from llm.engines.ctransformers.convert import convert, converted_name
from llm.engines.ctransformers.preflight import available
from llm.model_files.card import CTRANSFORMERS, inspect_chat_model


def run(given: argparse.Namespace) -> int:
    """Exit code 0 when the new file is there."""
    config = load_config(given.config)
    source = _source(config, given.name)
    target: Path = given.out or converted_name(source)
    inspect_chat_model(source)
    line = Line()

    def show(done: int, of: int) -> None:
        if not given.json:
            line.show(f"{done / 2**20:,.0f} of {of / 2**20:,.0f} MiB")

    convert(source, target, force=given.force, progress=show)
    card = inspect_chat_model(target)
    steps = _next(config, target)
    if given.json:
        told = {"file": str(target), "engine": card.engine, "size_bytes": card.size_bytes, "next": steps}
        print(json.dumps(told, indent=2))
    else:
        print(f"\n{target}: {card.size_bytes / 2**20:,.0f} MiB, written for {CTRANSFORMERS}.")
        print(steps)
    return 0


def _source(config: Config, name: str) -> Path:
    """A file by its path, else a model of the folder's by its name. Raises ModelNotFound."""
    path = Path(name)
    return path if path.is_file() else open_registry(config).find(name).file


def _next(config: Config, target: Path) -> str:
    steps = [why] if (why := available()) else []
    if target.absolute().is_relative_to(config.models.absolute()):
        steps.append(f"Load it with `almanac models load {shlex.quote(target.stem)}`.")
    else:
        steps.append(f"Put it into {config.models / 'chat'}, or name it in `llm.model`.")
    return " ".join(steps)
