"""almanac eval"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from appliance.config import load_config
from search.fusion import ALPHA


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir", type=Path, metavar="DIR", help="folder with corpus.jsonl, queries.jsonl, qrels/"
    )
    parser.add_argument("--split", default="test", help="which qrels to judge by (default: test)")
    parser.add_argument(
        "--alpha",
        type=float,
        default=ALPHA,
        help="the vectors' share in fusion, 0..1 (default %(default)s: the one that serves)",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the indexes there, and use them if they are there"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(given: argparse.Namespace) -> int:
    """Index the collection in a folder of its own, and judge lexical, vector and hybrid retrieval."""
    from appliance.evaluate import evaluate_collection  # noqa: PLC0415 - --help must stay light
    from search.evaluation import METRICS  # noqa: PLC0415

    config = load_config(given.config)
    with tempfile.TemporaryDirectory(prefix="almanac-eval-") as scratch:
        figures = evaluate_collection(
            config,
            given.dir,
            split=given.split,
            alpha=given.alpha,
            workplace=given.keep or Path(scratch),
            progress=_silent if given.json else _show,
        )
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if given.json:
        print(json.dumps(figures, indent=2))
        return 0
    print(
        f"{figures['queries']} queries, {figures['documents']} documents, {figures['chunks']} chunks; "
        "in brackets, 95 % of what other queries would give"
    )
    print(f"{'':8}" + "".join(f"{metric:>23}" for metric in METRICS))
    for mode in ("lexical", "vector", "hybrid"):
        print(f"{mode:8}" + "".join(f"{_figure(figures, mode, metric):>23}" for metric in METRICS))
    return 0


def _figure(figures: dict[str, Any], mode: str, metric: str) -> str:
    low, high = figures["intervals"][mode][metric]
    return f"{figures[mode][metric]:.4f} ({low:.3f}–{high:.3f})"


def _show(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", flush=True, file=sys.stderr)


def _silent(_: str) -> None:
    """--json prints nothing but JSON."""
