"""The bare model: requests handed to the chat engine, and what it writes handed back.

A request for one chat completion goes through as it came and its chunks come
back undecoded. Where there is something to change (several choices, log
probabilities, plain prompts) each chunk is opened. Its hard rule: the choices
of a request are written one after the other, in one slot, so that nobody takes
the others' slots by asking for many; and their usage is added up here, since
the engine counts the first alone.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.response import Stream

from library.errors import ModelError
from llm.answer import told
from web.api import STREAM_HEADERS, server_sent
from web.house import House
from web.leaving import unless_gone
from web.problems import openai_error

Body = dict[str, Any]
Batches = AsyncGenerator[list[bytes], None]
DONE = b"data: [DONE]\n\n"


def bodies_of(body: Body, *, n: int) -> list[Body]:
    """One body for each of `n` choices; with a seed, each has a seed of its own."""
    seed = body.get("seed")
    one = {name: value for name, value in body.items() if name not in ("n", "best_of")}
    return [one if seed is None else {**one, "seed": (seed + at) % 2**32} for at in range(n)]


async def whole(
    request: Request[Any, Any, Any],
    house: House,
    write: Callable[[Body], Awaitable[Body]],
    bodies: Sequence[Body],
    shaped: Callable[[Body], None],
    *,
    n: int,
    headers: dict[str, str],
) -> Response[Any]:
    """Every choice of `bodies` in one object; `n` of them in a row belong to one prompt."""

    async def written() -> list[Body]:
        return [await write(body) for body in bodies]

    with house.precedence.foreground():
        answers = await unless_gone(request, written())
    choices = []
    for index, answer in enumerate(answers):
        choice = {**answer["choices"][0], "index": index}
        shaped(choice)
        choices.append(choice)
    usage = _Usage(n)
    for answer in answers:
        usage.add(answer.get("usage"))
    together = {"model": house.models.model_id, "choices": choices, "usage": usage.shape()}
    return Response(answers[0] | together, headers=headers)


async def streamed(
    request: Request[Any, Any, Any], house: House, batches: Batches, *, headers: dict[str, str]
) -> Stream:
    """The chunks as server-sent events.

    The first is awaited here, so that a refused request is an HTTP error and
    not a stream that begins with one.
    """
    with house.precedence.foreground():
        first = await unless_gone(request, _first(batches))

    async def passed_on() -> AsyncIterator[bytes]:
        with house.precedence.foreground():
            async with aclosing(batches):
                try:
                    if first:
                        yield _events(first)
                    async for batch in batches:
                        yield _events(batch)
                except ModelError as error:
                    sentence = told(error, house.models)
                    yield server_sent(None, openai_error(503, sentence, error.code, None))
                    return
        yield DONE

    return Stream(passed_on(), media_type="text/event-stream", headers=STREAM_HEADERS | headers)


async def reshaped(
    batches_of: Callable[[Body], Batches],
    bodies: Sequence[Body],
    shaped: Callable[[Body], None],
    *,
    n: int,
    include_usage: bool,
) -> Batches:
    """The chunks of each body in turn, as one stream with one id; a batch is never empty."""
    head: Body = {}
    usage = _Usage(n)
    for index, body in enumerate(bodies):
        counted: Body | None = None
        async with aclosing(batches_of(body | {"stream_options": {"include_usage": True}})) as batches:
            async for batch in batches:
                out = []
                for chunk in map(msgspec.json.decode, batch):
                    counted = chunk.pop("usage", None) or counted
                    head = head or {
                        name: chunk.get(name)
                        for name in ("id", "object", "created", "model", "system_fingerprint")
                    }
                    for choice in chunk["choices"]:
                        choice["index"] = index
                        shaped(choice)
                    if chunk["choices"]:
                        out.append(msgspec.json.encode(chunk | head))
                if out:
                    yield out
        usage.add(counted)
    if include_usage:
        yield [msgspec.json.encode(head | {"choices": [], "usage": usage.shape()})]


class _Usage:
    """Adds up what choices cost; a prompt of which several are written counts once."""

    def __init__(self, n: int) -> None:
        self._n, self._added = n, 0
        self._prompt = self._completion = self._cached = 0

    def add(self, usage: Body | None) -> None:
        usage = usage or {}
        if self._added % self._n == 0:
            self._prompt += usage.get("prompt_tokens", 0)
            self._cached += (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        self._completion += usage.get("completion_tokens", 0)
        self._added += 1

    def shape(self) -> Body:
        return {
            "prompt_tokens": self._prompt,
            "completion_tokens": self._completion,
            "total_tokens": self._prompt + self._completion,
            "prompt_tokens_details": {"cached_tokens": self._cached},
        }


async def _first(batches: Batches) -> list[bytes] | None:
    return await anext(batches, None)


def _events(batch: list[bytes]) -> bytes:
    """Chunks that arrived together leave together: one write, one wake-up of the client."""
    return b"".join(b"data: " + payload + b"\n\n" for payload in batch)
