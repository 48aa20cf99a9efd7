"""The command line: `almanac`, also as `python -m appliance`.

Knows the commands' names and arguments; each command's module is imported only
when it runs, so that `--help` answers at once and no model library is loaded
for it. Exit codes: 0 done, 1 a sentence on standard error says why not, 2 the
command line itself is wrong, 130 interrupted.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from library.errors import AlmanacError, InvalidRequest

# name -> what it does; each is `appliance.commands.{name}` with `arguments` and `run`.
COMMANDS = {
    "serve": "run the appliance: pages, APIs, the watched folder and the chat model",
    "check": "look at configuration and machine, and say what would keep it from running well",
    "status": "how the running appliance is",
    "search": "search the library",
    "ask": "ask the library a question",
    "models": "the model files there are: what each is, and whether it can be used",
    "ingest": "wait until the library folder is indexed, showing progress",
    "reindex": "build the indexes anew while the appliance serves, showing progress",
    "eval": "measure retrieval on a BEIR-layout collection",
}


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="almanac",
        description="An offline knowledge appliance: drop books into a folder, search them, ask them, cite them.",
    )
    root.add_argument("--version", action="version", version=f"almanac {version('almanac')}")
    root.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the TOML configuration (default: $ALMANAC_CONFIG, ./almanac.toml, /etc/almanac/almanac.toml)",
    )
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, does in COMMANDS.items():
        command = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        importlib.import_module(f"appliance.commands.{name}").arguments(command)
    return root


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    given = parser().parse_args(arguments)
    try:
        code = importlib.import_module(f"appliance.commands.{given.command}").run(given)
    except InvalidRequest as error:
        print(f"almanac: {error}", file=sys.stderr)
        sys.exit(2)
    except AlmanacError as error:
        print(f"almanac: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has left, `almanac search … | head` say.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code)


if __name__ == "__main__":
    main()
