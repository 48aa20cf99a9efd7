"""The bare model: requests handed to the chat engine, and what it writes handed back.

A request for one chat completion goes through as it came and its chunks come
back undecoded. Where there is something to change (several choices, log
probabilities, plain prompts) each chunk is opened. Its hard rule: the choices
of a request are written one after the other, in one slot, so that nobody takes
the others' slots by asking for many; and their usage is added up here, since
the engine counts the first alone.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response
from litestar.response import Stream

from library.errors import AlmanacError
from llm.answering.answer import told
from llm.serving.queue import Reader
from llm.serving.served import ServedModel
from web.api import STREAM_HEADERS, server_sent
from web.house import House
from web.leaving import unless_gone
from web.openai.parameters import require_readable_grammar
from web.problems import openai_error, status_of
from web.repeated import DONE, chunks, repeat_of, whole_again
from web.waiting import begun, comment, reader_of

if TYPE_CHECKING:
    from llm.engines.engine import Engine

Body = dict[str, Any]
Batches = AsyncGenerator[list[bytes], None]


def new_head(kind: str, model_id: str) -> Body:
    """What every object and chunk of one completion begins with."""
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model_id,
    }


def bodies_of(body: Body, *, n: int) -> list[Body]:
    """One body for each of `n` choices; with a seed, each has a seed of its own. Raises InvalidRequest."""
    require_readable_grammar(body)
    seed = body.get("seed")
    one = {name: value for name, value in body.items() if name not in ("n", "best_of")}
    return [one if seed is None else {**one, "seed": (seed + at) % 2**32} for at in range(n)]


async def whole(
    request: Request[Any, Any, Any],
    house: House,
    model: ServedModel,
    write: Callable[[Engine, Body], Awaitable[Body]],
    bodies: Sequence[Body],
    shaped: Callable[[Body], None],
    *,
    n: int,
    headers: dict[str, str],
    of_library: bool = False,
) -> Response[Any]:
    """Every choice of `bodies` in one object; `n` of them in a row belong to one prompt."""
    repeat = await repeat_of(request, house, model, of_library=of_library)
    headers = headers | repeat.headers
    if repeat.found is not None:
        return Response(whole_again(repeat.found), headers=headers)

    async def written() -> list[Body]:
        with house.precedence.foreground():
            async with model.turn(reader_of(request)) as engine:
                return [await write(engine, body) for body in bodies]

    answers = await unless_gone(request, written())
    choices = []
    for index, answer in enumerate(answers):
        choice = {**answer["choices"][0], "index": index}
        shaped(choice)
        choices.append(choice)
    usage = _Usage(n)
    for answer in answers:
        usage.add(answer.get("usage"))
    together = {"model": model.id, "choices": choices, "usage": usage.shape()}
    completion = answers[0] | together
    repeat.keep(msgspec.json.encode(completion))
    return Response(completion, headers=headers)


async def streamed(
    request: Request[Any, Any, Any],
    house: House,
    model: ServedModel,
    batches_of: Callable[[Engine], Batches],
    *,
    headers: dict[str, str],
    of_library: bool = False,
) -> Stream:
    """The chunks as server-sent events.

    The first bytes are awaited here, so that a request refused at once is an
    HTTP error and not a stream that begins with one.
    """
    repeat = await repeat_of(request, house, model, of_library=of_library)
    written = _passed_on(house, model, batches_of, reader_of(request))
    _, stream = await begun(request, chunks(repeat, written))
    return Stream(stream, media_type="text/event-stream", headers=STREAM_HEADERS | headers | repeat.headers)


async def _passed_on(
    house: House, model: ServedModel, batches_of: Callable[[Engine], Batches], reader: Reader
) -> AsyncGenerator[bytes, None]:
    """The stream in its turn. What fails before the first bytes is raised, later told."""
    said = False
    try:
        with house.precedence.foreground(), model.place(reader) as place:
            async for position in place.positions():
                said = True
                yield comment(position)
            engine = await model.engine_back()
            async with aclosing(batches_of(engine)) as batches:
                async for batch in batches:
                    said = True
                    yield _events(batch)
    except AlmanacError as error:
        if not said:
            raise
        status = min(status_of(error), HTTPStatus.SERVICE_UNAVAILABLE)
        yield server_sent(None, openai_error(status, told(error, house.models), error.code, None))
        return
    yield DONE


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
                        name: chunk[name]
                        for name in ("id", "object", "created", "model", "system_fingerprint")
                        if name in chunk
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


def _events(batch: list[bytes]) -> bytes:
    """Chunks that arrived together leave together: one write, one wake-up of the client."""
    return b"".join(b"data: " + payload + b"\n\n" for payload in batch)
