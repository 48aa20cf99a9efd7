"""almanac reindex"""

import argparse
import json
import sys
import time
from typing import Any

from appliance import client
from appliance.line import Line

_EVERY_S = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        choices=("lexical", "vectors", "all"),
        help="the index of words, that of vectors, or both (default: both)",
    )
    parser.add_argument(
        "--to",
        metavar="PLACE",
        help="move the vectors, as they are, to the Qdrant server at that address; `here`: into Almanac itself",
    )
    parser.add_argument(
        "--cancel", action="store_true", help="give up what is being rebuilt; returns at once"
    )
    client.arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Exit code 0 when the new indexes serve, 1 when they do not."""
    asked = client.client_for(given)
    if given.cancel:
        told = asked.delete("/api/reindex")
        print(json.dumps(told, indent=2) if given.json else "It is given up; what served before goes on.")
        return 0
    begun = asked.post("/api/reindex", _body(given.what, given.to))
    try:
        ended = _wait(asked, begun, as_json=given.json)
    except KeyboardInterrupt:
        print(
            "\nalmanac: no longer waiting; it goes on without me. `almanac reindex --cancel` gives it up.",
            file=sys.stderr,
        )
        return 130
    if given.json:
        print(json.dumps(ended, indent=2))
    else:
        print(f"\n{ended['detail']}", file=sys.stdout if ended["state"] == "done" else sys.stderr)
    return 0 if ended["state"] == "done" else 1


def _body(what: str | None, to: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {} if what is None else {"what": what}
    if to is not None:
        body["to"] = None if to == "here" else to
    return body


def _wait(asked: client.Client, begun: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    """Wait for the end of the job; returns it."""
    line, id_ = Line(), begun["last"]["id"]
    while True:
        told = asked.get("/api/reindex")
        if told["last"]["id"] == id_ and told["last"]["state"] != "running":
            ended: dict[str, Any] = told["last"]
            return ended
        if told["reindex"] is not None and not as_json:
            trouble = asked.get("/api/jobs")["ingest"]["trouble"]
            line.show(f"{told['reindex']['share']:4.0%}  {trouble or told['reindex']['summary']}")
        time.sleep(_EVERY_S)
