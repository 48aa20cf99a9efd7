"""The tree of errors. Every floor hangs its own branch here.

    AlmanacError                  code, status-free; str() is a sentence for a reader
    ├── ConfigurationError        appliance: a key, a value, a command line
    ├── SetupError                appliance: a part of the machine that is missing or broken
    ├── NotFoundError             library: an id that nothing has
    │   ├── DocumentNotFound
    │   ├── FileGone
    │   ├── PassageNotFound
    │   └── ShelfNotFound
    ├── InvalidRequest            library: an argument that cannot be served, with its name
    ├── StateConflict             library: a document's state does not allow what was asked
    ├── Busy                      library: that is being done already
    ├── OnlyFromHere              library: what is asked of the machine itself, and not from elsewhere in the house
    ├── NotRunning                library: what should be cancelled is not being done
    ├── RecordError               library: the system of record cannot be opened or written
    ├── IndexUnavailable          search: one of the two indexes, or the embedder, cannot answer
    ├── UnreadableFile            ingest: a file that cannot become a document, and why
    └── ModelError                llm
        ├── ModelUnavailable      no model is loaded, or it is still loading
        ├── ModelNotFound         no model of that name
        ├── ModelFileInvalid      a file that is not a model this engine can read
        ├── ModelFailed           the engine broke in the middle of its work
        └── Overloaded            more wait for the model than may, and when to ask again
            └── WaitedTooLong     the model was not free in time

An error takes facts and writes the sentence: what happened, then what to do.
It knows no HTTP status; `web.problems` maps each class to one, and a test
fails when a class is left out.
"""

from typing import ClassVar


class AlmanacError(Exception):
    """The root. `code` is stable and machine readable; `str(error)` is for a person."""

    code: ClassVar[str] = "almanac_error"


class ConfigurationError(AlmanacError):
    code = "configuration_invalid"

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"Configuration key `{key}` {problem}" if key else problem)
        self.key = key


class SetupError(AlmanacError):
    code = "setup_failed"


class NotFoundError(AlmanacError):
    code = "not_found"


class DocumentNotFound(NotFoundError):
    code = "document_not_found"

    def __init__(self, document_id: str) -> None:
        super().__init__(f"No document has the id {document_id}. It may have been removed from the library.")
        self.document_id = document_id


class FileGone(NotFoundError):
    code = "file_gone"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"The file {path!r} is not in the library folder any more. If it lies on a disk that was taken "
            "out, connect it again; else put the file back."
        )
        self.path = path


class PassageNotFound(NotFoundError):
    code = "passage_not_found"

    def __init__(self, passage_id: str) -> None:
        super().__init__(
            f"No passage has the id {passage_id}. Its document may have been changed or removed; search again."
        )
        self.passage_id = passage_id


class ShelfNotFound(NotFoundError):
    code = "shelf_not_found"

    def __init__(self, shelf: str) -> None:
        super().__init__(f"There is no shelf named {shelf!r}. See /api/shelves for those there are.")
        self.shelf = shelf


class InvalidRequest(AlmanacError):
    code = "request_invalid"

    def __init__(self, parameter: str, problem: str) -> None:
        super().__init__(f"`{parameter}` {problem}")
        self.parameter, self.problem = parameter, problem


class StateConflict(AlmanacError):
    code = "state_conflict"

    def __init__(self, path: str, state: str, allowed: str) -> None:
        super().__init__(f"{path!r} is in the state `{state}`; that can be done only while it is {allowed}.")
        self.path, self.state = path, state


class Busy(AlmanacError):
    code = "busy"


class OnlyFromHere(AlmanacError):
    code = "only_from_here"


class NotRunning(AlmanacError):
    code = "not_running"


class RecordError(AlmanacError):
    code = "record_unavailable"


class IndexUnavailable(AlmanacError):
    code = "index_unavailable"


class UnreadableFile(AlmanacError):
    code = "file_unreadable"


class ModelError(AlmanacError):
    code = "model_error"


class ModelUnavailable(ModelError):
    code = "model_unavailable"


class ModelNotFound(ModelError):
    code = "model_not_found"

    def __init__(self, model: str, known: tuple[str, ...], why: str | None = None) -> None:
        """`why`: of one that is there, what keeps it from being used, as a sentence."""
        names = ", ".join(known) or "none"
        super().__init__(
            f"The model {model!r} cannot be used. {why}"
            if why
            else f"The model {model!r} does not exist here. Known models: {names}."
        )
        self.model = model


class ModelFileInvalid(ModelError):
    code = "model_file_invalid"


class ModelFailed(ModelError):
    code = "model_failed"


class Overloaded(ModelError):
    code = "overloaded"

    def __init__(self, waiting: int, retry_after_s: int, *, own: bool) -> None:
        """`own`: those who wait are all the same reader's."""
        whose = "of yours are" if own else "are"
        super().__init__(
            f"The model is busy, and {waiting} requests {whose} waiting for it already. "
            f"Ask again in {_seconds(retry_after_s)}."
        )
        self.retry_after_s = retry_after_s


class WaitedTooLong(Overloaded):
    code = "waited_too_long"

    def __init__(self, waited_s: float, retry_after_s: int) -> None:
        ModelError.__init__(
            self,
            f"The model was not free within {_seconds(round(waited_s))}. Ask again in {_seconds(retry_after_s)}.",
        )
        self.retry_after_s = retry_after_s


def _seconds(count: int) -> str:
    return "a second" if count <= 1 else f"{count} seconds"
