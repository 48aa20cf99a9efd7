"""Tool calling: an offer of tools, asked of an engine until what comes is well-formed.

Where the model's own template speaks of tools and it may choose, the engine
offers them and reads the calls. In every other case the offer is told in plain
words and a grammar holds the reply to it (docs/decisions/0025). Words are passed
on as they come, a call when it is whole. Its hard rule: no call leaves that its
schema does not allow: the reply is asked for again, a few times, then it fails.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from library.errors import InvalidRequest, ModelFailed
from llm.events import Usage
from llm.tools.offer import (
    Called,
    CallFault,
    Demand,
    Ended,
    Offer,
    Said,
    Thought,
    ToolCall,
    ToolEvent,
    Writing,
    added,
    called,
)
from llm.tools.prompt import ANSWER, CALLS, AnswerText, offering, reply_schema
from llm.tools.schemas import Schema

if TYPE_CHECKING:
    from llm.engines.engine import Engine

Body = dict[str, Any]

ATTEMPTS = 3
_LONGEST_REPEATED = 2_000  # characters of a failed reply that are shown to the model again
# What the engine says is wrong when it cannot build the grammar that was made of the schemas.
_OURS = ("response_format", "request", "grammar", "json_schema")
_NOT_HELD = "cannot be held to with this model; simplify their schemas, or use another model. The request"
_WARMER = 0.7  # the last attempt's temperature: the same again would end the same
# Of a request with tools: what is said by the offer, and what a grammar of ours takes the place of.
_OFFERED = ("tools", "tool_choice", "parallel_tool_calls")
_FORMS = ("response_format", "grammar", "json_schema", "stop", "logprobs", "top_logprobs")


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    function: _Function = msgspec.field(default_factory=_Function)


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Usage | None = None


class _Refused(Exception):
    """A reply that cannot go out, and why."""

    def __init__(self, why: str, reply: str = "") -> None:
        super().__init__(why)
        self.why, self.reply = why, reply


class ToolConversation:
    """One choice of one request, with its tools."""

    def __init__(self, body: Body, offer: Offer, *, native: bool, answer: Schema | None = None) -> None:
        """`native`: the model's template speaks of tools. `answer` is what an answer in words must satisfy."""
        self._body, self._offer, self._answer = body, offer, answer
        self._native = native and offer.demand is Demand.AUTO and answer is None
        self._usage = Usage()

    async def events(self, engine: Engine) -> AsyncGenerator[ToolEvent, None]:
        """Ends with `Ended`. Raises InvalidRequest, ModelUnavailable and ModelFailed, as an engine's stream."""
        refused = None
        for attempt in range(ATTEMPTS):
            said = False
            events = (
                self._offered_by_engine(engine)
                if self._native and not attempt
                else self._held_to_grammar(engine, attempt, refused)
            )
            try:
                async with aclosing(events):
                    async for event in events:
                        said = said or isinstance(event, Said)
                        yield event
            except _Refused as error:
                refused = error
                if said:  # in words first, and then in a call that failed: only the call is asked for again
                    self._offer = msgspec.structs.replace(self._offer, demand=Demand.REQUIRED)
            except InvalidRequest as error:
                if refused is not None:
                    break  # no room for another attempt
                if error.parameter in _OURS:
                    raise InvalidRequest("tools", f"{_NOT_HELD} {error.problem}") from error
                raise
            else:
                return
        raise ModelFailed(
            f"The model wrote no valid call in {ATTEMPTS} attempts: {refused and refused.why}. "
            "Ask again, simplify the function's schema, or use a larger model."
        )

    async def _offered_by_engine(self, engine: Engine) -> AsyncGenerator[ToolEvent, None]:
        calls: dict[int, _Function] = {}
        finish = ""
        body = {name: value for name, value in self._body.items() if name not in _OFFERED}
        body |= {"tools": [tool.shape() for tool in self._offer.tools], "tool_choice": "auto"}
        if self._offer.parallel is not None:
            body["parallel_tool_calls"] = self._offer.parallel
        async for chunk in self._chunks(engine, body):
            yield Writing()
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                for call in choice.delta.tool_calls or ():
                    function = calls.setdefault(call.index, _Function("", ""))
                    function.name = (function.name or "") + (call.function.name or "")
                    function.arguments = (function.arguments or "") + (call.function.arguments or "")
                if choice.delta.reasoning_content:
                    yield Thought(choice.delta.reasoning_content)
                if choice.delta.content:
                    yield Said(choice.delta.content)
        if calls and finish != "length":
            try:
                made = called(self._offer, [(one.name, one.arguments) for one in calls.values()])
            except CallFault as error:
                raise _Refused(str(error)) from error
            yield Called(made)
            finish = "tool_calls"
        yield Ended(finish or "stop", self._usage)

    async def _held_to_grammar(
        self, engine: Engine, attempt: int, refused: _Refused | None
    ) -> AsyncGenerator[ToolEvent, None]:
        words = AnswerText()
        reply, said, finish = "", False, ""
        async for chunk in self._chunks(engine, self._plain_body(attempt, refused)):
            yield Writing()
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                if choice.delta.reasoning_content:
                    yield Thought(choice.delta.reasoning_content)
                reply += choice.delta.content or ""
                piece = words.fed(choice.delta.content or "") if self._answer is None else ""
                if piece and self._offer.demand is Demand.AUTO:
                    said = True
                    yield Said(piece)
        for event in self._concluded(reply, finish, said=said):
            yield event

    def _concluded(self, reply: str, finish: str, *, said: bool) -> Iterator[ToolEvent]:
        """What a whole reply comes to. Raises _Refused."""
        try:
            read = msgspec.json.decode(reply, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError) as error:
            # Cut short: words stand as far as they came, and half a call is none.
            if not said and finish != "length":
                raise _Refused("it is not JSON", reply) from error
            yield Ended(finish, self._usage)
            return
        if CALLS in read or self._offer.demand is Demand.REQUIRED:
            yield Called(self._calls(read, reply))
            finish = "tool_calls"
        elif self._answer is not None:
            fault = self._answer.fault(read.get(ANSWER))
            if fault is not None:
                raise _Refused(f"the answer is not valid: {fault}", reply)
            yield Said(msgspec.json.encode(read.get(ANSWER)).decode())
        yield Ended(finish or "stop", self._usage)

    def _calls(self, read: Body, reply: str) -> tuple[ToolCall, ...]:
        listed = read.get(CALLS)
        wanted = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        try:
            return called(self._offer, [(one.get("name"), one.get("arguments")) for one in wanted])
        except CallFault as error:
            raise _Refused(str(error), reply) from error

    def _plain_body(self, attempt: int, refused: _Refused | None) -> Body:
        body = {name: value for name, value in self._body.items() if name not in (*_OFFERED, *_FORMS)}
        messages = offering(self._body["messages"], self._offer)
        if refused is not None and 0 < len(refused.reply) <= _LONGEST_REPEATED:
            again = f"That cannot be used: {refused.why}. Write it again, so that it is valid."
            messages += [
                {"role": "assistant", "content": refused.reply},
                {"role": "user", "content": again},
            ]
        answer = None if self._answer is None else self._answer.schema
        schema = reply_schema(self._offer, tight=attempt > 0, answer=answer)
        if self._offer.demand is Demand.AUTO and not attempt and "stop" in self._body:
            body["stop"] = _escaped(self._body["stop"])
        body["messages"] = messages
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
        if attempt == ATTEMPTS - 1:
            body["temperature"] = max(body.get("temperature") or 0, _WARMER)
        return body

    async def _chunks(self, engine: Engine, body: Body) -> AsyncGenerator[_Chunk, None]:
        counted = Usage()
        try:
            async with aclosing(_chunks(engine, body)) as chunks:
                async for chunk in chunks:
                    counted = chunk.usage or counted
                    yield chunk
        finally:
            self._usage = added(self._usage, counted)


def _escaped(stop: str | list[str]) -> list[str]:
    """Where to stop, as it stands inside a JSON string."""
    return [msgspec.json.encode(one).decode()[1:-1] for one in ([stop] if isinstance(stop, str) else stop)]


async def words(engine: Engine, body: Body) -> AsyncGenerator[ToolEvent, None]:
    """The same events of a request without tools. Raises as an engine's stream does."""
    finish, usage = "stop", Usage()
    async with aclosing(_chunks(engine, body)) as chunks:
        async for chunk in chunks:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                if choice.delta.reasoning_content:
                    yield Thought(choice.delta.reasoning_content)
                if choice.delta.content:
                    yield Said(choice.delta.content)
    yield Ended(finish, usage)


async def _chunks(engine: Engine, body: Body) -> AsyncGenerator[_Chunk, None]:
    decoder = msgspec.json.Decoder(_Chunk)
    async with aclosing(engine.stream(body | {"stream_options": {"include_usage": True}})) as payloads:
        async for payload in payloads:
            yield decoder.decode(payload)
