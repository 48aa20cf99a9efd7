"""almanac ingest"""

import argparse
import json
import sys
import time

from appliance import client

_UNDER_WAY = ("waiting", "reading", "findable_words")
_EVERY_S = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="give up waiting after so long")
    client.arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Exit code 0 when everything is indexed, 1 when something failed or time ran out. Ctrl-C only stops waiting."""
    asked = client.client_for(given)
    asked.post("/api/scan")
    began = time.monotonic()
    while True:
        status = asked.get("/status")
        counts, noticed = status["documents"], status["ingest"]["noticed"]
        left = noticed + sum(counts[state] for state in _UNDER_WAY)
        if not given.json:
            _show(status, left)
        if not left:
            break
        if given.timeout is not None and time.monotonic() - began > given.timeout:
            print(
                f"\nalmanac: {left} documents are still to be indexed; it goes on without me.",
                file=sys.stderr,
            )
            return 1
        time.sleep(_EVERY_S)
    failed = asked.get("/api/documents", state="failed", limit=500)["items"]
    if given.json:
        reasons = [{"path": document["path"], "reason": document["reason"]} for document in failed]
        print(json.dumps({"documents": counts, "chunks": status["chunks"], "failed": reasons}, indent=2))
    else:
        print(f"\n{counts['findable']} documents are findable.")
        for document in failed:
            print(f"failed: {document['path']}: {document['reason']}")
    return 1 if failed else 0


def _show(status: dict[str, object], left: int) -> None:
    """One line, renewed in place on a terminal."""
    chunks, vectors = int(str(status["chunks"])), int(str(status["vectors"]))
    share = f", {vectors / chunks:4.0%} of {chunks} chunks embedded" if chunks else ""
    line = f"{left} documents to go{share}"
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="", flush=True)
