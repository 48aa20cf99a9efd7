"""What the person at the terminal sees."""

import io
import re

from appliance.setup.progress import Progress, SetupStopped, Step, in_one_sentence


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def tell_everything(progress: Progress) -> None:
    for step in Step:
        for percent in range(101):
            progress.tell(step, percent / 100, f"{percent} of 100")


def test_the_steps_are_a_whole_first_run():
    assert sum(step.percent for step in Step) == 100


def test_a_log_gets_at_most_three_lines_a_step():
    out = io.StringIO()
    tell_everything(Progress(out))
    lines = out.getvalue().splitlines()
    assert len(Step) <= len(lines) <= 3 * len(Step)
    assert lines[0] == "[1/5   0 %] Preparing Python: 0 of 100"
    percents = [int(found[1]) for line in lines if (found := re.match(r"\[./. +(\d+) %\]", line))]
    assert percents == sorted(percents)
    assert "\r" not in out.getvalue()


def test_a_terminal_gets_one_refreshed_line_a_step(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    progress = Progress(out)
    tell_everything(progress)
    progress.say("Everything is in place.")
    lines = out.getvalue().split("\n")
    assert len([line for line in lines if line]) == len(Step) + 1
    for refreshed in out.getvalue().replace("\x1b[K", "").split("\r"):
        assert len(refreshed.split("\n")[0]) < 40, "a line that wraps cannot be refreshed"


def test_a_terminal_with_no_color_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    tell_everything(Progress(out))
    assert "\r" not in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_failure_is_said_and_not_raised():
    out = io.StringIO()

    def fails() -> None:
        raise SetupStopped("The well is dry: dig deeper.")

    assert in_one_sentence(Progress(out), fails) == 1
    assert out.getvalue() == "The well is dry: dig deeper.\n"


def test_a_full_disk_is_named():
    out = io.StringIO()

    def fills() -> None:
        raise OSError(28, "No space left on device", "/var/model")

    assert in_one_sentence(Progress(out), fills) == 1
    assert out.getvalue().startswith("The disk is full: make room")


def test_being_told_to_stop_is_not_a_failure_of_the_machine():
    out = io.StringIO()

    def interrupted() -> None:
        raise KeyboardInterrupt

    assert in_one_sentence(Progress(out), interrupted) == 130
    assert "the next start takes it up again" in out.getvalue()
