"""Options: a benchmark's sizes are the keywords of its `run`, and flags on the command line."""

import argparse
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Run = Callable[..., Iterator[str]]


def options_for(runs: Sequence[Run], given: Sequence[str]) -> list[dict[str, Any]]:
    """Each benchmark's share of the flags. Ends the program when a flag belongs to none of them."""
    shares = []
    known: set[str] = set()
    for run in runs:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for name, parameter in inspect.signature(run).parameters.items():
            flag = f"--{name.replace('_', '-')}"
            known.add(flag)
            parser.add_argument(flag, dest=name, type=type(parameter.default), default=parameter.default)
        shares.append(vars(parser.parse_known_args(given)[0]))
    for flag in given:
        if flag.startswith("--") and flag.split("=")[0] not in known:
            raise SystemExit(
                f"no benchmark that was named takes {flag}; there are {', '.join(sorted(known))}"
            )
    return shares
