"""almanac models"""

import argparse
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from appliance import client
from appliance.config import load_config
from library.errors import InvalidRequest, SetupError

_DOES = {
    "load": "load it now and at every start",
    "unload": "give its memory back once the answers under way have ended",
    "use": "have it answer from now on, in place of the one that does",
}
_FLAGS_OF = {
    "now": ("unload",),
    "insist": ("load",),
    "out": ("convert",),
    "force": ("convert",),
    "no_wait": ("load", "unload", "use"),
}
_LOOK_S = 0.3


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        choices=("list", "show", *_DOES, "convert"),
        default="list",
        help="; ".join(f"{name}: {does}" for name, does in _DOES.items())
        + "; convert: write a file that the engine ctransformers can run",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="which: its name, or its path; to convert, its file"
    )
    parser.add_argument("--now", action="store_true", help="unload: break answers off")
    parser.add_argument("--insist", action="store_true", help="load: also if it seems too large")
    parser.add_argument("--out", type=Path, metavar="FILE", help="convert: where the new file goes")
    parser.add_argument("--force", action="store_true", help="convert: write over a file that is there")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it is done")
    client.arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Exit code 0; 1 when the one that is shown cannot be used, or what was asked for did not come about."""
    if given.what == "list" and given.name is not None:
        raise InvalidRequest(
            "NAME", "belongs to `almanac models show NAME`, and to load, unload, use and convert."
        )
    if given.what != "list" and given.name is None:
        raise InvalidRequest(
            "NAME", f"is missing: `almanac models {given.what} NAME`. `almanac models` lists the names."
        )
    for flag, commands in _FLAGS_OF.items():
        if getattr(given, flag) and given.what not in commands:
            belongs = " and ".join(f"`almanac models {what}`" for what in commands)
            raise InvalidRequest(f"--{flag.replace('_', '-')}", f"belongs to {belongs}.")
    if given.what == "convert":
        from appliance.converting import run as convert  # noqa: PLC0415 - --help must stay light

        return convert(given)
    if given.what in _DOES:
        return _do(given)
    told = _told(given)
    if given.json:
        print(json.dumps(told, indent=2))
    elif given.name is None:
        _print_all(told)
    else:
        _print_one(told)
    return 1 if given.name is not None and told["kind"] is None else 0


def _do(given: argparse.Namespace) -> int:
    house = client.client_for(given)
    asked: dict[str, object] = {"model": given.name}
    if given.what == "load":
        asked["insist"] = given.insist
    elif given.what == "unload":
        asked["now"] = given.now
    told = house.post(f"/api/models/{'default' if given.what == 'use' else given.what}", asked)
    while not given.no_wait and not _is_done(given.what, told):
        time.sleep(_LOOK_S)
        listed = house.get("/api/models")["items"]
        # One whose file is gone is listed for as long as it is loaded.
        gone = told | {"state": "unloaded", "reason": "Its file is gone."}
        told = next((one for one in listed if _same(one, told)), gone)
    if given.json:
        print(json.dumps(told, indent=2))
    else:
        print(f"{told['id']}: {told['state']}. {told['reason'] or ''}".rstrip())
    wanted = {"load": {"ready", "loading"}, "use": {"ready", "loading"}}.get(given.what)
    return 0 if given.no_wait or wanted is None or told["state"] in wanted else 1


def _is_done(what: str, told: dict[str, Any]) -> bool:
    """Whether it came about, or will not."""
    if what == "unload":
        return told["state"] not in {"ready", "draining", "loading"}
    if told["state"] == "failed" or (told["state"] in {"registered", "unloaded"} and told["reason"]):
        return True
    return told["state"] == "ready" and (what == "load" or told["chosen"])


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """By both: a server may keep several models."""
    return (one["id"], one["path"]) == (other["id"], other["path"])


def _told(given: argparse.Namespace) -> Any:
    """What the running appliance says; where none runs and none was named, what the folder says."""
    path = "/api/models" if given.name is None else f"/api/models/{quote(given.name)}"
    try:
        return client.client_for(given).get(path)
    except SetupError:
        if given.url:
            raise
    from appliance.chat_model import open_registry, would_serve  # noqa: PLC0415 - --help must stay light
    from llm.serving.listing import listed, listed_one  # noqa: PLC0415

    config = load_config(given.config)
    registry = open_registry(config)
    serving = would_serve(config, registry)
    if given.name is not None:
        return msgspec.to_builtins(listed_one(registry, given.name, serving))
    registry.compare()
    return {"folder": str(registry.folder), "items": msgspec.to_builtins(listed(registry, serving))}


def _print_all(told: dict[str, Any]) -> None:
    if not told["items"]:
        print(f"No model file in {told['folder']}. Put a .gguf file there.")
    for model in told["items"]:
        size = f", {model['size_bytes'] / 2**20:,.0f} MiB" if model["size_bytes"] else ""
        mark = "*" if model["chosen"] else " "
        # A path ends in the name; an address does not.
        named = model["path"] if model["parts"] else f"{model['id']} ({model['path']})"
        print(f"{mark} {named}  {model['kind'] or '?'}, {model['state']}{size}")
        for sentence in (model["reason"], *model["notes"]):
            if sentence:
                print(f"    {sentence}")


def _print_one(model: dict[str, Any]) -> None:
    memory = model["memory"]
    words = {"notes": " ".join(model["notes"]), "memory": memory and f"{memory['fit']}: {memory['says']}"}
    for key, value in (model | words).items():
        if value not in (None, ""):
            print(f"{key:15} {value}")
