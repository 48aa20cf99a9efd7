"""The embedder keeps to itself: what it leaves behind on the machine, which is nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT, embedding_model

EMBED_A_TEXT = """
import sys
from pathlib import Path
from search.embedder import Embedder
print(Embedder(Path(sys.argv[1]), threads=1).embed(["The hive stands under the lime tree."]).shape)
"""


@pytest.mark.models
def test_embedding_writes_nothing_into_the_home_of_the_user(tmp_path: Path) -> None:
    model = embedding_model()
    # Without what the tests have set for themselves, and without another home to hide in.
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", EMBED_A_TEXT, str(model)],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(1, 384)\n"
    assert sorted(tmp_path.rglob("*")) == []
