"""Log lines, as text and as JSON: what they say, and what they keep to themselves."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.logs import JsonLines, TextLines, told
from ingest.link import WorkerLost
from library.errors import DocumentNotFound, FileGone, IndexUnavailable, InvalidRequest, UnreadableFile
from tests.places import ROOT
from web.observed import REQUEST_ID

SECRET = "plughword"


def record(message: str, *args: object, name: str = "ingest.inbox", **more: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.WARNING, __file__, 1, message, args, None)
    vars(made).update(more)
    return made


def raised(error: Exception) -> tuple[type[Exception], Exception, object]:
    try:
        try:
            Path(f"/nowhere/{SECRET}").read_bytes()
        except OSError as cause:
            raise error from cause
    except type(error) as caught:
        return type(caught), caught, caught.__traceback__


def test_a_line_says_when_how_bad_who_what_and_which() -> None:
    line = TextLines().format(record("document failed", document="1f"))
    assert line.endswith(" WARNING ingest.inbox: document failed document=1f")
    made = json.loads(JsonLines().format(record("%d left", 3, document="1f")))
    assert made["time"].endswith("+00:00")
    del made["time"]
    assert made == {"level": "WARNING", "logger": "ingest.inbox", "message": "3 left", "document": "1f"}


def test_a_line_within_a_request_names_it() -> None:
    mark = REQUEST_ID.set("abc")
    try:
        assert TextLines().format(record("x")).endswith(": x request=abc")
        assert json.loads(JsonLines().format(record("x")))["request"] == "abc"
    finally:
        REQUEST_ID.reset(mark)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (WorkerLost("it crashed the reader (SIGSEGV)"), "it crashed the reader (SIGSEGV)"),
        (IndexUnavailable("The disk is full."), "The disk is full."),
        (PermissionError(13, "Permission denied", f"/books/{SECRET}.epub"), "Permission denied"),
        (ValueError(SECRET), "ValueError"),
        (OSError(SECRET), "OSError"),
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET), "UnicodeDecodeError"),
        (FileGone(f"{SECRET}.md"), "FileGone"),
        (DocumentNotFound(SECRET), "DocumentNotFound"),
        (InvalidRequest("q", f"is {SECRET}."), "InvalidRequest"),
        (UnreadableFile(SECRET), "UnreadableFile"),
    ],
)
def test_of_an_error_only_what_is_ours_is_told(error: Exception, says: str) -> None:
    assert told(error) == says
    assert TextLines().format(record("it stands still: %s", error)).endswith(f": it stands still: {says}")
    assert SECRET not in JsonLines().format(record("it stands still: %s", error))


def test_a_trace_keeps_its_places_and_loses_its_messages() -> None:
    for lines in (TextLines(), JsonLines()):
        made = lines.format(record("broken", exc_info=raised(ValueError(SECRET))))
        assert "FileNotFoundError No such file or directory" in made
        assert "ValueError" in made
        assert "in raised" in made
        assert SECRET not in made


def test_causes_that_go_round_in_a_circle_are_told_once() -> None:
    one, other = ValueError("1"), KeyError("2")
    one.__cause__, other.__cause__ = other, one
    made = TextLines().format(record("broken", exc_info=(ValueError, one, None)))
    assert made.count("Traceback") == 2


def test_a_message_cannot_forge_a_line() -> None:
    made = TextLines().format(record("a\nb\r\nc"))
    assert made.endswith(": a b c")
    assert "\n" not in made


def test_what_asyncio_adds_to_its_first_line_is_left_out() -> None:
    message = f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>"
    assert SECRET not in TextLines().format(record(message, name="asyncio"))


def test_what_cannot_be_written_as_json_is_told_by_its_kind() -> None:
    assert json.loads(JsonLines().format(record("x", odd=object())))["odd"] == "object"


DYING_THREAD = """
import logging, threading
from appliance.logs import configure_logging

def dies():
    raise ValueError("plughword")

configure_logging(as_json=True)
thread = threading.Thread(target=dies)
thread.start()
thread.join()
logging.getLogger("somebody.elses").info("plughword")
logging.getLogger("ingest.inbox").info("looked")
"""


def test_a_thread_that_dies_is_a_line_too_and_others_are_heard_from_warning_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING_THREAD], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in lines] == ["a thread ended early", "looked"]
    assert "in dies" in lines[0]["trace"]
    assert SECRET not in done.stderr + done.stdout
