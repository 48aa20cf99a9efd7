"""The wire of the ctransformers worker: OpenAI's format over ASGI, as `llm.engines.engine` speaks it.

Knows requests, a template, a vocabulary and a writer, and nothing of the engine
behind it. One answer is written at a time; who comes meanwhile waits in the
order of coming, and templates and tokens are another thread's work.

Its hard rule: whoever leaves is not written for. A closed connection stops the
answer at the next token, or gives up its place in the line.
"""

import asyncio
import hmac
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import Any

import msgspec

from llm.engines.ctransformers.requests import (
    ChatRequest,
    CountRequest,
    Refusal,
    Sampling,
    TextRequest,
    asked,
    conversation,
)
from llm.engines.ctransformers.writer import Ended, Writer
from llm.model_files.chat_template import ChatTemplate, TemplateRefused
from llm.model_files.vocabulary import Vocabulary

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES = 64 * 2**20
_STREAM = (b"content-type", b"text/event-stream")
_JSON = (b"content-type", b"application/json")


class Wire:
    """An ASGI application."""

    def __init__(
        self, writer: Writer, vocabulary: Vocabulary, template: ChatTemplate, *, model_id: str, key: str
    ) -> None:
        self._writer, self._vocabulary, self._template = writer, vocabulary, template
        self._model_id, self._key = model_id, f"Bearer {key}".encode()
        self._reading = ThreadPoolExecutor(1, "reading")
        self._writing = ThreadPoolExecutor(1, "writing")
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            await self._serve(scope, receive, send)
        except Refusal as refusal:
            await _answer(send, refusal.status, refusal.body)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if not hmac.compare_digest(given, self._key):
            raise Refusal(401, "Invalid API Key", "authentication_error")
        match scope["method"], scope["path"]:
            case "GET", "/health":
                await _answer(send, 200, {"status": "ok"})
            case "POST", "/v1/chat/completions":
                chat = asked(await _body(receive), ChatRequest)
                prompt = await self._in(self._reading, self._prompt, chat.messages, chat.chat_template_kwargs)
                await self._complete(_Chat(self._model_id), prompt, chat, receive, send)
            case "POST", "/v1/chat/completions/input_tokens":
                count = asked(await _body(receive), CountRequest)
                prompt = await self._in(
                    self._reading, self._prompt, count.messages, count.chat_template_kwargs
                )
                await _answer(send, 200, {"object": "response.input_tokens", "input_tokens": len(prompt)})
            case "POST", "/v1/completions":
                text = asked(await _body(receive), TextRequest)
                prompt = await self._in(self._reading, self._tokens, text.prompt)
                await self._complete(_Text(self._model_id), prompt, text, receive, send)
            case _:
                raise Refusal(404, "File Not Found", "not_found_error")

    def _prompt(self, messages: list[dict[str, Any]], more: dict[str, Any]) -> list[int]:
        try:
            return self._vocabulary.tokens(self._template.text(conversation(messages), more))
        except TemplateRefused as error:
            raise Refusal(400, f"Field 'messages': {error}") from error

    def _tokens(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            return self._vocabulary.tokens(prompt)
        if max(prompt, default=0) >= self._vocabulary.size:
            raise Refusal(400, f"Field 'prompt': the model has {self._vocabulary.size} tokens")
        return prompt

    async def _complete(
        self, shape: "_Shape", prompt: list[int], given: Sampling, receive: Receive, send: Send
    ) -> None:
        """Write an answer for as long as somebody listens."""
        room = self._writer.context_tokens
        if not prompt:
            raise Refusal(400, "Field 'prompt': holds no token")
        if len(prompt) >= room:
            counts = {"n_prompt_tokens": len(prompt), "n_ctx": room}
            said = f"the request exceeds the available context size ({len(prompt)} of {room} tokens)"
            raise Refusal(400, said, "exceed_context_size_error", **counts)
        send_all = self._stream if given.stream else self._whole
        answering = asyncio.create_task(send_all(shape, prompt, given, send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not answering.done():
                answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering

    async def _whole(self, shape: "_Shape", prompt: list[int], given: Sampling, send: Send) -> None:
        said: list[str] = []
        async with aclosing(self._written(prompt, given)) as events:
            async for event in events:
                if isinstance(event, Ended):
                    await _answer(send, 200, shape.whole("".join(said), event))
                else:
                    said.append(event)

    async def _stream(self, shape: "_Shape", prompt: list[int], given: Sampling, send: Send) -> None:
        started = False

        async def say(*payloads: dict[str, Any] | bytes) -> None:
            nonlocal started
            if not started:  # only now: what fails before has a status of its own
                started = True
                await send({"type": "http.response.start", "status": 200, "headers": [_STREAM]})
                payloads = (*shape.opening(), *payloads)
            lines = b"".join(
                b"data: %b\n\n" % (one if isinstance(one, bytes) else _encoded(one)) for one in payloads
            )
            await send({"type": "http.response.body", "body": lines, "more_body": True})

        try:
            async with aclosing(self._written(prompt, given)) as events:
                async for event in events:
                    if isinstance(event, Ended):
                        usage = [shape.usage(event)] if given.stream_options.include_usage else []
                        await say(shape.closing(event), *usage, b"[DONE]")
                    else:
                        await say(shape.piece(event))
        except Refusal as refusal:
            if not started:
                raise
            await say(refusal.body)
        await send({"type": "http.response.body", "body": b""})

    async def _written(self, prompt: list[int], given: Sampling) -> AsyncGenerator[str | Ended, None]:
        """The writer's events, from its thread, in turn. However this is left, the writer is free afterwards."""
        loop, gone = asyncio.get_running_loop(), threading.Event()
        events = asyncio.Queue[str | Ended | Refusal | None]()

        def work() -> None:
            last: Refusal | None = None
            try:
                for event in self._writer.write(prompt, given, gone.is_set):
                    loop.call_soon_threadsafe(events.put_nowait, event)
            except Exception as error:  # noqa: BLE001 - the engine's; said to whoever asked
                last = Refusal(500, str(error) or type(error).__name__, "server_error")
            loop.call_soon_threadsafe(events.put_nowait, last)

        async with self._turn:
            writing = loop.run_in_executor(self._writing, work)
            try:
                while (event := await events.get()) is not None:
                    if isinstance(event, Refusal):
                        raise event
                    yield event
            finally:
                gone.set()
                await asyncio.wait({writing})

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[..., list[int]], *given: Any) -> list[int]:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *given)


class _Shape:
    """The parts of an answer in one endpoint's form."""

    kind = chunk_kind = prefix = ""

    def __init__(self, model_id: str) -> None:
        self._head = {
            "id": f"{self.prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model_id,
        }

    def opening(self) -> list[dict[str, Any]]:
        return []

    def piece(self, text: str) -> dict[str, Any]:
        return self._chunk(self.said(text))

    def closing(self, ended: Ended) -> dict[str, Any]:
        return self._chunk(self.said(""), ended.reason) | {"timings": _timings(ended)}

    def usage(self, ended: Ended) -> dict[str, Any]:
        head = self._head | {"object": self.chunk_kind, "choices": []}
        return head | {"usage": _usage(ended), "timings": _timings(ended)}

    def whole(self, text: str, ended: Ended) -> dict[str, Any]:
        choice = {"index": 0, "finish_reason": ended.reason} | self.spoken(text)
        figures = {"usage": _usage(ended), "timings": _timings(ended)}
        return self._head | {"object": self.kind, "choices": [choice]} | figures

    def said(self, text: str) -> dict[str, Any]:
        raise NotImplementedError

    def spoken(self, text: str) -> dict[str, Any]:
        raise NotImplementedError

    def _chunk(self, said: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "finish_reason": finish_reason} | said
        return self._head | {"object": self.chunk_kind, "choices": [choice]}


class _Chat(_Shape):
    kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def opening(self) -> list[dict[str, Any]]:
        return [self._chunk({"delta": {"role": "assistant", "content": None}})]

    def said(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text} if text else {}}

    def spoken(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}


