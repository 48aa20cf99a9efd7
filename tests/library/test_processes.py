"""A child of the appliance lives as long as its parent, and not a moment less."""

import signal
import subprocess
import sys
import time

from tests.places import ROOT, missing, program

# The one in the middle starts a child, tells it its own pid, and what becomes of it is decided by each test.
CHILD = "import os, sys, time\nfrom library.processes import die_with_parent\n"


def run(script: str, *before: str) -> subprocess.CompletedProcess[str]:
    command = [*before, sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)


def starting(child: str) -> str:
    """A script that starts `child` with its own pid as argument and leaves its process in `started`."""
    return (
        "import os, subprocess, sys\n"
        f"started = subprocess.Popen([sys.executable, '-c', {CHILD + child!r}, str(os.getpid())])\n"
    )


def test_a_child_whose_parent_lives_goes_on() -> None:
    done = run(starting("die_with_parent(int(sys.argv[1])); print('alive')") + "sys.exit(started.wait())")
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_a_child_whose_parent_died_before_it_could_ask_ends_itself() -> None:
    # Standard output is closed when the last of the two is gone, so nothing is waited for in vain.
    orphan = (
        "print('started', flush=True)\n"
        "while os.getppid() == int(sys.argv[1]): time.sleep(0.01)\n"
        "die_with_parent(int(sys.argv[1])); print('survived')"
    )
    done = run(starting(orphan) + "os._exit(0)")
    assert done.stdout == "started\n", done.stderr


def test_a_child_whose_parent_is_killed_dies_with_it() -> None:
    script = starting("die_with_parent(int(sys.argv[1])); print(os.getpid(), flush=True); time.sleep(60)")
    with subprocess.Popen(
        [sys.executable, "-c", script + "started.wait()"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        assert int(parent.stdout.readline())
        parent.kill()
        began = time.monotonic()
        assert parent.stdout.read() == ""  # its end is seen when the child is gone as well
        assert time.monotonic() - began < 50
    assert parent.returncode == -signal.SIGKILL


def test_a_child_whose_parent_is_process_1_of_a_container_goes_on() -> None:
    namespace = (program("unshare"), "-r", "--pid", "--fork", "--kill-child")
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        missing("this machine lets nobody make a process namespace")
    script = (
        starting("die_with_parent(int(sys.argv[1])); print('alive')")
        + "code = started.wait(); print(os.getpid()); sys.exit(code)"
    )
    done = run(script, *namespace)
    assert (done.returncode, done.stdout.split()) == (0, ["alive", "1"]), done.stderr
