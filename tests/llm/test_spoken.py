"""How an answer came: by a clock that is told the time, and by the figures of engines that are not alike."""

import asyncio
from collections.abc import Callable

import pytest

from library.errors import AlmanacError, InvalidRequest, ModelFailed
from llm.engines.spoken import Hearing, Outcome, Spoken

USAGE = b'{"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":11,"prompt_tokens_details":{"cached_tokens":30}}}'
TIMINGS = (
    b'{"choices":[{}],"timings":{"cache_n":30,"prompt_n":10,"predicted_n":11,"predicted_per_second":25.0}}'
)
TOKEN = b'{"choices":[{"delta":{"content":"x"}}]}'


def told(at: list[float], happens: Callable[[Hearing], None]) -> Spoken:
    """What is told of a block in which `happens`; the clock shows the times of `at` one after the other."""
    heard: list[Spoken] = []
    times = iter(at)
    try:
        with Hearing("m", heard.append, clock=lambda: next(times)) as hearing:
            happens(hearing)
    except (AlmanacError, GeneratorExit, asyncio.CancelledError):
        pass
    assert len(heard) == 1
    return heard[0]


@pytest.mark.parametrize("last", [USAGE, TIMINGS])
def test_a_stream_has_a_first_token_and_a_rate(last: bytes) -> None:
    def happens(hearing: Hearing) -> None:
        for chunk in (TOKEN, TOKEN, last):
            hearing.heard(chunk)

    assert told([10.0, 10.5, 11.0, 12.5], happens) == Spoken("m", Outcome.FINISHED, 0.5, 5.0, 40, 30, 11)


def test_a_whole_answer_has_the_engines_rate_and_no_first_token() -> None:
    spoken = told([10.0], lambda hearing: hearing.whole(TIMINGS))
    assert spoken == Spoken("m", Outcome.FINISHED, None, 25.0, 40, 30, 11)
    assert told([10.0], lambda hearing: hearing.whole(USAGE)).tokens_per_s is None


@pytest.mark.parametrize(
    "last", [TOKEN, b"", b"no json", b'{"usage":null}', b'{"usage":{"completion_tokens":1}}', b"[]"]
)
def test_what_is_not_known_is_not_guessed(last: bytes) -> None:
    assert told([1.0, 2.0], lambda hearing: hearing.heard(last)).tokens_per_s is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InvalidRequest("messages", "are too long."), Outcome.REFUSED),
        (ModelFailed("It broke."), Outcome.FAILED),
        (GeneratorExit(), Outcome.ABANDONED),
        (asyncio.CancelledError(), Outcome.ABANDONED),
    ],
)
def test_an_answer_that_does_not_end_well_is_told_as_what_it_was(
    error: BaseException, outcome: Outcome
) -> None:
    def happens(hearing: Hearing) -> None:
        hearing.heard(TOKEN)
        raise error

    assert told([1.0, 1.5], happens) == Spoken("m", outcome, 0.5, None, 0, 0, 0)
