"""Engine: one loaded model, spoken to over the OpenAI wire format.

Knows a socket and a key, not the process behind them and not what is
asked. A body goes through as it came; what comes back in a stream is passed
on as raw JSON, undecoded, for each token costs the same two cores that write
the next one.

Its hard rule: a stream that is no longer read is closed at once, which is how
the engine learns that its slot is free. Close it (`contextlib.aclosing`), do
not just drop it.
"""

import math
import secrets
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import httpx
import msgspec
from msgspec import Meta

from library.errors import AlmanacError, InvalidRequest, ModelFailed, ModelUnavailable
from llm.engines.gathered import Gathered
from llm.engines.refusals import SCORES, TEXT, VECTORS, fault_of, refuse, sentence
from llm.engines.spoken import Hearing, Spoken
from llm.engines.transport import SocketTransport

_MAX_EVENT_BYTES = 16 * 2**20
_HEADERS = {"accept-encoding": "identity", "content-type": "application/json"}
# For engines that do not count: text in few languages has fewer bytes a token, and a template adds some.
_GUESSED_BYTES_A_TOKEN, _GUESSED_TOKENS_A_MESSAGE = 2.5, 12

T = TypeVar("T")

_CHAT, _TOKENS = "/v1/chat/completions", "/tokenize"
_DONE = b"[DONE]"
_ERRED = b'{"error"'


class _Counted(msgspec.Struct):
    input_tokens: int


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Usage(msgspec.Struct):
    prompt_tokens: int


class _Vector(msgspec.Struct):
    embedding: list[float]


class _Vectors(msgspec.Struct):
    data: Annotated[list[_Vector], Meta(min_length=1, max_length=1)]
    usage: _Usage


class _Score(msgspec.Struct):
    relevance_score: float


class _Scores(msgspec.Struct):
    results: Annotated[list[_Score], Meta(min_length=1, max_length=1)]
    usage: _Usage


