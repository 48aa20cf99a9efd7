"""The engine's client: against the real engine, and against answers that it never gives."""

import asyncio
import inspect
import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from library.errors import AlmanacError, InvalidRequest, ModelError, ModelFailed, ModelUnavailable
from llm.engines.engine import Engine, _Events, translated
from llm.engines.supervisor import ModelSettings, Supervisor
from tests.llm.fake_engine_server import HEAD, answering, refusal
from tests.places import chat_model

WATER = [{"role": "user", "content": "What is water?"}]
BRIEF = {"messages": WATER, "max_tokens": 12, "temperature": 0}
# Half a minute of writing for the engine, unless it is told that nobody reads.
ENDLESS = {"messages": WATER, "max_tokens": 3900, "temperature": 0, "ignore_eos": True}
SOON_S = 10


@asynccontextmanager
async def real_engine(folder: Path, **settings: object) -> AsyncGenerator[Engine, None]:
    supervisor = Supervisor(chat_model(), folder, ModelSettings(**settings))
    await supervisor.start()
    try:
        await supervisor.settled.wait()
        assert supervisor.reason is None
        yield supervisor.engine()
    finally:
        await supervisor.stop()


async def text_of(engine: Engine, body: dict) -> str:
    async with aclosing(engine.stream(body)) as payloads:
        chunks = [json.loads(payload) async for payload in payloads]
    deltas = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta or "" for delta in deltas)


@pytest.mark.models
def test_a_stream_says_what_the_whole_answer_says(tmp_path):
    async def scene():
        async with real_engine(tmp_path) as engine:
            whole = await engine.chat(BRIEF)
            assert whole["object"] == "chat.completion"
            assert whole["model"] == engine.model_id  # and not the path of its file
            assert await text_of(engine, BRIEF) == whole["choices"][0]["message"]["content"] != ""
            assert await engine.healthy()

    asyncio.run(scene())


@pytest.mark.models
def test_a_bare_prompt_is_gone_on_with_whole_and_streamed(tmp_path):
    async def scene():
        async with real_engine(tmp_path, context_tokens=256) as engine:
            asked = {"prompt": "Water is", "max_tokens": 4, "temperature": 0}
            whole = await engine.complete(asked)
            async with aclosing(engine.text_batches(asked)) as batches:
                chunks = [json.loads(payload) async for batch in batches for payload in batch]
            text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
            assert text == whole["choices"][0]["text"] != ""
            for attempt in (engine.complete, lambda body: anext(engine.text_batches(body))):
                with pytest.raises(InvalidRequest, match="the model's context 256") as caught:
                    await attempt({"prompt": "water " * 300})
                assert caught.value.parameter == "prompt"

    asyncio.run(scene())


@pytest.mark.models
def test_tokens_are_counted_as_the_engine_counts_them(tmp_path):
    async def scene():
        async with real_engine(tmp_path) as engine:
            whole = await engine.chat(BRIEF | {"max_tokens": 1})
            assert await engine.count_tokens(WATER) == whole["usage"]["prompt_tokens"]

    asyncio.run(scene())


@pytest.mark.models
def test_each_slot_has_the_whole_context(tmp_path):
    async def scene():
        async with real_engine(tmp_path, context_tokens=512, parallel=3) as engine:
            assert engine.context_tokens == 512
            told = (await engine._client.get("/props")).json()
            assert (told["default_generation_settings"]["n_ctx"], told["total_slots"]) == (512, 3)

    asyncio.run(scene())


@pytest.mark.models
def test_the_context_is_never_more_than_the_model_was_trained_for(tmp_path):
    async def scene():
        async with real_engine(tmp_path, context_tokens=100_000, parallel=1) as engine:
            assert engine.context_tokens == 8192

    asyncio.run(scene())


@pytest.mark.models
def test_a_closed_stream_frees_its_slot_at_once(tmp_path):
    async def scene():
        async with real_engine(tmp_path, parallel=1) as engine:
            for _ in range(3):
                async with aclosing(engine.stream(ENDLESS)) as payloads:
                    await anext(payloads)
                    await anext(payloads)
                async with asyncio.timeout(SOON_S):
                    await engine.chat(BRIEF)

    asyncio.run(scene())


@pytest.mark.models
@pytest.mark.parametrize("way", ["stream", "chat"])
def test_a_cancelled_request_frees_its_slot_at_once(tmp_path, way):
    async def scene():
        async with real_engine(tmp_path, parallel=1) as engine:
            writing = asyncio.create_task(
                text_of(engine, ENDLESS) if way == "stream" else engine.chat(ENDLESS)
            )
            await asyncio.sleep(0.5)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            async with asyncio.timeout(SOON_S):
                await engine.chat(BRIEF)

    asyncio.run(scene())


