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
import re
import secrets
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import httpx
import msgspec

from library.errors import AlmanacError, InvalidRequest, ModelFailed, ModelUnavailable
from llm.engines.gathered import Gathered
from llm.engines.spoken import Hearing, Spoken
from llm.engines.transport import SocketTransport

_MAX_EVENT_BYTES = 16 * 2**20
_HEADERS = {"accept-encoding": "identity", "content-type": "application/json"}
# For engines that do not count: text in few languages has fewer bytes a token, and a template adds some.
_GUESSED_BYTES_A_TOKEN, _GUESSED_TOKENS_A_MESSAGE = 2.5, 12

T = TypeVar("T")

_CHAT, _TEXT = "/v1/chat/completions", "/v1/completions"
_DONE = b"[DONE]"
_ERRED = b'{"error"'


class _Fault(msgspec.Struct):
    message: str = "no reason given"
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Refusal(msgspec.Struct):
    """The engine's error body: {"error": {...}}."""

    error: _Fault


class _Counted(msgspec.Struct):
    input_tokens: int


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
        return await self._whole(_TEXT, body)

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
        return self._batches(_TEXT, body)

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
                _refuse(response, path)
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
                    raise ModelFailed(_sentence(_fault(fault).message))
                if ended:
                    return
        raise ModelFailed(_STOPPED)

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
            _refuse(response, path)
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


# What llama-server calls its own fault (500), and what its sentences are about.
_ASKERS_MISTAKES = ("Failed to parse messages", "Unknown reasoning format", "image input is not supported")
_NAMED_SO = {
    "JSON schema": "response_format",
    "parse grammar": "grammar",
    "Prompt contains invalid tokens": "prompt",
    "Failed to parse messages": "messages",
    "Unknown reasoning format": "reasoning_format",
    "image input is not supported": "messages",
    "Failed to load image": "messages",
}


def _refuse(response: httpx.Response, path: str) -> NoReturn:
    """An answer other than 200, as an error of ours."""
    fault = _fault(response.content)
    if fault.type == "exceed_context_size_error":
        raise InvalidRequest(
            "prompt" if path == _TEXT else "messages",
            f"hold {fault.n_prompt_tokens} tokens and the model's context {fault.n_ctx}. "
            "Shorten them, or raise `llm.context_tokens`.",
        )
    status = response.status_code
    match 400 if status == 500 and fault.message.startswith(_ASKERS_MISTAKES) else status:
        case 400 | 413 | 422:
            # "Field 'temperature': type must be number", "'messages' is required"
            named = re.search(r"'(\w{1,40})'", fault.message)
            # "JSON schema error at #: unrecognized type wizard"
            where = next((name for says, name in _NAMED_SO.items() if says in fault.message), "request")
            said = fault.message.rstrip(".")
            raise InvalidRequest(
                named.group(1) if named else where, f"was refused by the model's engine: {said}."
            )
        case 401 | 403:
            raise ModelUnavailable("The model's engine refused the key. Restart it.")
        case 503:
            raise ModelUnavailable("The model is still being loaded. Ask again in a moment.")
        case _:
            raise ModelFailed(_sentence(f"{fault.message} (status {status})"))


def _fault(body: bytes) -> _Fault:
    try:
        return msgspec.json.decode(body, type=_Refusal).error
    except msgspec.MsgspecError:
        return _Fault()


def _sentence(reason: str) -> str:
    return f"The model's engine failed: {reason}. Ask again."


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