class _Text(_Shape):
    kind, chunk_kind, prefix = "text_completion", "text_completion", "cmpl"

    def said(self, text: str) -> dict[str, Any]:
        return {"text": text, "logprobs": None}

    spoken = said


def _usage(ended: Ended) -> dict[str, Any]:
    return {
        "prompt_tokens": ended.prompt_tokens,
        "completion_tokens": ended.completion_tokens,
        "total_tokens": ended.prompt_tokens + ended.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": ended.cached_tokens},
    }


def _timings(ended: Ended) -> dict[str, Any]:
    return {
        "cache_n": ended.cached_tokens,
        "prompt_n": ended.prompt_tokens - ended.cached_tokens,
        "prompt_ms": ended.reading_s * 1000,
        "predicted_n": ended.completion_tokens,
        "predicted_ms": ended.writing_s * 1000,
        "predicted_per_second": ended.completion_tokens / ended.writing_s if ended.writing_s else None,
    }


async def _body(receive: Receive) -> bytes:
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "The body was not sent to its end")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MAX_BODY_BYTES:
            raise Refusal(413, f"The body has more than {MAX_BODY_BYTES // 2**20} MiB")
        if not message.get("more_body"):
            return b"".join(pieces)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    encoded = _encoded(body)
    headers = [_JSON, (b"content-length", str(len(encoded)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": encoded})


def _encoded(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body)
