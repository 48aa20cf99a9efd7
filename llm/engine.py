"""Engine: one loaded model, spoken to over the OpenAI wire format.

Knows a socket and a key, not the process behind them and not what is
asked. A body goes through as it came; what comes back in a stream is passed
on as raw JSON, undecoded, for each token costs the same two cores that write
the next one.

Its hard rule: a stream that is no longer read is closed at once, which is how
the engine learns that its slot is free. Close it (`contextlib.aclosing`), do
not just drop it.
"""

import asyncio
import re
import select
import socket as sockets
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import h11
import httpx
import msgspec

from library.errors import AlmanacError, InvalidRequest, ModelFailed, ModelUnavailable

# After each read of a socket, what arrives within this time is read together. At
# 120 tok/s that divides by five how often this process is woken, and each time it is
# one of the engine's threads waits for a core; at 20 tok/s it changes nothing.
# Words that come 25 times a second are still seen as a flow.
PACE_S = 0.04
_READ_BYTES = 2**16
_MAX_EVENT_BYTES = 16 * 2**20

T = TypeVar("T")

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
        *,
        socket: Path,
        key: str,
        silence_s: float = 600,
    ) -> None:
        """`context_tokens` is what one request may use, prompt and answer together.

        `silence_s` is how long the engine may say nothing before it counts as
        hung: it reads the whole prompt before its first word.
        """
        self.model_id = model_id
        self.context_tokens = context_tokens
        self._closed = False
        self._client = httpx.AsyncClient(
            transport=_SocketTransport(socket),
            base_url="http://engine",
            headers={
                "authorization": f"Bearer {key}",
                "accept-encoding": "identity",
                "content-type": "application/json",
            },
            timeout=httpx.Timeout(5, read=silence_s),
        )

    async def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """One whole completion, as OpenAI's `chat.completion` object.

        Cancelling frees the slot. Raises InvalidRequest for what the engine
        will not take, ModelUnavailable and ModelFailed.
        """
        answer = await self._post("/v1/chat/completions", body | {"stream": False})
        return _decoded(answer, dict[str, Any])

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """A completion's chunks in order, each as the JSON the engine wrote. Raises as `batches` does."""
        async with aclosing(self.batches(body)) as batches:
            async for batch in batches:
                for payload in batch:
                    yield payload

    async def batches(self, body: dict[str, Any]) -> AsyncGenerator[list[bytes], None]:
        """The same chunks, those that arrived together in one list, for whoever passes them on as they are.

        What happened before the first chunk (InvalidRequest, ModelUnavailable)
        is raised with the first `anext`; ModelFailed at any time.
        """
        async with (
            self._speaking(),
            self._client.stream(
                "POST", "/v1/chat/completions", content=_encoded(body | {"stream": True})
            ) as response,
        ):
            if response.status_code != 200:
                await response.aread()
                _refuse(response)
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
        """Tokens of a conversation in the model's own chat template, the answer's opening included."""
        answer = await self._post("/v1/chat/completions/input_tokens", {"messages": messages})
        return _decoded(answer, _Counted).input_tokens

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

    async def _post(self, path: str, body: dict[str, Any]) -> bytes:
        async with self._speaking():
            response = await self._client.post(path, content=_encoded(body))
        if response.status_code != 200:
            _refuse(response)
        return response.content

    @asynccontextmanager
    async def _speaking(self) -> AsyncGenerator[None, None]:
        """The one place where the vendor's errors become ours."""
        if self._closed:
            raise ModelUnavailable(_GONE)
        try:
            yield
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise translated(error) from error


class _SocketTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over a Unix socket for httpx, in few steps: a connection for each request.

    httpx's own transport takes 250 to 300 us of processor time for each token,
    which on 2 cores is 3 to 5 in 100 tokens that the engine does not write. And
    llama.cpp's server promises keep-alive, then closes a connection that has
    carried a stream: the request after it would fail.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._open: set[_Exchange] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _Exchange(self._open, request.extensions["timeout"])
        try:
            await exchange.connect(self._path)
            await exchange.send(request, await request.aread())
            head = await exchange.head()
        except BaseException:
            await exchange.aclose()
            raise
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=exchange)

    async def aclose(self) -> None:
        for exchange in self._open:
            exchange.break_off()


