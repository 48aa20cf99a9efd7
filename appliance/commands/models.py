"""almanac models"""

import argparse
import json
from typing import Any

import msgspec

from appliance import client
from appliance.config import load_config
from library.errors import InvalidRequest, SetupError


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=("list", "show"), default="list")
    parser.add_argument("name", nargs="?", metavar="NAME", help="which to show: its name, or its path")
    client.arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Exit code 0; 1 when the one that is shown cannot be used."""
    if (given.what == "show") != (given.name is not None):
        raise InvalidRequest("NAME", "belongs to `almanac models show NAME`.")
    told = _told(given)
    if given.json:
        print(json.dumps(told, indent=2))
    elif given.name is None:
        _print_all(told)
    else:
        _print_one(told)
    return 1 if given.name is not None and told["kind"] is None else 0


def _told(given: argparse.Namespace) -> Any:
    """What the running appliance says; where none runs and none was named, what the folder says."""
    path = "/api/models" if given.name is None else f"/api/models/{given.name}"
    try:
        return client.client_for(given).get(path)
    except SetupError:
        if given.url:
            raise
    from appliance.chat_model import open_registry, would_load  # noqa: PLC0415 - --help must stay light
    from llm.model_listing import listed, listed_one  # noqa: PLC0415

    config = load_config(given.config)
    registry = open_registry(config)
    chosen = would_load(config, registry)
    if given.name is not None:
        return msgspec.to_builtins(listed_one(registry, given.name, chosen))
    registry.compare()
    return {"folder": str(registry.folder), "items": msgspec.to_builtins(listed(registry, chosen))}


def _print_all(told: dict[str, Any]) -> None:
    if not told["items"]:
        print(f"No model file in {told['folder']}. Put a .gguf file there.")
    for model in told["items"]:
        size = f"{model['size_bytes'] / 2**20:,.0f} MiB"
        mark = "*" if model["chosen"] else " "
        print(f"{mark} {model['path']}  {model['kind'] or '?'}, {model['state']}, {size}")
        for sentence in (model["reason"], *model["notes"]):
            if sentence:
                print(f"    {sentence}")


def _print_one(model: dict[str, Any]) -> None:
    memory = model["memory"]
    words = {"notes": " ".join(model["notes"]), "memory": memory and f"{memory['fit']}: {memory['says']}"}
    for key, value in (model | words).items():
        if value not in (None, ""):
            print(f"{key:15} {value}")
