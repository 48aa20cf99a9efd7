"""The ctransformers worker's own parts: requests, stop words, the writer, and the wire where nobody listens."""

import asyncio
import json
import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.engines.ctransformers.requests import ChatRequest, Refusal, TextRequest, asked, conversation
from llm.engines.ctransformers.wire import MAX_BODY_BYTES, Wire
from llm.engines.ctransformers.writer import BATCH_TOKENS, Ended, Writer, _UntilStop
from llm.model_files.chat_template import ChatTemplate

WATER = {"messages": [{"role": "user", "content": "water"}]}
SOON_S = 5


def request(**more: Any) -> ChatRequest:
    return asked(msgspec.json.encode(WATER | more), ChatRequest)


# --- what may be asked ----------------------------------------------------------------------------


def test_what_asks_for_nothing_is_taken() -> None:
    taken = request(
        n=1,
        logprobs=False,
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        seed=None,
        logit_bias={},
    )
    assert (taken.seed, taken.stops, taken.most_tokens) == (-1, (), None)
    assert request(stop="x").stops == ("x",)
    assert request(stop=["", "x"]).stops == ("x",)
    assert request(max_tokens=7, max_completion_tokens=5).most_tokens == 5
    assert request(max_tokens=-1).most_tokens is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("response_format", {"type": "json_object"}),
        ("logprobs", True),
        ("n", 2),
        ("presence_penalty", 0.5),
        ("logit_bias", {"5": 1}),
        ("grammar", "root ::= x"),
        ("wibble", 1),
        ("temperature", -1),
        ("temperature", "hot"),
        ("top_p", 1.5),
        ("top_k", -1),
        ("repeat_penalty", 0),
        ("max_tokens", 1.5),
        ("seed", "x"),
        ("stop", 7),
        ("stop", ["x"] * 99),
        ("stop", ["x", 7]),
        ("stream_options", []),
        ("messages", "water"),
        ("messages", [7]),
    ],
)
def test_what_cannot_be_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(Refusal, match=f"'{name}'") as caught:
        request(**{name: value})
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b"{", b'{"a":NaN}', b"\xff", b'{"messages":"\xed\xa0\x80"}', b"[" * 9999]
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal):
        asked(body, ChatRequest)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(Refusal, match="'prompt'"):
        asked(b"{}", TextRequest)
    with pytest.raises(Refusal, match="'messages'"):
        asked(b'{"messages":null}', ChatRequest)


def test_a_message_is_text_however_it_is_put() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    given_ = [{"role": "developer", "content": parts}, {"role": "user", "content": None, "name": "x"}]
    assert conversation(given_) == [
        {"role": "system", "content": "a\nb"},
        {"role": "user", "content": "", "name": "x"},
    ]
    for wrong in (
        [],
        [{}],
        [{"role": 7}],
        [{"role": "user", "content": 7}],
        [{"role": "user", "content": [{"type": "image_url"}]}],
    ):
        with pytest.raises(Refusal, match="'messages'"):
            conversation(wrong)


# --- stop words -----------------------------------------------------------------------------------


@given(st.lists(st.text("abc", max_size=4)), st.text("abc", min_size=1, max_size=4))
def test_a_text_ends_before_its_stop_word_however_it_comes(pieces: list[str], stop: str) -> None:
    spoken, said, text = _UntilStop((stop,)), "", "".join(pieces)
    for piece in pieces:
        said += spoken.add(piece)
        assert text.startswith(said)
        if spoken.stopped:
            break
    said += spoken.rest("")
    assert said == text.partition(stop)[0]
    assert spoken.stopped == (stop in text)


@given(st.lists(st.text("abc", max_size=4)), st.lists(st.text("abc", min_size=1, max_size=4), max_size=4))
def test_no_stop_word_is_ever_said(pieces: list[str], stops: list[str]) -> None:
    spoken, said = _UntilStop(tuple(stops)), ""
    for piece in pieces:
        said += spoken.add(piece)
        if spoken.stopped:
            break
    said += spoken.rest("")
    assert not any(stop in said for stop in stops)
    assert "".join(pieces).startswith(said)
    if not stops:
        assert said == "".join(pieces)


# --- the writer, on a model that says what it is told ------------------------------------------------


