"""almanac status"""

import argparse
import json

from appliance import client

# States whose name alone would leave a reader asking, as the library page says them.
_WORDS = {
    "reading": "being read",
    "findable_words": "findable by words only",
    "failed": "could not be read",
    "missing": "without their file",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    client.arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Exit code 0 when the house is ready, 1 when something is missing."""
    status = client.client_for(given).get("/status")
    if given.json:
        print(json.dumps(status, indent=2))
    else:
        counts = {_WORDS.get(state, state): count for state, count in status["documents"].items()}
        states = ", ".join(f"{count:,} {words}" for words, count in counts.items() if count)
        print(f"Almanac {status['version']}: {'ready' if status['ready'] else 'not ready yet'}")
        print(f"documents  {states or 'none'}")
        print(f"chunks     {status['chunks']}, {status['vectors']} with their vector")
        print(f"model      {status['model']['id'] or 'none'}: {status['model']['state']}")
        print(f"folder     {status['library_folder']} ({status['disk_free_mib']} MiB free)")
        for notice in status["degraded"]:
            print(f"notice     {notice}")
    return 0 if status["ready"] else 1
