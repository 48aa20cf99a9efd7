"""almanac serve"""

import argparse

import msgspec

from appliance.config import load_config


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to serve on (default 127.0.0.1: this machine only)")
    parser.add_argument("--port", type=int, help="port to serve on (default 8080; 0 for any free one)")


def run(given: argparse.Namespace) -> int:
    config = load_config(given.config)
    changes = {name: getattr(given, name) for name in ("host", "port") if getattr(given, name) is not None}
    if changes:
        config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, **changes))
    from appliance.logs import configure_logging  # noqa: PLC0415 - --help must stay light
    from appliance.serve import serve  # noqa: PLC0415

    configure_logging(as_json=config.server.log_format == "json")
    serve(config)
    return 0
