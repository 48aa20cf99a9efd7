"""almanac check"""

import argparse
import json

from appliance.config import load_config


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(given: argparse.Namespace) -> int:
    """Exit code 1 when something would keep the appliance from starting."""
    config = load_config(given.config)
    from appliance.preflight import Outcome, preflight  # noqa: PLC0415 - --help must stay light

    findings = preflight(config)
    if given.json:
        print(
            json.dumps([{"part": f.part, "outcome": f.outcome, "says": f.says} for f in findings], indent=2)
        )
    else:
        for finding in findings:
            print(f"{finding.outcome:5} {finding.part:10} {finding.says}")
    return 1 if any(finding.outcome is Outcome.NO for finding in findings) else 0