class Letters:
    """A vocabulary of bytes: token n is byte n. 256 ends an answer."""

    size, ends = 257, frozenset({256})

    def tokens(self, text: str) -> list[int]:
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b""


class Parrot:
    """Takes the place of `ctransformers.LLM`: says one text over and over, and remembers what it was given."""

    def __init__(self, text: bytes = b"water is wet. ", *, pace: threading.Semaphore | None = None) -> None:
        self._text, self._pace = text, pace
        self.context: list[int] = []
        self.sampled: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.broken = False

    def prepare_inputs_for_generation(self, tokens: list[int], *, reset: bool) -> list[int]:
        same = 0
        while same < min(len(tokens) - 1, len(self.context)) and tokens[same] == self.context[same]:
            same += 1
        self.context = self.context[:same]
        return tokens[same:]

    def eval(self, tokens: list[int], *, batch_size: int, threads: int) -> None:
        if self.broken:
            raise RuntimeError("Failed to evaluate tokens.")
        assert len(tokens) <= batch_size
        self.batches.append(len(tokens))
        self.context += tokens

    def sample(self, **sampling: Any) -> int:
        if self._pace:
            assert self._pace.acquire(timeout=SOON_S)
        self.sampled.append(sampling)
        return self._text[(len(self.sampled) - 1) % len(self._text)]


def written(
    model: Parrot, prompt: str = "water", *, context: int = 200, gone: Any = lambda: False, **more: Any
) -> tuple[str, Ended | None]:
    writer = Writer(model, Letters(), context_tokens=context, threads=1)  # type: ignore[arg-type]
    events = list(writer.write(Letters().tokens(prompt), request(**more), gone))
    ended = events.pop() if events and isinstance(events[-1], Ended) else None
    return "".join(event for event in events if isinstance(event, str)), ended  # type: ignore[return-value]


def test_an_answer_is_never_longer_than_the_context_and_the_engine_never_given_more() -> None:
    model = Parrot()
    text, ended = written(model, "x" * 150)
    assert ended is not None
    assert (ended.reason, ended.prompt_tokens, ended.completion_tokens, len(text)) == ("length", 150, 50, 50)
    assert len(model.context) < 200
    assert max(model.batches) == BATCH_TOKENS


def test_letters_of_several_bytes_are_said_whole() -> None:
    text, ended = written(Parrot("é端🎉".encode()), max_tokens=9)
    assert text == "é端🎉"
    assert written(Parrot("é端".encode()), max_tokens=4)[0] == "é\ufffd"  # broken off within a letter
    assert ended is not None
    assert ended.completion_tokens == 9


def test_what_is_remembered_is_not_read_again() -> None:
    model = Parrot()
    written(model, "a conversation", max_tokens=1)
    _, ended = written(model, "a conversation goes on", max_tokens=1)
    assert ended is not None
    assert ended.cached_tokens == len("a conversation")


def test_each_token_has_a_throw_of_its_own_and_a_seed_repeats_them_all() -> None:
    def seeds(**more: Any) -> list[int]:
        model = Parrot()
        written(model, max_tokens=20, **more)
        return [sampling["seed"] for sampling in model.sampled]

    assert len(set(seeds(seed=1))) == 20
    assert seeds(seed=1) == seeds(seed=1) != seeds(seed=2)
    assert seeds() != seeds()
    greedy = Parrot()
    written(greedy, max_tokens=1, temperature=0)
    assert greedy.sampled[0]["top_k"] == 1
    assert greedy.sampled[0]["temperature"] == 1  # it is divided by
    free = Parrot()
    written(free, max_tokens=1, repeat_penalty=1.5, repeat_last_n=0, top_k=0)
    assert (free.sampled[0]["repetition_penalty"], free.sampled[0]["top_k"]) == (1, 257)


def test_nobody_is_written_for_who_has_left() -> None:
    model, looked = Parrot(), iter([False, False, True])
    text, ended = written(model, "x" * 3 * BATCH_TOKENS, gone=lambda: next(looked, True))
    assert (text, ended, model.batches) == ("", None, [BATCH_TOKENS] * 2)


# --- the wire, without a server ----------------------------------------------------------------------


