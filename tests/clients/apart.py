"""Apart: an outside client in a network of its own, in which there is nothing but Almanac.

    python -m tests.clients.apart SOCKET COMMAND…    within a fresh network namespace

The namespace has a loopback and nothing else; Almanac answers in it at its
usual address, by way of a socket that is a file. Whatever else a client would
reach for is not there, so a client that works has done without.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.clients.relay import Relay
from tests.places import ROOT, missing, program

PORT = 8080
BASE_URL = f"http://127.0.0.1:{PORT}/v1"


def run_apart(
    command: list[str], relay_file: Path, *, home: Path, environment: dict[str, str], timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a client to its end. It has an empty home, and of this environment only what it cannot do without."""
    unshare, ip = program("unshare"), program("ip")
    if subprocess.run([unshare, "-rn", "true"], check=False, capture_output=True).returncode:
        missing("this machine lets nobody make a network namespace")
    home.mkdir(exist_ok=True)
    inside = f'{ip} link set lo up && exec "$@"'
    bridge = [sys.executable, "-m", "tests.clients.apart", str(relay_file)]
    return subprocess.run(
        [unshare, "-rn", "sh", "-c", inside, "sh", *bridge, *command],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "NO_COLOR": "1"} | environment,
    )


def main(relay_file: str, *command: str) -> int:
    def connect() -> socket.socket:
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(relay_file)
        return upstream

    bridge = Relay(connect)
    bridge.listen(PORT)
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        bridge.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
