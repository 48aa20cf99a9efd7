"""The answerer: a question in, typed events out.

    retrieve ─► verdict ─► prompt within the budget ─► its turn ─► model ─► tokens, cited
                   │                └── no model: quotations
                   └── not in the library: said so, no model asked

Knows no HTTP and no file. Its hard rule: every stream ends with exactly one
Done or Failed; closing the stream early stops the model. Only writing waits for a
turn: what was found is told before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from library.errors import AlmanacError, ModelError, ModelUnavailable, Overloaded
from llm.answering.citations import Citer
from llm.answering.prompt import Message, library_prompt, passage_text
from llm.answering.quotation import quotations
from llm.answering.verdict import Verdict, verdict
from llm.events import AnswerEvent, AnswerKind, Done, Failed, PassagesFound, Token, Usage, Waiting
from llm.serving.models import Models
from llm.serving.queue import Reader
from llm.serving.served import ServedModel
from search.analysis import terms
from search.precedence import Precedence
from search.query import Query, plain_query
from search.retriever import Retriever
from search.values import Passage

if TYPE_CHECKING:
    from llm.engines.engine import Engine

log = logging.getLogger(__name__)

# Retrieved before exact duplicates (the same book in two formats) are dropped.
_RETRIEVED_PER_PASSAGE = 3
_NOT_FOUND = "The library does not seem to hold anything on this."
_NOT_CHOSEN = "The passages that were chosen do not seem to say anything on this."
_NO_ROOM = "The question leaves no room for a passage in the model's context; ask it more briefly."
_IN_ITS_OWN_WORDS = "\n\nThe library says:\n\n"


class Question(msgspec.Struct, frozen=True):
    text: str
    shelf: str | None = None
    query: Query | None = None  # what to search for; None for the words of `text`, none of them an operator
    passages: tuple[str, ...] = ()  # ids: answer from exactly these, and search for none
    history: tuple[Message, ...] = ()  # earlier turns, OpenAI's messages, oldest first
    max_tokens: int | None = None
    sampling: dict[str, object] = {}  # temperature, top_p, seed, stop: as OpenAI names them
    reader: Reader = Reader("")  # whose turn at the model it takes


class _Prompted(msgspec.Struct, frozen=True):
    messages: list[Message]
    used: int  # of the passages, from the first on
    answer_tokens: int


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class StreamChunk(msgspec.Struct):
    """As much of an engine's stream chunk as an answer needs."""

    choices: list[_Choice] = []
    usage: Usage | None = None


