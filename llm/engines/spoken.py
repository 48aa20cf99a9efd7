"""Spoken: how an engine's answer came, in times and counts.

Knows the wire's closing figures (`usage`, and llama.cpp's `timings`) and no
transport. Its hard rules: nothing is kept of what was said, and what cannot be
known is None or 0, never guessed. Costs one look at a clock a batch, and one
decoding an answer.
"""

import asyncio
import enum
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from library.errors import InvalidRequest


class Outcome(enum.StrEnum):
    FINISHED = "finished"
    ABANDONED = "abandoned"  # closed by whoever read it: a client that left, a model that repeated itself
    REFUSED = "refused"  # the engine would not take the request
    FAILED = "failed"


class Spoken(msgspec.Struct, frozen=True):
    """One answer of a model. Tokens are 0 where the engine did not count, as after an abandoned stream."""

    model: str
    outcome: Outcome
    first_token_s: float | None  # from asking the engine; None for an answer that came whole
    tokens_per_s: float | None  # after the first token; None for fewer than two
    prompt_tokens: int
    cached_tokens: int  # of the prompt: not read again
    completion_tokens: int


class _Details(msgspec.Struct):
    cached_tokens: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None


class _Timings(msgspec.Struct):
    cache_n: int = 0
    prompt_n: int = 0  # without those from the cache
    predicted_n: int = 0
    predicted_per_second: float | None = None


class _Ending(msgspec.Struct):
    """As much of the last chunk, or of a whole answer, as counts."""

    usage: _Usage | None = None
    timings: _Timings | None = None


_ENDING = msgspec.json.Decoder(_Ending)


class Hearing:
    """A block in which one engine answers one request; at its end `tell` is told how it was."""

    def __init__(
        self, model: str, tell: Callable[[Spoken], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._model, self._tell, self._clock = model, tell, clock
        self._first_at: float | None = None
        self._last = b""

    def __enter__(self) -> Self:
        self._began = self._last_at = self._clock()
        return self

    def heard(self, chunk: bytes) -> None:
        """A chunk of a stream has come; of those that came together, the last."""
        self._last, self._last_at = chunk, self._clock()
        if self._first_at is None:
            self._first_at = self._last_at

    def whole(self, answer: bytes) -> None:
        """The answer has come in one piece."""
        self._last = answer

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell(self._spoken(_outcome(error)))

    def _spoken(self, outcome: Outcome) -> Spoken:
        ending = _read(self._last)
        usage, timings = ending.usage or _Usage(), ending.timings or _Timings()
        said = usage.completion_tokens or timings.predicted_n
        details = usage.prompt_tokens_details or _Details()
        rate = None
        if said > 1:
            streamed_s = 0.0 if self._first_at is None else self._last_at - self._first_at
            rate = (said - 1) / streamed_s if streamed_s else timings.predicted_per_second
        return Spoken(
            self._model,
            outcome,
            None if self._first_at is None else self._first_at - self._began,
            rate,
            usage.prompt_tokens or timings.cache_n + timings.prompt_n,
            details.cached_tokens or timings.cache_n,
            said,
        )


def _outcome(error: BaseException | None) -> Outcome:
    match error:
        case None:
            return Outcome.FINISHED
        case GeneratorExit() | asyncio.CancelledError():
            return Outcome.ABANDONED
        case InvalidRequest():
            return Outcome.REFUSED
        case _:
            return Outcome.FAILED


def _read(last: bytes) -> _Ending:
    try:
        return _ENDING.decode(last)
    except msgspec.MsgspecError:  # nothing came, or figures of another kind: then nothing is known
        return _Ending()
