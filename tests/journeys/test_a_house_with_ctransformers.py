"""The second engine in a whole house: it answers like the first, and asks nobody outside either."""

import json
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from tests.conftest import BEES
from tests.contracts.engines import converted_model
from tests.places import embedding_model, program
from tests.running import running

WATCHED_S = 3
pytestmark = pytest.mark.models


def test_it_answers_from_the_library_and_tries_no_connection(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding_model()
    strace = program("strace")
    trace, home = data_folder / "trace", data_folder / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith(("XDG_", "HF_"))]:
        monkeypatch.delenv(name)
    wrap = (strace, "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg,execve", "-o", str(trace))
    settings = f"[ingest]\nsettle_s = 0.2\n[llm]\nmodel = {json.dumps(str(converted_model()))}\n"
    with running(data_folder, wrap=wrap, settings=settings) as house:
        house.drop("garden/bees.md", BEES)
        house.until_state("garden/bees.md", "findable", timeout_s=120)
        house.until(lambda: house.get("/status")[1]["model"]["state"] == "ready", 60)
        done = house.ask("How often is the colony Marigold inspected?")[-1]
        assert (done[0], done[1]["kind"]) == ("done", "written")
        threading.Event().wait(WATCHED_S)
        assert house.process
        subprocess.run(["pkill", "-TERM", "-P", str(house.process.pid)], check=True)
        assert house.process.wait(20) == 0
        house.stop()
    calls = trace.read_text().splitlines()
    assert any("engine.sock" in line for line in calls)
    assert any("llm.engines.ctransformers.worker" in line for line in calls)
    assert [line for line in calls if "AF_INET" in line and "127.0.0.1" not in line] == []
    assert [line for line in calls if re.search(r"sun_path=.*resolve", line)] == []
    # Nor does it start programs to find out what it runs on, or leave anything behind.
    assert [line for line in calls if "execve" in line and re.search(r"lscpu|sysctl|dmesg|cpuid", line)] == []
    assert sorted(home.rglob("*")) == []