class _Exchange(httpx.AsyncByteStream):
    """One request and its answer, whose body it is: the engine's pieces, as many as have arrived at a time."""

    def __init__(self, among: set["_Exchange"], timeouts_s: dict[str, float | None]) -> None:
        self._socket = sockets.socket(sockets.AF_UNIX)
        self._socket.setblocking(False)
        self._closing: select.epoll | None = None
        self._hung_up = asyncio.Event()
        self._http = h11.Connection(h11.CLIENT)
        self._timeouts_s = timeouts_s
        self._among = among
        among.add(self)

    async def connect(self, path: str) -> None:
        try:
            async with asyncio.timeout(self._timeouts_s["connect"]):
                while True:
                    try:
                        self._socket.connect(path)
                        return self._watch()
                    except BlockingIOError:  # of a Unix socket: too many are waiting to be accepted
                        await asyncio.sleep(PACE_S)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("not accepted in time") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error

    async def send(self, request: httpx.Request, body: bytes) -> None:
        headers = [*request.headers.raw, (b"connection", b"close")]
        events = (
            h11.Request(method=request.method, target=request.url.raw_path, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        wire = b"".join(self._http.send(event) or b"" for event in events)
        try:
            async with asyncio.timeout(self._timeouts_s["write"]):
                await asyncio.get_running_loop().sock_sendall(self._socket, wire)
        except TimeoutError as error:
            raise httpx.WriteTimeout("not taken in time") from error
        except OSError as error:
            raise httpx.WriteError(str(error)) from error

    async def head(self) -> h11.Response:
        while True:
            event = self._next_event()
            if isinstance(event, h11.Response):
                return event
            if event is h11.NEED_DATA:
                await self._receive()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            pieces = []
            while isinstance(event := self._next_event(), h11.Data):
                pieces.append(bytes(event.data))
            if pieces:
                yield b"".join(pieces)
            if event is not h11.NEED_DATA:
                return
            if pieces:
                await self._pause()
            await self._receive()

    async def aclose(self) -> None:
        self._among.discard(self)
        self._watch_no_more()
        self._socket.close()

    def break_off(self) -> None:
        """Wake whoever reads: a socket that was just closed would leave them waiting."""
        with suppress(OSError):
            self._socket.shutdown(sockets.SHUT_RDWR)

    async def _pause(self) -> None:
        """Let `PACE_S` pass, or less: an answer's end is not waited for, and neither is the engine's."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PACE_S):
                await self._hung_up.wait()

    def _watch(self) -> None:
        """Notice when the other side closes, without being woken by what it says before.

        That takes a second epoll, for the event loop's knows only "readable".
        """
        if sys.platform == "linux":
            self._closing = select.epoll()
            self._closing.register(self._socket, select.EPOLLRDHUP)
            asyncio.get_running_loop().add_reader(self._closing.fileno(), self._notice)

    def _notice(self) -> None:
        self._watch_no_more()
        self._hung_up.set()

    def _watch_no_more(self) -> None:
        if self._closing is not None:
            asyncio.get_running_loop().remove_reader(self._closing.fileno())
            self._closing.close()
            self._closing = None

    def _next_event(self) -> Any:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error

    async def _receive(self) -> None:
        try:
            async with asyncio.timeout(self._timeouts_s["read"]):
                self._http.receive_data(await asyncio.get_running_loop().sock_recv(self._socket, _READ_BYTES))
        except TimeoutError as error:
            raise httpx.ReadTimeout("nothing said in time") from error
        except OSError as error:
            raise httpx.ReadError(str(error)) from error


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


def _refuse(response: httpx.Response) -> NoReturn:
    """An answer other than 200, as an error of ours."""
    fault = _fault(response.content)
    if fault.type == "exceed_context_size_error":
        raise InvalidRequest(
            "messages",
            f"hold {fault.n_prompt_tokens} tokens and the model's context {fault.n_ctx}. "
            "Shorten them, or raise `llm.context_tokens`.",
        )
    match response.status_code:
        case 400 | 413 | 422:
            # "Field 'temperature': type must be number", "'messages' is required"
            named = re.search(r"'(\w{1,40})'", fault.message)
            raise InvalidRequest(
                named.group(1) if named else "request", f"was refused by the model's engine: {fault.message}"
            )
        case 401 | 403:
            raise ModelUnavailable("The model's engine refused the key. Restart it.")
        case 503:
            raise ModelUnavailable("The model is still being loaded. Ask again in a moment.")
        case status:
            raise ModelFailed(_sentence(f"{fault.message} (status {status})"))


def _fault(body: bytes) -> _Fault:
    try:
        return msgspec.json.decode(body, type=_Refusal).error
    except msgspec.MsgspecError:
        return _Fault()


def _sentence(reason: str) -> str:
    return f"The model's engine failed: {reason}. Ask again."


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