@pytest.mark.models
def test_more_requests_than_slots_all_get_their_answer(tmp_path):
    async def scene():
        async with real_engine(tmp_path, parallel=2) as engine:
            answers = await asyncio.gather(*(text_of(engine, BRIEF) for _ in range(12)))
            assert all(answers)
            assert await engine.healthy()

    asyncio.run(scene())


@pytest.mark.models
def test_too_long_a_prompt_is_the_requests_fault(tmp_path):
    async def scene():
        async with real_engine(tmp_path, context_tokens=256) as engine:
            body = {"messages": [{"role": "user", "content": "water " * 300}]}
            for attempt in (engine.chat(body), anext(engine.stream(body))):
                with pytest.raises(InvalidRequest, match="the model's context 256") as caught:
                    await attempt
                assert caught.value.parameter == "messages"

    asyncio.run(scene())


@pytest.mark.models
def test_what_the_engine_will_not_take_names_the_parameter(tmp_path):
    async def scene():
        async with real_engine(tmp_path) as engine:
            with pytest.raises(InvalidRequest) as caught:
                await engine.chat(BRIEF | {"temperature": "hot"})
            assert caught.value.parameter == "temperature"
            with pytest.raises(InvalidRequest):
                await engine.chat(BRIEF | {"stop": {1, 2, object}})

    asyncio.run(scene())


@pytest.mark.models
def test_a_wrong_key_is_refused_in_words(tmp_path):
    async def scene():
        async with real_engine(tmp_path) as engine:
            engine._client.headers["authorization"] = "Bearer wrong"
            with pytest.raises(ModelUnavailable, match="key"):
                await engine.chat(BRIEF)

    asyncio.run(scene())


# --- what a real engine does not do on demand -----------------------------------------------------


def streamed(folder: Path, *pieces: bytes) -> list[bytes]:
    """What a stream gives for these bytes; its error is raised."""

    async def scene():
        async with answering(folder / "s.sock", pieces):
            engine = Engine.on_socket("m", 100, socket=folder / "s.sock", key="k")
            try:
                async with aclosing(engine.stream(BRIEF)) as payloads:
                    return [payload async for payload in payloads]
            finally:
                await engine.aclose()

    return asyncio.run(scene())


def test_a_stream_ends_with_its_done_mark(tmp_path):
    said = b'data: {"a":1}\n\n: still alive\n\ndata: {"a":2}\r\n\r\ndata:{"a":3}\n\ndata: [DONE]\n\n'
    assert streamed(tmp_path, HEAD, said) == [b'{"a":1}', b'{"a":2}', b'{"a":3}']


def test_a_stream_without_its_done_mark_has_failed(tmp_path):
    with pytest.raises(ModelFailed, match="stopped while it was answering"):
        streamed(tmp_path, HEAD, b'data: {"a":1}\n\n')


def test_a_stream_that_breaks_off_has_failed(tmp_path):
    chunked = HEAD.replace(b"connection: close", b"transfer-encoding: chunked")
    with pytest.raises(ModelFailed, match="stopped while it was answering"):
        streamed(tmp_path, chunked, b'f\r\ndata: {"a":1}\n\n\r\n')


def test_an_error_within_a_stream_is_raised(tmp_path):
    with pytest.raises(ModelFailed, match="out of slots"):
        streamed(tmp_path, HEAD, b'data: {"error":{"code":500,"message":"out of slots"}}\n\n')


def test_a_stream_that_never_breaks_a_line_has_failed(tmp_path, monkeypatch):
    monkeypatch.setattr("llm.engines.engine._MAX_EVENT_BYTES", 1000)
    with pytest.raises(ModelFailed, match="no stream of events"):
        streamed(tmp_path, HEAD, b"x" * 2000)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"error":{"message":"no"}}', InvalidRequest),
        (401, b"", ModelUnavailable),
        (404, b"<html>", ModelFailed),
        (500, b'{"error":{"message":"broken"}}', ModelFailed),
        (500, b'{"error":{"message":"Failed to parse messages: type must be string"}}', InvalidRequest),
        (500, b'{"error":{"message":"Unknown reasoning format: odd"}}', InvalidRequest),
        (503, b'{"error":{"message":"Loading model"}}', ModelUnavailable),
    ],
)
def test_every_refusal_is_an_error_of_ours(tmp_path, status, body, error):
    with pytest.raises(error):
        streamed(tmp_path, *refusal(status, body))