class Call:
    """One request to the wire, and what came of it."""

    def __init__(
        self, wire: Wire, path: str, body: object = None, *, method: str = "POST", key: str = "k"
    ) -> None:
        encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self._sent = iter([{"type": "http.request", "body": encoded}])
        self._left = asyncio.Event()
        self.messages: list[dict[str, Any]] = []
        self.heard = asyncio.Event()
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(b"authorization", f"Bearer {key}".encode())] if key else [],
        }
        self.task = asyncio.create_task(wire(scope, self._receive, self._send))

    def leave(self) -> None:
        self._left.set()

    async def _receive(self) -> dict[str, Any]:
        for message in self._sent:
            return message
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.messages.append(message)
        self.heard.set()

    async def status(self) -> int:
        async with asyncio.timeout(SOON_S):
            await self.task
        return int(self.messages[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)


def wire(model: Parrot, context: int = 200) -> Wire:
    writer = Writer(model, Letters(), context_tokens=context, threads=1)  # type: ignore[arg-type]
    template = ChatTemplate("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    return Wire(writer, Letters(), template, model_id="parrot", key="k")  # type: ignore[arg-type]


CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "body", "method", "key", "status"),
    [
        ("/health", None, "GET", "k", 200),
        ("/health", None, "GET", "", 401),
        ("/health", None, "GET", "kk", 401),
        ("/health", None, "POST", "k", 404),
        ("/props", None, "GET", "k", 404),
        (CHAT, WATER | {"max_tokens": 2}, "POST", "k", 200),
        (CHAT, WATER | {"max_tokens": 2}, "POST", "wrong", 401),
        (CHAT, b"{", "POST", "k", 400),
        (CHAT, {"messages": [{"role": "user", "content": ""}]}, "POST", "k", 400),
        (CHAT, b" " * (MAX_BODY_BYTES + 1), "POST", "k", 413),
        (f"{CHAT}/input_tokens", WATER, "POST", "k", 200),
        (f"{CHAT}/input_tokens", {"messages": [], "wibble": 1}, "POST", "k", 400),
        ("/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 1}, "POST", "k", 200),
        ("/v1/completions", {"prompt": [1, 999], "max_tokens": 1}, "POST", "k", 400),
        ("/v1/completions", {"prompt": []}, "POST", "k", 400),
    ],
)
def test_each_request_has_its_status(path: str, body: object, method: str, key: str, status: int) -> None:
    async def scene() -> None:
        call = Call(wire(Parrot()), path, body, method=method, key=key)
        assert await call.status() == status
        assert isinstance(json.loads(call.body), dict)

    asyncio.run(scene())


def test_an_engine_that_fails_says_so_and_goes_on() -> None:
    async def scene() -> None:
        model = Parrot()
        one = wire(model)
        model.broken = True
        for stream in (False, True):
            call = Call(one, CHAT, WATER | {"stream": stream})
            assert await call.status() == 500
            assert b"Failed to evaluate" in call.body
        model.broken = False
        assert await Call(one, CHAT, WATER | {"max_tokens": 1}).status() == 200

    asyncio.run(scene())


def test_an_engine_that_fails_within_a_stream_says_so_there() -> None:
    async def scene() -> None:
        pace = threading.Semaphore(0)
        model = Parrot(pace=pace)
        call = Call(wire(model), CHAT, WATER | {"stream": True})
        pace.release()
        async with asyncio.timeout(SOON_S):
            await call.heard.wait()
        model.broken = True
        pace.release()
        assert await call.status() == 200
        assert call.body.split(b"\n\n")[-2].startswith(b'data: {"error"')
        assert b"[DONE]" not in call.body

    asyncio.run(scene())


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_makes_room_and_who_waits_may_leave_too(stream: bool) -> None:
    async def scene() -> None:
        pace = threading.Semaphore(2)
        model = Parrot(pace=pace)
        one = wire(model)
        endless = WATER | {"stream": stream}
        first, second = Call(one, CHAT, endless), Call(one, CHAT, endless)
        third = Call(one, CHAT, WATER | {"max_tokens": 1, "stream": False})
        await asyncio.sleep(0.1)
        second.leave()  # while it waits
        await asyncio.wait_for(second.task, SOON_S)
        first.leave()  # while the engine is at a token
        await asyncio.sleep(0.1)
        pace.release()
        await asyncio.wait_for(first.task, SOON_S)
        pace.release()
        assert await third.status() == 200
        assert len(model.sampled) == 4

    asyncio.run(scene())
