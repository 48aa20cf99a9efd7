"""almanac ingest, run beside an appliance."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.places import ROOT, embedding_model
from tests.running import Appliance, running

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    embedding_model()
    folder = tmp_path_factory.mktemp("quiet")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    with running(folder, settings="[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n") as house:
        yield house


def command(house: Appliance, *flags: str) -> list[str]:
    return [sys.executable, "-u", "-m", "appliance", "ingest", "--url", house.url, *flags]


def ingest(house: Appliance, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(house, *flags), cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )


def test_it_waits_until_everything_is_findable(quiet: Appliance) -> None:
    quiet.drop("barn/owls.md", "# Owls\n\nThe barn owl takes four voles.\n")
    done = ingest(quiet)
    assert done.returncode == 0, done.stderr
    assert "1 document is findable." in done.stdout
    told = json.loads(ingest(quiet, "--json").stdout)
    assert (told["documents"]["findable"], told["failed"], told["ingest"]["paused"]) == (1, [], False)


def test_pause_returns_at_once_and_resume_waits(quiet: Appliance) -> None:
    done = ingest(quiet, "--pause")
    assert (done.returncode, "--resume" in done.stdout) == (0, True)
    quiet.drop("barn/bats.md", "# Bats\n\nBats hang.\n")
    quiet.until_state("barn/bats.md", "waiting")
    waiting = ingest(quiet)
    assert (waiting.returncode, "--resume" in waiting.stderr) == (1, True)
    assert json.loads(ingest(quiet, "--pause", "--json").stdout)["ingest"]["to_read"] == 1
    done = ingest(quiet, "--resume")
    assert done.returncode == 0, done.stderr
    assert quiet.until_state("barn/bats.md", "findable")


def test_retry_reads_what_failed_again_and_says_why_it_failed(quiet: Appliance) -> None:
    quiet.drop("barn/broken.epub", b"PK\x03\x04 no book")
    quiet.until_state("barn/broken.epub", "failed")
    before = quiet.document("barn/broken.epub")
    done = ingest(quiet, "--retry")
    after = quiet.document("barn/broken.epub")
    assert done.returncode == 1
    assert before
    assert after
    assert f"failed: barn/broken.epub: {after['reason']}" in done.stdout
    assert after["updated_at"] > before["updated_at"]
    (quiet.library / "barn" / "broken.epub").unlink()


def test_ctrl_c_stops_only_the_waiting(quiet: Appliance) -> None:
    quiet.drop(
        "barn/long.md",
        "# Long\n\n" + "\n\n".join(f"Line {n} of a long tale of hens." * 8 for n in range(2000)),
    )
    waiting = subprocess.Popen(
        command(quiet), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert waiting.stdout
    assert "%" in waiting.stdout.readline()
    waiting.send_signal(signal.SIGINT)
    _, said = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert "goes on without me" in said
    assert quiet.get("/api/jobs")[1]["ingest"]["paused"] is False
    # Not cancelled: it may not have been received yet, and would keep the next test waiting until it is embedded.
    (quiet.library / "barn" / "long.md").unlink()
    quiet.until(lambda: (quiet.document("barn/long.md") or {"state": "missing"})["state"] == "missing")


def test_only_one_decision_at_a_time(quiet: Appliance) -> None:
    assert ingest(quiet, "--pause", "--retry").returncode == 2


def test_a_folder_that_is_not_there_is_not_called_indexed(quiet: Appliance) -> None:
    away = quiet.library.with_name("unplugged")
    quiet.library.rename(away)
    try:
        done = ingest(quiet)
        assert (done.returncode, "cannot be seen" in done.stderr) == (1, True)
    finally:
        away.rename(quiet.library)
        quiet.post("/api/scan", None)


def test_what_failed_is_told_also_while_ingest_is_paused(quiet: Appliance) -> None:
    quiet.drop("barn/torn.epub", b"PK\x03\x04 torn")
    quiet.until_state("barn/torn.epub", "failed")
    ingest(quiet, "--pause")
    quiet.drop("barn/mice.md", "# Mice\n\nMice nibble.\n")
    quiet.until_state("barn/mice.md", "waiting")
    told = json.loads(ingest(quiet, "--json").stdout)
    assert told["ingest"]["paused"]
    assert "barn/torn.epub" in [failed["path"] for failed in told["failed"]]
    (quiet.library / "barn" / "torn.epub").unlink()
    ingest(quiet, "--resume")