def test_an_answer_that_is_no_json_has_failed(tmp_path):
    async def scene():
        async with answering(tmp_path / "s.sock", refusal(200, b"[1")):
            engine = Engine.on_socket("m", 100, socket=tmp_path / "s.sock", key="k")
            for attempt in (engine.chat(BRIEF), engine.count_tokens(WATER)):
                with pytest.raises(ModelFailed):
                    await attempt
            await engine.aclose()

    asyncio.run(scene())


def test_an_engine_that_says_nothing_has_failed(tmp_path):
    async def scene():
        async with answering(tmp_path / "s.sock", (), hold=True):
            engine = Engine.on_socket("m", 100, socket=tmp_path / "s.sock", key="k", silence_s=0.1)
            with pytest.raises(ModelFailed, match="nothing for too long"):
                await engine.chat(BRIEF)
            assert not await engine.healthy(within_s=0.1)
            await engine.aclose()

    asyncio.run(scene())


def test_an_engine_that_is_gone_is_unavailable(tmp_path):
    async def scene():
        engine = Engine.on_socket("m", 100, socket=tmp_path / "none.sock", key="k")
        for _ in ("gone", "closed"):
            for attempt in (engine.chat(BRIEF), engine.count_tokens(WATER), anext(engine.stream(BRIEF))):
                with pytest.raises(ModelUnavailable):
                    await attempt
            assert not await engine.healthy()
            await engine.aclose()

    asyncio.run(scene())


@pytest.mark.parametrize("hold", [True, False])
def test_neither_the_first_chunk_nor_the_end_waits_for_others(tmp_path, monkeypatch, hold):
    """With `hold` the first chunk comes though nothing follows; without, the end comes with the closing."""
    monkeypatch.setattr("llm.engines.transport.PACE_S", 60)

    async def scene():
        async with answering(tmp_path / "s.sock", [HEAD, b'data: {"a":1}\n\n'], hold=hold):
            engine = Engine.on_socket("m", 100, socket=tmp_path / "s.sock", key="k")
            async with asyncio.timeout(SOON_S), aclosing(engine.stream(BRIEF)) as payloads:
                assert await anext(payloads) == b'{"a":1}'
                if not hold:
                    with pytest.raises(ModelFailed):
                        await anext(payloads)
            await engine.aclose()

    asyncio.run(scene())


def test_chunks_that_arrive_together_are_given_together(tmp_path):
    async def scene():
        said = [HEAD, b'data: {"a":1}\n\n', b'data: {"a":2}\n\n', b'data: {"a":3}\n\ndata: [DONE]\n\n']
        async with answering(tmp_path / "s.sock", said):
            engine = Engine.on_socket("m", 100, socket=tmp_path / "s.sock", key="k")
            async with aclosing(engine.batches(BRIEF)) as batches:
                received = [batch async for batch in batches]
            assert [payload for batch in received for payload in batch] == [
                b'{"a":1}',
                b'{"a":2}',
                b'{"a":3}',
            ]
            assert len(received) <= 2
            await engine.aclose()

    asyncio.run(scene())


def test_closing_the_engine_ends_its_streams(tmp_path):
    async def scene():
        async with answering(tmp_path / "s.sock", [HEAD, b'data: {"a":1}\n\n', b":\n\n"], hold=True):
            engine = Engine.on_socket("m", 100, socket=tmp_path / "s.sock", key="k")
            async with aclosing(engine.stream(BRIEF)) as payloads:
                await anext(payloads)
                await engine.aclose()
                with pytest.raises(ModelFailed):
                    await anext(payloads)

    asyncio.run(scene())


def test_every_error_of_the_transport_becomes_one_of_ours():
    vendors = [
        error
        for _, error in inspect.getmembers(httpx, inspect.isclass)
        if issubclass(error, httpx.TransportError | httpx.InvalidURL)
    ]
    assert len(vendors) > 10
    for vendor in vendors:
        ours = translated(vendor("it broke"))
        assert isinstance(ours, AlmanacError)
        assert isinstance(ours, ModelError)
        assert str(ours).endswith(".")


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.lists(st.integers(0, 2000)), st.booleans()
)
def test_events_are_the_same_wherever_they_are_cut(texts, cuts, carriage_returns):
    payloads = [json.dumps({"content": text}).encode() for text in texts]
    wire = b"".join(b"data: " + payload + b"\n\n:\n\n" for payload in payloads)
    if carriage_returns:
        wire = wire.replace(b"\n", b"\r\n")
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    events = _Events()
    pieces = [wire[start:end] for start, end in itertools.pairwise(edges)]
    assert [payload for piece in pieces for payload in events.fed(piece)] == payloads
