"""almanac ingest"""

import argparse
import json
import sys
import time
from typing import Any

from appliance import client
from appliance.line import Line

_EVERY_S = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up waiting after so long")
    decided = parser.add_mutually_exclusive_group()
    decided.add_argument(
        "--pause", action="store_true", help="read nothing further until --resume; returns at once"
    )
    decided.add_argument("--resume", action="store_true", help="go on after --pause, and wait")
    decided.add_argument("--retry", action="store_true", help="read every failed document again, and wait")
    decided.add_argument(
        "--verify",
        action="store_true",
        help="prove of every document again that it is found; what is not is read again",
    )
    client.arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Exit code 0 when everything is indexed, 1 when something failed, is paused or time ran out."""
    asked = client.client_for(given)
    if given.verify:
        return _verify(asked, as_json=given.json)
    if given.pause:
        return _pause(asked, as_json=given.json)
    if given.resume:
        asked.post("/api/ingest/resume")
    if given.retry:
        asked.post("/api/documents/retry")
    asked.post("/api/scan")
    try:
        progress, why = _wait(asked, given)
    except KeyboardInterrupt:
        print("\nalmanac: no longer waiting; the work goes on without me.", file=sys.stderr)
        return 130
    if why:
        print(f"\nalmanac: {why}", file=sys.stderr)
        if given.json:
            print(json.dumps(_as_json(progress, _failed(asked)), indent=2))
        return 1
    failed = _failed(asked)
    if given.json:
        print(json.dumps(_as_json(progress, failed), indent=2))
    else:
        findable = progress["documents"]["findable"]
        print(f"\n{findable} {'document is' if findable == 1 else 'documents are'} findable.")
        for document in failed:
            print(f"failed: {document['path']}: {document['reason']}")
    return 1 if failed else 0


def _verify(asked: client.Client, *, as_json: bool) -> int:
    """Exit code 0 when every document was proven."""
    line, lost = Line(), list[dict[str, Any]]()
    done: dict[str, Any] = {}
    for event, told in asked.events("/api/ingest/verify", {}):
        if event == "lost":
            lost.append(told)
            if not as_json:
                print(f"\nlost: {told['path']}: {told['reason']}")
        elif event == "progress" and not as_json:
            line.show(f"{told['done']} of {told['total']} documents proven")
        elif event == "failed":
            print(f"\nalmanac: {told['message']}", file=sys.stderr)
            return 1
        elif event == "done":
            done = told
    if not done:
        print("\nalmanac: Almanac was stopped before the end.", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(done | {"lost": lost}, indent=2))
    else:
        again = f"{len(lost)} were not, and are being read again" if lost else "every one of them was"
        print(f"\n{done['checked']} documents were to be proven; {again}.")
    return 1 if lost else 0


def _pause(asked: client.Client, *, as_json: bool) -> int:
    progress = asked.post("/api/ingest/pause")
    print(json.dumps(_as_json(progress, []), indent=2) if as_json else progress["summary"])
    if not as_json:
        print("Nothing further is read until `almanac ingest --resume`.")
    return 0


def _wait(asked: client.Client, given: argparse.Namespace) -> tuple[dict[str, Any], str | None]:
    """Wait until nothing is left; else says why no longer."""
    line, began = Line(), time.monotonic()
    while True:
        progress: dict[str, Any] = asked.get("/api/jobs")["ingest"]
        left = progress["noticed"] + progress["to_read"] + progress["to_embed"]
        if not given.json:
            line.show(f"{progress['share']:4.0%}  {progress['trouble'] or progress['summary']}")
        if not left:
            return progress, progress["trouble"]
        if progress["paused"]:
            return (
                progress,
                f"{_still(left)} to be indexed, but ingest is paused; --resume goes on.",
            )
        if given.timeout is not None and time.monotonic() - began > given.timeout:
            return progress, f"{_still(left)} to be indexed; it goes on without me."
        time.sleep(_EVERY_S)


def _still(documents: int) -> str:
    return f"{documents:,} {'document is' if documents == 1 else 'documents are'} still"


def _failed(asked: client.Client) -> list[dict[str, Any]]:
    failed, cursor = [], None
    while True:
        page = asked.get("/api/documents", state="failed", limit=500, cursor=cursor)
        failed += page["items"]
        cursor = page["next"]
        if cursor is None:
            return failed


def _as_json(progress: dict[str, Any], failed: list[dict[str, Any]]) -> dict[str, Any]:
    reasons = [{"path": document["path"], "reason": document["reason"]} for document in failed]
    return {
        "documents": progress["documents"],
        "chunks": progress["chunks"],
        "failed": reasons,
        "ingest": progress,
    }