class Answerer:
    def __init__(
        self,
        retriever: Retriever,
        models: Models,
        precedence: Precedence,
        *,
        passages: int,
        max_answer_tokens: int,
    ) -> None:
        self._retriever, self._models, self._precedence = retriever, models, precedence
        self._passages, self._max_answer_tokens = passages, max_answer_tokens

    async def answer(self, question: Question) -> AsyncGenerator[AnswerEvent, None]:
        """Stream the answer. Errors come as a Failed event, never as an exception."""
        try:
            passages, degraded = await asyncio.to_thread(self._passages_for, question)
            if verdict(question.text, passages) is Verdict.NOT_FOUND:
                yield PassagesFound((), degraded)
                yield Token(_NOT_CHOSEN if question.passages else _NOT_FOUND)
                yield Done(AnswerKind.NOT_FOUND, None, "stop", Usage(), ())
                return
            with self._precedence.foreground():
                async with aclosing(self._written_or_quoted(question, passages, degraded)) as events:
                    async for event in events:
                        yield event
        except AlmanacError as error:
            retry_after_s = error.retry_after_s if isinstance(error, Overloaded) else None
            yield Failed(error.code, told(error, self._models), retry_after_s)

    def _passages_for(self, question: Question) -> tuple[tuple[Passage, ...], tuple[str, ...]]:
        """What the answer may draw on, best first, and a sentence for each side that could not be asked."""
        if question.passages:
            return self._retriever.passages(question.passages, question.text, measured=True), ()
        limit = self._passages * _RETRIEVED_PER_PASSAGE
        found = self._retriever.search(
            question.query or plain_query(question.text, question.shelf), limit=limit, join=False, rerank=True
        )
        return _distinct(found.passages)[: self._passages], found.degraded

    async def _written_or_quoted(
        self, question: Question, passages: tuple[Passage, ...], degraded: tuple[str, ...]
    ) -> AsyncGenerator[AnswerEvent, None]:
        model = self._models.default
        try:
            if not model.to_be_awaited:
                model.engine()
        except ModelUnavailable as error:
            async for event in self._quoted(question, passages, degraded, str(error)):
                yield event
            return
        said = False
        try:
            async with aclosing(self._in_its_turn(model, question, passages, degraded)) as events:
                async for event in events:
                    said = said or not isinstance(event, Waiting)
                    yield event
        except ModelUnavailable as error:  # it may not be loaded, or could not be
            if said or self._models.stopping:
                raise
            async for event in self._quoted(question, passages, degraded, str(error)):
                yield event

    async def _in_its_turn(
        self, model: ServedModel, question: Question, passages: tuple[Passage, ...], degraded: tuple[str, ...]
    ) -> AsyncGenerator[AnswerEvent, None]:
        """What was found is told before the wait, unless the model that counts its tokens is not there yet."""
        prompted = None if model.to_be_awaited else await self._prompted(model.engine(), question, passages)
        if prompted is not None and not prompted.used:
            async for event in self._quoted(question, passages, degraded, _NO_ROOM):
                yield event
            return
        with model.place(question.reader) as place:
            if prompted is not None:
                yield PassagesFound(passages[: prompted.used], degraded)
            async for position in place.positions():
                yield Waiting(position, loading=bool(position) and model.being_loaded)
            engine = await model.engine_back()
            if prompted is None:
                prompted = await self._prompted(engine, question, passages)
                if not prompted.used:
                    async for event in self._quoted(question, passages, degraded, _NO_ROOM):
                        yield event
                    return
                yield PassagesFound(passages[: prompted.used], degraded)
            written = self._written(engine, question, prompted, passages[: prompted.used], len(passages))
            async with aclosing(written) as events:
                async for event in events:
                    yield event

    async def _prompted(self, engine: Engine, question: Question, passages: tuple[Passage, ...]) -> _Prompted:
        answer_tokens = min(question.max_tokens or self._max_answer_tokens, engine.context_tokens // 2)
        messages, used = await library_prompt(
            question.text,
            question.history,
            passages,
            budget_tokens=engine.context_tokens - answer_tokens,
            count_tokens=engine.count_tokens,
        )
        return _Prompted(messages, used, answer_tokens)

    async def _written(
        self,
        engine: Engine,
        question: Question,
        prompted: _Prompted,
        passages: tuple[Passage, ...],
        found: int,
    ) -> AsyncGenerator[AnswerEvent, None]:
        body: dict[str, object] = {
            "temperature": 0,
            **question.sampling,
            "messages": prompted.messages,
            "max_tokens": prompted.answer_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        citer = Citer([passage_text(passage) for passage in passages], question=question.text)
        decoder = msgspec.json.Decoder(StreamChunk)
        finish_reason, usage, tokens = "stop", Usage(), 0
        async with aclosing(engine.stream(body)) as payloads:
            async for payload in payloads:
                chunk = decoder.decode(payload)
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    finish_reason = choice.finish_reason or finish_reason
                    tokens += bool(choice.delta.content)
                    for event in citer.feed(choice.delta.content or ""):
                        yield event
                if citer.repeating:
                    break  # closing the stream stops the engine
        for event in citer.finish():
            yield event
        if citer.repeating:
            # An engine that was stopped tells no usage: its prompt is counted, and a chunk is a token.
            usage = Usage(await engine.count_tokens(prompted.messages), tokens)
        if citer.cited * 2 <= citer.sentences:
            # Half of it or more is the model's own; then the library speaks for itself.
            yield Token(_IN_ITS_OWN_WORDS)
            for event in quotations(question.text, passages, most=2):
                yield event
        left_out = found - len(passages) if question.passages else 0
        notices = _notices(citer, finish_reason, left_out)
        yield Done(AnswerKind.WRITTEN, engine.model_id, finish_reason, usage, notices)

    async def _quoted(
        self, question: Question, passages: tuple[Passage, ...], degraded: tuple[str, ...], reason: str
    ) -> AsyncGenerator[AnswerEvent, None]:
        yield PassagesFound(passages, degraded)
        for event in quotations(question.text, passages):
            yield event
        notice = f"Quoted from the library, not written by a model. {reason}"
        yield Done(AnswerKind.QUOTED, None, "stop", Usage(), (notice,))


def told(error: AlmanacError, models: Models) -> str:
    """The sentence for whoever waits for an answer that fails: a model that was stopped did not break."""
    if isinstance(error, ModelError) and models.stopping:
        return "Almanac is being stopped, and this answer with it. Ask again when it is back."
    return str(error)


def _distinct(passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """Without the passages whose words another, better one already says, in whatever punctuation."""
    said: dict[tuple[str, ...], Passage] = {}
    for passage in passages:
        said.setdefault(tuple(term.text for term in terms(passage.excerpt.text)), passage)
    return tuple(said.values())


def _notices(citer: Citer, finish_reason: str, left_out: int) -> tuple[str, ...]:
    notices = []
    if left_out:
        passages = "passage" if left_out == 1 else f"{left_out} passages"
        notices.append(f"The last {passages} of those chosen did not fit into the model's context.")
    unmatched = citer.sentences - citer.cited
    if unmatched:
        sentences = (
            "The sentence" if citer.sentences == 1 else f"{unmatched} of the {citer.sentences} sentences"
        )
        notices.append(
            f"{sentences} that the model wrote could not be matched to a passage; trust the library's words first."
        )
    if finish_reason == "length":
        notices.append("The answer was cut off at its length limit.")
    return tuple(notices)
