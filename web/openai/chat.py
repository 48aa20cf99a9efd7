"""/v1/chat/completions: from the library with citations, or from the bare model.

What is asked of the bare model goes through to the engine, unknown fields
included: they are its own (`top_k`, `min_p`, `grammar`). Reasoning stays apart
from the answer, in `reasoning_content`, as the engine writes it.
"""

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.params import Body
from litestar.response import Stream

from library.errors import InvalidRequest, ModelUnavailable
from llm.events import AnswerEvent, Done, Failed, Waiting
from web.api import STREAM_HEADERS, require_json, server_sent, usage_shape
from web.house import House
from web.leaving import unless_gone
from web.openai.bare import Batches, bodies_of, reshaped, streamed, whole
from web.openai.described import described
from web.openai.library import LibraryText
from web.openai.messages import Picture, check_messages, question, spoken
from web.openai.models import LIBRARIAN, ModelKind, asked_model, shelf_of
from web.openai.parameters import ChatParameters, PlainText, ignored, parameters, reasoning_kwargs, refuse
from web.openai.pictures import details, look_at, refuse_pictures, require_moderate
from web.openai.schemas import held
from web.openai.shapes import ChatChunk, ChatCompletion
from web.openai.tool_chat import with_tools, without_tools
from web.openai.tools import offer
from web.problems import LARGEST_WITH_PICTURES_BYTES, failed_problem, failed_status, openai_error
from web.repeated import DONE, events, repeat_of
from web.waiting import begun, comment, reader_of

if TYPE_CHECKING:
    from llm.engines.engine import Engine

# What a library answer takes over from the request; the rest of the body is
# about the bare model's output and has no meaning for a cited answer.
_SAMPLING = ("temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty")
_HONOURED_BY_LIBRARY = (
    *_SAMPLING,
    *("model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options"),
    *("n", "modalities", "response_format"),  # in the only value that is not refused
)
_REFUSED = {
    "functions": "is not spoken any more; give `tools` in its place.",
    "function_call": "is not spoken any more; give `tool_choice` in its place.",
    "audio": "cannot be: the models here write text only.",
    "web_search_options": f"cannot be: nothing is asked outside this house. To search the library, ask {LIBRARIAN!r}.",
}
# Documented, and without meaning for an engine in the house.
_IGNORED = (
    *(
        "metadata",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "user",
        "verbosity",
    ),
    *("prompt_cache_retention", "safety_identifier", "service_tier", "store"),
)


@post(
    "/v1/chat/completions",
    status_code=200,
    request_max_body_size=LARGEST_WITH_PICTURES_BYTES,
    operation_class=described(
        ChatParameters, ChatCompletion, ChatChunk, ignored=_IGNORED, refused=tuple(_REFUSED)
    ),
)
async def chat_completions(
    request: Request[Any, Any, State], state: State, data: Annotated[dict[str, Any], Body()]
) -> Response[Any]:
    """A chat completion, streamed or whole."""
    require_json(request)
    await require_moderate(request)
    house: House = state.house
    asked = parameters(data, ChatParameters)
    pictures = check_messages(asked.messages)
    refuse(data, _REFUSED)
    if asked.top_logprobs and not asked.logprobs:
        raise InvalidRequest("top_logprobs", "asks for nothing unless `logprobs` is true.")
    if await asked_model(house, asked.model, ModelKind.LIBRARY, ModelKind.CHAT) is ModelKind.CHAT:
        return await _bare_model(request, house, data, asked, pictures)
    refuse_pictures(house, pictures)
    _refuse_of_library(asked)
    headers = ignored(data, _HONOURED_BY_LIBRARY)
    put = question(
        asked.messages,
        shelf=shelf_of(asked.model),
        max_tokens=asked.max_completion_tokens or asked.max_tokens,
        sampling={name: data[name] for name in _SAMPLING if data.get(name) is not None},
        reader=reader_of(request),
    )
    answer = _Completion(asked.model, LibraryText(str(request.base_url).rstrip("/")))
    repeat = await repeat_of(request, house, house.models.default, of_library=True)
    headers = headers | repeat.headers
    answering = events(repeat, house.answerer.answer(put))
    if asked.stream:
        first, told = await begun(request, answering)
        if isinstance(first, Failed) and first.retry_after_s:
            return failed_problem(request, first)
        stream = _streamed_answer(told, answer, include_usage=asked.include_usage)
        return Stream(stream, media_type="text/event-stream", headers=STREAM_HEADERS | headers)
    return await unless_gone(request, _whole_answer(request, answering, answer, headers))


# --- the bare model ------------------------------------------------------------------------------