class Engine:
    """The client of one engine. Every error it raises is one of `library.errors`."""

    def __init__(
        self,
        model_id: str,
        context_tokens: int,
        client: httpx.AsyncClient,
        *,
        named: str | None = None,
        on_spoken: Callable[[Spoken], None] = lambda _: None,
    ) -> None:
        """`context_tokens` is what one request may use, prompt and answer together.

        `named` is what a server that keeps several models calls this one. `on_spoken`
        is told of each answer when it ends, however it ends.
        """
        self.model_id = model_id
        self.context_tokens = context_tokens
        self.generation = secrets.token_hex(8)  # of this start; another may write otherwise
        self._client, self._named, self._on_spoken = client, named, on_spoken
        self._counts_tokens = True
        self._frame: tuple[list[int], list[int]] | None = None
        self._closed = False

    @classmethod
    def on_socket(
        cls,
        model_id: str,
        context_tokens: int,
        *,
        socket: Path,
        key: str,
        silence_s: float = 600,
        on_spoken: Callable[[Spoken], None] = lambda _: None,
    ) -> Self:
        """The engine of a model worker.

        `silence_s` is how long the engine may say nothing before it counts as
        hung: it reads the whole prompt before its first word.
        """
        client = httpx.AsyncClient(
            transport=SocketTransport(socket),
            base_url="http://engine",
            headers=_HEADERS | {"authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(5, read=silence_s),
        )
        return cls(model_id, context_tokens, client, on_spoken=on_spoken)

    @classmethod
    def remote(
        cls,
        url: str,
        model_id: str,
        context_tokens: int,
        *,
        model: str,
        key: str = "",
        ca_file: str = "",
        silence_s: float = 600,
        on_spoken: Callable[[Spoken], None] = lambda _: None,
    ) -> Self:
        """An engine by URL, with or without `/v1` at its end. Raises OSError for a wrong certificate file.

        Neither a proxy nor a redirection is followed: nobody is asked but this host.
        """
        client = httpx.AsyncClient(
            base_url=url.rstrip("/").removesuffix("/v1"),
            headers=_HEADERS | ({"authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(5, read=silence_s),
            verify=ssl.create_default_context(cafile=ca_file or None) if url.startswith("https") else False,
            trust_env=False,
            follow_redirects=False,
        )
        return cls(model_id, context_tokens, client, named=model, on_spoken=on_spoken)

    async def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """One whole completion, as OpenAI's `chat.completion` object.

        Cancelling frees the slot. Raises InvalidRequest for what the engine
        will not take, ModelUnavailable and ModelFailed.
        """
        return await self._whole(_CHAT, body)

    async def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The same of a bare prompt, without the chat template: OpenAI's `text_completion`."""
        return await self._whole(TEXT, body)

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """A completion's chunks in order, each as the JSON the engine wrote. Raises as `batches` does."""
        async with aclosing(self.batches(body)) as batches:
            async for batch in batches:
                for payload in batch:
                    yield payload

    def batches(self, body: dict[str, Any]) -> AsyncGenerator[list[bytes], None]:
        """The same chunks, those that arrived together in one list, for whoever passes them on as they are.

        What happened before the first chunk (InvalidRequest, ModelUnavailable)
        is raised with the first `anext`; ModelFailed at any time.
        """
        return self._batches(_CHAT, body)

    def text_batches(self, body: dict[str, Any]) -> AsyncGenerator[list[bytes], None]:
        """The chunks of a bare prompt's completion; all else as `batches`."""
        return self._batches(TEXT, body)

    async def _batches(self, path: str, body: dict[str, Any]) -> AsyncGenerator[list[bytes], None]:
        with Hearing(self.model_id, self._on_spoken) as hearing:
            async with aclosing(self._streamed(path, body)) as batches:
                async for batch in batches:
                    hearing.heard(batch[-1])
                    yield batch

    async def _streamed(self, path: str, body: dict[str, Any]) -> AsyncGenerator[list[bytes], None]:
        async with (
            self._speaking(),
            self._client.stream("POST", path, content=self._encoded(body | {"stream": True})) as response,
        ):
            if response.status_code != 200:
                await response.aread()
                refuse(response.status_code, response.content, path)
            events = _Events()
            async for piece in response.aiter_raw():
                batch: list[bytes] = []
                ended, fault = False, b""
                for payload in events.fed(piece):
                    ended = payload == _DONE
                    fault = payload if payload.startswith(_ERRED) else b""
                    if ended or fault:
                        break
                    batch.append(payload)
                if batch:
                    yield batch
                if fault:
                    raise ModelFailed(sentence(fault_of(fault).message))
                if ended:
                    return
        raise ModelFailed(_STOPPED)

    async def embed(self, text: str | list[int]) -> tuple[list[float], int]:
        """The vector of one text, of length 1, and how many tokens it was; of one who makes vectors.

        Token ids get what the model puts around every text, as a text does.
        Raises InvalidRequest as `input`, ModelUnavailable and ModelFailed.
        """
        if not isinstance(text, str):
            before, after = await self._around()
            text = [*before, *text, *after]
        made = _decoded(await self._post(VECTORS, {"input": text}), _Vectors)
        return made.data[0].embedding, made.usage.prompt_tokens

    async def judge(self, query: str, document: str) -> tuple[float, int]:
        """How well a document answers a query, as the model's own number, and how many tokens the two were.

        Of one who judges. Raises InvalidRequest as `documents`, and otherwise as `embed`.
        """
        made = _decoded(await self._post(SCORES, {"query": query, "documents": [document]}), _Scores)
        return made.results[0].relevance_score, made.usage.prompt_tokens

    async def _around(self) -> tuple[list[int], list[int]]:
        """What the model has before and after every text, asked once."""
        if self._frame is None:
            bare, framed = [
                _decoded(await self._post(_TOKENS, {"content": "a", "add_special": added}), _Tokens).tokens
                for added in (False, True)
            ]
            starts = [at for at in range(len(framed)) if framed[at : at + len(bare)] == bare]
            at = starts[0] if starts else 0
            self._frame = (framed[:at], framed[at + len(bare) :]) if starts else ([], [])
        return self._frame

    async def count_tokens(self, messages: list[dict[str, Any]]) -> int:
        """Tokens of a conversation in the model's own chat template, the answer's opening included.

        A remote engine that cannot say is guessed for, and rather too high.
        """
        if self._counts_tokens:
            try:
                answer = await self._post(f"{_CHAT}/input_tokens", {"messages": messages})
                return _decoded(answer, _Counted).input_tokens
            except (InvalidRequest, ModelFailed):
                if self._named is None:
                    raise
                self._counts_tokens = False
        return sum(_guessed_tokens(str(message.get("content") or "")) for message in messages)

    async def trouble(self, *, within_s: float = 5) -> str | None:
        """What is wrong with a remote engine, as the end of a sentence; None if it can be asked."""
        try:
            async with self._speaking():
                response = await self._client.get("/v1/models", timeout=within_s)
        except AlmanacError:
            return "does not answer."
        match response.status_code:
            case 200:
                return None
            case 401 | 403:
                return "refuses the key."
            case status:
                return f"answers with status {status}."

    async def healthy(self, *, within_s: float = 3) -> bool:
        """Whether the engine answers at all; never raises."""
        try:
            async with self._speaking():
                return (await self._client.get("/health", timeout=within_s)).status_code == 200
        except AlmanacError:
            return False

    async def aclose(self) -> None:
        """Close every connection; streams still open raise ModelFailed."""
        self._closed = True
        await self._client.aclose()

    async def _whole(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with Hearing(self.model_id, self._on_spoken) as hearing:
            gathered = Gathered()
            usage = {"stream_options": {"include_usage": True}}
            async with aclosing(self._streamed(path, body | usage)) as batches:
                async for batch in batches:
                    for payload in batch:
                        gathered.add(payload)
            answer = gathered.whole()
            hearing.whole(msgspec.json.encode(answer))
            return answer

    async def _post(self, path: str, body: dict[str, Any]) -> bytes:
        async with self._speaking():
            response = await self._client.post(path, content=self._encoded(body))
        if response.status_code != 200:
            refuse(response.status_code, response.content, path)
        return response.content

    def _encoded(self, body: dict[str, Any]) -> bytes:
        return _encoded(body if self._named is None else body | {"model": self._named})

    @asynccontextmanager
    async def _speaking(self) -> AsyncGenerator[None, None]:
        """The one place where the vendor's errors become ours."""
        if self._closed:
            raise ModelUnavailable(_GONE)
        try:
            yield
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise translated(error) from error


class _Events:
    """Server-sent events out of bytes that are cut anywhere.

    Only their data: comments, the engine's sign that it is alive, are left out.
    """

    def __init__(self) -> None:
        self._tail = b""

    def fed(self, piece: bytes) -> list[bytes]:
        """The data of each event that `piece` completes, in order."""
        # JSON holds no bare carriage return, so every one belongs to a line's end.
        *events, self._tail = (self._tail + piece).replace(b"\r", b"").split(b"\n\n")
        if len(self._tail) > _MAX_EVENT_BYTES:
            raise ModelFailed("The model's engine sent what is no stream of events. Restart it.")
        return [event[5:].lstrip() for event in events if event.startswith(b"data:")]


_STOPPED = "The model stopped while it was answering. Ask again in a moment."
_GONE = "The model is not running at the moment. Ask again in a moment."


def translated(error: Exception) -> AlmanacError:
    """What a transport error means here, most specific first."""
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            return ModelUnavailable(_GONE)
        case httpx.ReadTimeout() | httpx.WriteTimeout():
            return ModelFailed(
                "The model has said nothing for too long. Ask for less at once, or restart it."
            )
        case httpx.UnsupportedProtocol() | httpx.InvalidURL() | httpx.ProxyError():
            return ModelUnavailable(f"The model's address cannot be used: {error}.")
        case _:  # ReadError, WriteError, CloseError, RemoteProtocolError, ...: broken in the middle
            return ModelFailed(_STOPPED)


def _guessed_tokens(text: str) -> int:
    return math.ceil(len(text.encode(errors="replace")) / _GUESSED_BYTES_A_TOKEN) + _GUESSED_TOKENS_A_MESSAGE


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest("request", f"cannot be written as JSON: {error}.") from error


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise ModelFailed("The model's engine gave an answer that is not JSON of the agreed form.") from error
