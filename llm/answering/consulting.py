"""Consulting: a conversation in which the model may look things up in the library before it answers.

    the offer ─► a call of the library's tools ─► looked up here, its result told ─► asked again
                 words, or a call of the client's ─► out, and done

Knows rounds; how a call is made is `llm.tools.calling`'s, what a tool gives
`llm.answering.library_tools`'. Its hard rule: it ends. After some rounds, or at the same
call a second time, the library's tools are taken away and the model has to answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from llm.answering.citations import Citer
from llm.answering.library_tools import TOOLS, LibraryTools
from llm.answering.prompt import passage_text
from llm.events import Citation, PassagesFound, Token, Usage
from llm.tools.calling import ToolConversation, words
from llm.tools.offer import Called, Demand, Ended, Offer, Said, ToolCall, ToolEvent, added
from llm.tools.prompt import plainly
from llm.tools.schemas import Schema
from search.values import Passage

if TYPE_CHECKING:
    from llm.engines.engine import Engine

Body = dict[str, Any]
ConsultingEvent = ToolEvent | PassagesFound | Citation

ROUNDS = 4


class Consulting:
    """One choice of one request whose tools are, some or all, the library's own."""

    def __init__(
        self, body: Body, offer: Offer, library: LibraryTools, *, native: bool, answer: Schema | None = None
    ) -> None:
        self._body, self._offer, self._library = dict(body), offer, library
        self._native, self._answer = native, answer
        self._usage = Usage()
        self._calls: tuple[ToolCall, ...] = ()  # of this round, to be looked up
        self._passages: dict[str, Passage] = {}
        self._asked: set[tuple[str, str]] = set()

    async def events(self, engine: Engine) -> AsyncGenerator[ConsultingEvent, None]:
        """As a ToolConversation's; `PassagesFound` has all that was looked up so far, which citations count in."""
        for left in range(ROUNDS, -1, -1):
            citer = self._begun()
            async with aclosing(self._round(engine)) as events:
                async for event in events:
                    for told in self._told(event, citer):
                        yield told
            if not self._calls:
                return
            if await self._look_up(last=left == 1):
                yield PassagesFound(tuple(self._passages.values()), ())

    def _told(self, event: ToolEvent, citer: Citer | None) -> Iterator[ConsultingEvent]:
        """What of a round's event goes out."""
        match event:
            case Called(calls=calls) if all(call.name in TOOLS for call in calls):
                self._calls = calls
            case Called(calls=calls):
                yield Called(tuple(call for call in calls if call.name not in TOOLS))
            case Ended():
                self._usage = added(self._usage, event.usage)
                if not self._calls:
                    yield from _said(citer.finish() if citer else ())
                    yield Ended(event.finish_reason, self._usage)
            case Said() if citer:
                yield from _said(citer.feed(event.text))
            case _:
                yield event

    def _round(self, engine: Engine) -> AsyncGenerator[ToolEvent, None]:
        if self._offer.tools:
            return ToolConversation(self._body, self._offer, native=self._native, answer=self._answer).events(
                engine
            )
        body = {name: value for name, value in self._body.items() if not name.startswith("tool")}
        if not self._native:
            body["messages"] = plainly(body["messages"])
        return words(engine, body)

    async def _look_up(self, *, last: bool) -> bool:
        """Tell the model what the library has on its calls; whether there are passages that it had not."""
        before = len(self._passages)
        messages: list[Any] = [
            {"role": "assistant", "content": None, "tool_calls": [call.shape() for call in self._calls]}
        ]
        for call in self._calls:
            last = last or (call.name, call.arguments) in self._asked
            self._asked.add((call.name, call.arguments))
            consulted = await asyncio.to_thread(self._library.consult, call)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": consulted.text})
            for passage in consulted.passages:
                self._passages.setdefault(passage.excerpt.id, passage)
        self._body["messages"] = [*self._body["messages"], *messages]
        tools = tuple(tool for tool in self._offer.tools if not last or tool.name not in TOOLS)
        self._offer = msgspec.structs.replace(self._offer, tools=tools, demand=Demand.AUTO)
        return len(self._passages) > before

    def _begun(self) -> Citer | None:
        """A new round; what checks its words against the library, where something was looked up."""
        self._calls = ()
        if not self._passages or self._answer is not None:  # marks would break an answer that is JSON
            return None
        return Citer([passage_text(passage) for passage in self._passages.values()])


def _said(events: Iterable[Token | Citation]) -> Iterator[Said | Citation]:
    return (Said(event.text) if isinstance(event, Token) else event for event in events)