async def _bare_model(
    request: Request[Any, Any, State],
    house: House,
    data: dict[str, Any],
    asked: ChatParameters,
    pictures: list[Picture],
) -> Response[Any]:
    body = {name: value for name, value in data.items() if name not in _IGNORED and value is not None}
    body["messages"] = spoken(asked.messages)
    headers = ignored({name: data[name] for name in _IGNORED if name in data} | details(pictures), ())
    model = house.models.named(asked.model)
    await look_at(house, model, pictures, "messages")
    offered = offer(asked.tools, asked.tool_choice, asked.parallel_tool_calls, nested=True)
    if asked.reasoning_effort:
        given = data.get("chat_template_kwargs")
        own = given if isinstance(given, dict) else {}
        body["chat_template_kwargs"] = reasoning_kwargs(asked.reasoning_effort) | own
    if offered is not None:
        return await with_tools(request, house, model, body, asked, offered, headers)
    body = held(without_tools(house, model, body))
    if asked.logprobs:
        body["top_logprobs"] = max(asked.top_logprobs or 0, 1)  # without, the engine tells twenty
    n = asked.n or 1
    bodies = bodies_of(body, n=n)

    def shaped(choice: dict[str, Any]) -> None:
        if "message" in choice:
            choice["message"].setdefault("refusal", None)
        told = choice.get("logprobs")
        choice["logprobs"] = told and _logprobs(told, asked.top_logprobs or 0)

    if not asked.stream:
        return await whole(
            request, house, model, lambda engine, one: engine.chat(one), bodies, shaped, n=n, headers=headers
        )

    def batches_of(engine: "Engine") -> Batches:
        if n == 1 and not asked.logprobs:
            return engine.batches(bodies[0])
        return reshaped(engine.batches, bodies, shaped, n=n, include_usage=asked.include_usage)

    return await streamed(request, house, model, batches_of, headers=headers)


def _logprobs(told: dict[str, Any], top: int) -> dict[str, Any]:
    def one(entry: dict[str, Any]) -> dict[str, Any]:
        return {name: entry[name] for name in ("token", "bytes", "logprob")}

    content = [
        one(entry) | {"top_logprobs": [one(other) for other in entry["top_logprobs"][:top]]}
        for entry in told["content"]
    ]
    return {"content": content, "refusal": None}


# --- the library as a model ----------------------------------------------------------------------


def _refuse_of_library(asked: ChatParameters) -> None:
    """What would change the answer's form: ignoring it would give something else than was asked for."""
    if (asked.n or 1) > 1:
        raise InvalidRequest("n", "must be 1: the library gives one answer.")
    if asked.logprobs:
        raise InvalidRequest("logprobs", "cannot be: a library answer is not the model's words alone.")
    if asked.response_format is not None and not isinstance(asked.response_format, PlainText):
        raise InvalidRequest("response_format", "must be `text`: a library answer is prose with citations.")
    if asked.tool_choice not in (None, "none", "auto"):
        raise InvalidRequest("tool_choice", "must be `none` or `auto`: a library answer calls no tools.")


class _Completion:
    """Puts an answer's events together into OpenAI's shapes."""

    def __init__(self, model: str, written: LibraryText) -> None:
        self.id, self.created, self.model = f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), model
        self.written = written

    @property
    def annotations(self) -> list[dict[str, Any]]:
        return [
            {"type": "url_citation", "url_citation": mark} | source
            for mark, source in zip(self.written.marks, self.written.sources, strict=True)
        ]

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return server_sent(None, self._head("chat.completion.chunk") | {"choices": [choice]} | more)

    def usage_chunk(self, done: Done) -> bytes:
        usage = usage_shape(done)
        return server_sent(None, self._head("chat.completion.chunk") | {"choices": [], "usage": usage})

    def whole(self, done: Done) -> dict[str, Any]:
        message = {
            "role": "assistant",
            "content": self.written.text,
            "refusal": None,
            "annotations": self.annotations,
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done.finish_reason}
        return self._head("chat.completion") | {
            "choices": [choice],
            "usage": usage_shape(done),
            "almanac": self.written.extension(done),
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


async def _streamed_answer(
    answering: AsyncGenerator[AnswerEvent, None], answer: _Completion, *, include_usage: bool
) -> AsyncIterator[bytes]:
    async with aclosing(answering) as told:
        yield answer.chunk({"role": "assistant", "content": ""})
        async for event in told:
            if piece := answer.written.add(event):
                yield answer.chunk({"content": piece})
            match event:
                case Waiting():
                    yield comment(event.position)
                case Done():
                    last = {"annotations": answer.annotations} if answer.annotations else {}
                    extension = answer.written.extension(event)
                    yield answer.chunk(last, event.finish_reason, almanac=extension)
                    if include_usage:
                        yield answer.usage_chunk(event)
                    yield DONE
                case Failed():
                    # OpenAI's clients raise on an error object in the stream.
                    error = openai_error(failed_status(event), event.message, event.code, None)
                    yield server_sent(None, error)


async def _whole_answer(
    request: Request[Any, Any, State],
    answering: AsyncGenerator[AnswerEvent, None],
    answer: _Completion,
    headers: dict[str, str],
) -> Response[Any]:
    async with aclosing(answering) as told:
        async for event in told:
            answer.written.add(event)
            match event:
                case Done():
                    return Response(answer.whole(event), headers=headers)
                case Failed():
                    return failed_problem(request, event)
    raise ModelUnavailable("The answer ended without a word. Ask again.")
