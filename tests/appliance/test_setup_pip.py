"""pip as a child: its log, its failures in words."""

import sys
from pathlib import Path

import pytest

from appliance.setup.pip import Pip, bytes_under, explain
from appliance.setup.progress import SetupStopped

NO_NETWORK = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...): Failed to establish
a new connection: [Errno -3] Temporary failure in name resolution')': /simple/alembic/
ERROR: Could not find a version that satisfies the requirement alembic==1.20.1 (from versions: none)
ERROR: No matching distribution found for alembic==1.20.1
"""
NO_BUILD = """\
ERROR: Could not find a version that satisfies the requirement xllamacpp==1 (from versions: 2)
ERROR: No matching distribution found for xllamacpp==1
"""


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (NO_NETWORK, "The package registry cannot be reached"),
        ("\n".join(NO_NETWORK.splitlines()[-2:]), "No build of alembic==1.20.1 was found: check the network"),
        (NO_BUILD, "There is no build of xllamacpp==1 for this machine"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated ...\n",
            "A download was not the file that was expected",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
            "The disk is full",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied",
            "A file could not",
        ),
        ("ERROR: Something nobody has seen before\n", "(Something nobody has seen before)"),
        (NO_NETWORK + NO_BUILD, "There is no build of xllamacpp==1 for this machine"),
        ("", "gave no reason"),
    ],
)
def test_what_pip_says_becomes_a_sentence(output: str, sentence: str):
    assert sentence in explain(output)


@pytest.fixture
def pip(tmp_path: Path) -> Pip:
    return Pip(Path(sys.executable), log=tmp_path / "setup.log", scratch=tmp_path)


def test_every_word_is_kept_in_the_log(pip: Pip, tmp_path: Path):
    seen: list[str | None] = []
    pip.run([sys.executable, "-c", "print('one'); print('two')"], seen.append)
    assert [line for line in seen if line] == ["one\n", "two\n"]
    assert "one\ntwo\n" in (tmp_path / "setup.log").read_text()


def test_a_failure_names_the_log(pip: Pip, tmp_path: Path):
    with pytest.raises(SetupStopped, match="The disk is full") as stopped:
        pip.run([sys.executable, "-c", "import sys; sys.exit('No space left on device')"], lambda _line: None)
    assert str(tmp_path / "setup.log") in str(stopped.value)


def test_a_child_does_not_outlive_an_interruption(pip: Pip, tmp_path: Path):
    def interrupt(line: str | None) -> None:
        if line:
            raise KeyboardInterrupt

    forever = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        pip.run([sys.executable, "-c", forever], interrupt)
    logged = (tmp_path / "setup.log").read_text().splitlines()[-1]
    assert not Path(f"/proc/{int(logged)}").exists()


def test_bytes_are_counted_in_every_folder(tmp_path: Path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"x" * 1000)
    (tmp_path / "a" / "b" / "two").write_bytes(b"x" * 500)
    (tmp_path / "a" / "dead").symlink_to(tmp_path / "nowhere")
    assert bytes_under(tmp_path / "a") >= 1500
    assert bytes_under(tmp_path / "not there") == 0
