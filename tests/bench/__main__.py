"""Run benchmarks and print one Markdown table a benchmark.

Sizes are flags, named after the keywords of a benchmark's `run`:
`python -m tests.bench growth --documents 2000`.
"""

import argparse
import importlib
import os
import platform
import sys
import time
from pathlib import Path

from tests.bench.options import options_for

SHORT = ("chat", "start", "findable", "ingest", "reading", "interference")
LONG = (
    "chunking",
    "retrieval",
    "growth",
    "peer",
    "epubs",
    "search",
    "crowd",
    "clients",
    "kiwix",
    "million",
    "observed",
    "servers",
)  # many minutes each, so only by name
NAMES = SHORT + LONG


def machine() -> str:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}, no GPU used"


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which of {', '.join(NAMES)} (default: {', '.join(SHORT)})"
    )
    known, flags = given.parse_known_args()
    names = known.names or SHORT
    print(f"Machine: {machine()}. {time.strftime('%Y-%m-%d')}.\n")
    for name in names:
        if name not in NAMES:
            sys.exit(f"there is no benchmark {name!r}; there are {', '.join(NAMES)}")
    modules = [importlib.import_module(f"tests.bench.bench_{name}") for name in names]
    sizes = options_for([module.run for module in modules], flags)
    for module, size in zip(modules, sizes, strict=True):
        print(f"### {(module.__doc__ or '').splitlines()[0]}\n")
        for row in module.run(**size):
            print(row, flush=True)
        print()


if __name__ == "__main__":
    main()
