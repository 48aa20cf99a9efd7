"""Chat completions with tools: what the model says and calls, in OpenAI's shapes.

Knows the shapes, not how a call comes about (`llm.tools.calling`). Its hard rule:
a chunk with a call has the whole call behind it; where one could not be made,
there is none.
"""

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response
from litestar.datastructures import State

from library.errors import InvalidRequest
from llm.answering.consulting import Consulting, ConsultingEvent
from llm.events import Citation, PassagesFound, Token, Usage
from llm.serving.served import ServedModel
from llm.tools.calling import ToolConversation
from llm.tools.offer import Called, Ended, Offer, Said, Thought, ToolCall
from llm.tools.prompt import plainly, speaks_of_calls
from llm.tools.schemas import Schema
from web.house import House
from web.openai.bare import Batches, bodies_of, new_head, reshaped, streamed, whole
from web.openai.library import LibraryText
from web.openai.parameters import AnyJson, ChatParameters, JsonOf
from web.openai.schemas import answer_schema
from web.openai.tools import asks_library, conversation, speaks_of_tools

if TYPE_CHECKING:
    from llm.engines.engine import Engine

Body = dict[str, Any]

_PIECE = 48  # characters of arguments in one chunk
_NOT_BESIDE = ("grammar", "json_schema")


def without_tools(house: House, model: ServedModel, body: Body) -> Body:
    """A request in which nothing may be called; earlier calls in it are told in words where the template has none."""
    plain = {
        name: value
        for name, value in body.items()
        if name not in ("tools", "tool_choice", "parallel_tool_calls")
    }
    if speaks_of_calls(body["messages"]) and not speaks_of_tools(house, model):
        plain["messages"] = plainly(body["messages"])
    return plain


async def with_tools(
    request: Request[Any, Any, State],
    house: House,
    model: ServedModel,
    body: Body,
    asked: ChatParameters,
    offer: Offer,
    headers: dict[str, str],
) -> Response[Any]:
    if asked.logprobs:
        raise InvalidRequest("logprobs", "cannot be had together with `tools`.")
    for name in _NOT_BESIDE:
        if name in body:
            raise InvalidRequest(
                name, "cannot be given together with `tools`: their schemas are the grammar."
            )
    answer = _answer(asked)
    n = asked.n or 1
    bodies = bodies_of(body, n=n)
    of_library = asks_library(asked.tools)
    base_url = str(request.base_url).rstrip("/")

    def written(one: Body) -> "_Written":
        return _Written(conversation(house, model, one, offer, answer), LibraryText(base_url))

    if not asked.stream:

        async def write(engine: "Engine", one: Body) -> Body:
            return await written(one).whole(engine)

        return await whole(
            request, house, model, write, bodies, lambda _: None, n=n, headers=headers, of_library=of_library
        )

    def batches_of(engine: "Engine") -> Batches:
        def one_choice(one: Body) -> Batches:
            return written(one).chunks(engine)

        return reshaped(one_choice, bodies, lambda _: None, n=n, include_usage=asked.include_usage)

    return await streamed(request, house, model, batches_of, headers=headers, of_library=of_library)


def _answer(asked: ChatParameters) -> Schema | None:
    match asked.response_format:
        case AnyJson():
            return answer_schema({"type": "object"}, "response_format")
        case JsonOf(json_schema=described):
            return answer_schema(described.schema, "response_format.json_schema.schema")
    return None


class _Written:
    """One choice, in OpenAI's shapes."""

    def __init__(self, conversation: ToolConversation | Consulting, text: LibraryText) -> None:
        self._conversation, self._text = conversation, text

    async def whole(self, engine: "Engine") -> Body:
        thought, calls = "", []
        finish_reason, usage = "", Usage()
        async with aclosing(self._conversation.events(engine)) as events:
            async for event in events:
                self._piece(event)
                match event:
                    case Thought():
                        thought += event.text
                    case Called():
                        calls += [call.shape() for call in event.calls]
                    case Ended():
                        finish_reason, usage = event.finish_reason, event.usage
        message: Body = {"role": "assistant", "content": self._text.text, "refusal": None}
        if thought:
            message["reasoning_content"] = thought
        if calls:
            message |= {"content": self._text.text or None, "tool_calls": calls}
        message |= self._annotations()
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        told = {"choices": [choice], "usage": msgspec.to_builtins(usage)}
        return new_head("chat.completion", engine.model_id) | told

    async def chunks(self, engine: "Engine") -> Batches:
        head = new_head("chat.completion.chunk", engine.model_id)

        def chunk(delta: Body, finish_reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
            return msgspec.json.encode(head | {"choices": [choice]})

        begun = False
        async with aclosing(self._conversation.events(engine)) as events:
            async for event in events:
                batch = [] if begun else [chunk({"role": "assistant", "content": None})]
                begun = True
                if piece := self._piece(event):
                    batch.append(chunk({"content": piece}))
                match event:
                    case Thought():
                        batch.append(chunk({"reasoning_content": event.text}))
                    case Called():
                        batch += [chunk(delta) for delta in _call_deltas(event.calls)]
                    case Ended():
                        batch.append(chunk(self._annotations(), event.finish_reason))
                        usage = {"choices": [], "usage": msgspec.to_builtins(event.usage)}
                        batch.append(msgspec.json.encode(head | usage))
                if batch:
                    yield batch

    def _piece(self, event: ConsultingEvent) -> str:
        """What the event adds to the text."""
        match event:
            case Said():
                return self._text.add(Token(event.text))
            case PassagesFound() | Citation():
                return self._text.add(event)
        return ""

    def _annotations(self) -> Body:
        marks = zip(self._text.marks, self._text.sources, strict=True)
        found = [{"type": "url_citation", "url_citation": mark} | source for mark, source in marks]
        return {"annotations": found} if found else {}


def _call_deltas(calls: tuple[ToolCall, ...]) -> list[Body]:
    """Of each call first its id and name, then its arguments in pieces."""
    deltas = []
    for index, call in enumerate(calls):
        deltas.append(
            {"tool_calls": [{"index": index, **msgspec.structs.replace(call, arguments="").shape()}]}
        )
        for at in range(0, len(call.arguments), _PIECE):
            function = {"arguments": call.arguments[at : at + _PIECE]}
            deltas.append({"tool_calls": [{"index": index, "function": function}]})
    return deltas
