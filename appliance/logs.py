"""Logs: lines on standard error, which systemd's journal keeps, as text or as JSON.

Its hard rule: no one's words are in them. Our own lines name ids, counts and
parts of Almanac; the words of a reader could only come along with an error, so
of an error that is no sentence of ours, or that speaks of what a reader asked
for, only its kind is told. A trace keeps its places and loses its messages.
What others log is told from WARNING on.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType

import msgspec

from library import errors
from web.observed import REQUEST_ID

_FLOORS = ("appliance", "web", "ingest", "llm", "search", "library")
# Their sentences name what was asked for, or a file of the library's.
_OF_READERS = (
    errors.NotFoundError,
    errors.InvalidRequest,
    errors.StateConflict,
    errors.UnreadableFile,
    errors.ModelNotFound,
)
_ITS_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(*, as_json: bool) -> None:
    """Send every line of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for floor in _FLOORS:
        logging.getLogger(floor).setLevel(logging.INFO)
    threading.excepthook = _thread_ended


class _Lines(logging.Formatter):
    """What both forms have in common: which facts a line has."""

    def facts(self, record: logging.LogRecord) -> dict[str, object]:
        """What the line says beside its message: the request it belongs to, and what it was given as `extra`."""
        request = {"request": REQUEST_ID.get()} if REQUEST_ID.get() else {}
        return request | {name: value for name, value in vars(record).items() if name not in _ITS_OWN}

    def said(self, record: logging.LogRecord) -> str:
        """The message on one line."""
        if isinstance(record.args, tuple):
            record = logging.makeLogRecord(vars(record) | {"args": tuple(map(_safe, record.args))})
        lines = record.getMessage().splitlines()
        # asyncio writes what went wrong, its words included, below its first line.
        return "".join(lines[:1]) if record.name == "asyncio" else " ".join(lines)

    def trace(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        return "".join(_traced(error))


class TextLines(_Lines):
    """`2026-01-31 12:00:00,000 INFO web.observed: request request=8c1f… status=200`"""

    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {name}={value}" for name, value in self.facts(record).items())
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {self.said(record)}{facts}"
        trace = self.trace(record)
        return f"{line}\n{trace}".rstrip("\n")


class JsonLines(_Lines):
    """One object a line: `time`, `level`, `logger`, `message`, and where there are any `request`, facts, `trace`."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self.said(record),
            **self.facts(record),
        }
        if trace := self.trace(record):
            told["trace"] = trace
        return msgspec.json.encode(told, enc_hook=_kind).decode()


def told(error: BaseException) -> str:
    """What a line may say of an error: its sentence if that is ours and of no reader, else its kind."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the file's name
    ours = type(error).__module__.partition(".")[0] in _FLOORS
    if ours and not isinstance(error, _OF_READERS):
        return str(error)
    return _kind(error)


def _safe(value: object) -> object:
    return told(value) if isinstance(value, BaseException) else value


def _kind(value: object) -> str:
    return type(value).__qualname__


def _traced(error: BaseException | None) -> Iterator[str]:
    """As Python writes it, the cause first, with `told` in place of messages. Errors of a group are not unfolded."""
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for cause in reversed(causes):
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(cause.__traceback__)
        yield f"{' '.join(dict.fromkeys((_kind(cause), told(cause))))}\n"


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    error: BaseException | None = ended.exc_value
    if error is None or isinstance(error, SystemExit):
        return
    trace: TracebackType | None = ended.exc_traceback
    log = logging.getLogger(__name__)
    log.critical("a thread ended early", exc_info=(type(error), error, trace))
