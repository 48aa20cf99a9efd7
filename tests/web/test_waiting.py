"""Waiting for the model: many clients, two slots, the real starter model."""

import asyncio
import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from tests.bench.measuring import resident_mib
from tests.places import chat_model, embedding_model
from tests.running import Appliance, running
from tests.web.busy import ENDLESS, chat, load, streaming, taken
from web.waiting import reader_of

pytestmark = pytest.mark.models
SLOTS, PER_READER, IN_ALL = 2, 40, 100
# The same is asked again and again, and is to wait every time.
SETTINGS = f"""
[llm]
parallel = {SLOTS}
[llm.queue]
per_reader = {PER_READER}
in_all = {IN_ALL}
[llm.cache]
capacity_mib = 0
"""
NOTE = "# The kiln\n\nThe kiln called Vesper is fired every ninth day, and cooled for two days with its lid shut.\n"
ASKED = {"question": "How often is the kiln called Vesper fired?"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    embedding_model()
    chat_model()
    folder = tmp_path_factory.mktemp("small")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    with running(folder, settings=SETTINGS) as appliance:
        appliance.drop("crafts/kiln.md", NOTE)
        appliance.until_state("crafts/kiln.md", "findable")
        yield appliance


@pytest.fixture
def idle(small: Appliance) -> Iterator[Appliance]:
    """The same, with nobody at the model or before it; and so it is again within two seconds."""
    yield small
    small.until(lambda: (load(small)["running"], load(small)["waiting"]) == (0, 0), 2)


def asked(house: Appliance, body: dict[str, object], reader: str) -> tuple[int, dict[str, str], Any]:
    headers = {"authorization": f"Bearer {reader}"}
    status, answered, answer = house.request("POST", "/v1/chat/completions", body, headers)
    return status, answered, json.loads(answer)


def until_said(connection: socket.socket, words: bytes) -> bytes:
    said = b""
    while words not in said:
        piece = connection.recv(65536)
        assert piece, said
        said += piece
    return said


def test_sixty_clients_at_once_are_all_answered_and_the_house_stays_small(idle: Appliance) -> None:
    body = chat(idle, max_tokens=4)
    assert idle.process
    most, over = 0.0, False

    def watch() -> None:
        nonlocal most
        while not over:
            most = max(most, resident_mib(idle.process.pid))  # type: ignore[union-attr]
            time.sleep(0.05)

    with ThreadPoolExecutor(61) as crowd:
        watching = crowd.submit(watch)
        answers = list(crowd.map(lambda n: asked(idle, body, f"client {n}"), range(60)))
        over = True
        watching.result()
    assert [status for status, _, _ in answers] == [200] * 60
    assert all(answer["usage"]["completion_tokens"] for _, _, answer in answers)
    assert most < 300


def test_one_question_is_answered_among_the_next_whatever_another_client_has_asked(idle: Appliance) -> None:
    body, ended = chat(idle, max_tokens=8, ignore_eos=True), []

    def ask(reader: str) -> None:
        assert asked(idle, body, reader)[0] == 200
        ended.append(reader)

    with ThreadPoolExecutor(31) as crowd:
        greedy = [crowd.submit(ask, "greedy") for _ in range(30)]
        idle.until(lambda: load(idle)["waiting"] > 20, 20)
        before = len(ended)
        crowd.submit(ask, "modest").result()
        after = ended.index("modest")
        for one in greedy:
            one.result()
    # Two are being written, one of the greedy is next, then it is the other's turn;
    # some more may have ended while this test looked.
    assert after - before <= 6, ended


def test_past_the_bound_a_client_is_told_when_to_come_again(idle: Appliance) -> None:
    body = chat(idle, max_tokens=2)
    with taken(idle, waiting=PER_READER):
        status, headers, answer = asked(idle, body, "greedy")
        assert status == 429
        assert 1 <= int(headers["retry-after"]) <= 60
        assert answer["error"]["code"] == "overloaded"
        assert answer["error"]["type"] == "rate_limit_error"
        client = openai.OpenAI(base_url=f"{idle.url}/v1", api_key="greedy", max_retries=0)
        for streamed in (False, True):
            with pytest.raises(openai.RateLimitError, match="Ask again in"):
                client.chat.completions.create(**chat(idle, stream=streamed))  # type: ignore[call-overload]
            library = {
                "model": "almanac",
                "messages": [{"role": "user", "content": ASKED["question"]}],
                "stream": streamed,
            }
            with pytest.raises(openai.RateLimitError, match="Ask again in"):
                client.chat.completions.create(**library)  # type: ignore[call-overload]
        client.close()
        refused = idle.request("POST", "/api/ask", ASKED, {"authorization": "Bearer greedy"})
        assert refused[0] == 429
        assert refused[1]["retry-after"]
        assert json.loads(refused[2])["code"] == "overloaded"
        assert idle.get("/api/search", q="kiln")[0] == 200  # searching waits for nobody
        with streaming(idle, body | {"stream": True}, "modest") as another:
            until_said(another, b": waiting, position 2\n\n")


def test_who_asks_the_library_sees_the_sources_first_and_then_the_position(idle: Appliance) -> None:
    with taken(idle, waiting=2) as others, streaming(idle, ASKED, "modest", "/api/ask") as mine:
        said = until_said(mine, b'event: waiting\ndata: {"position":2,"loading":false}\n\n')
        assert said.index(b"event: passages") < said.index(b"event: waiting")
        others.close()
        said = until_said(mine, b"event: done")
        assert b'event: waiting\ndata: {"position":0,"loading":false}\n\n' in said


def test_a_waiting_stream_is_kept_alive_with_comments_that_a_client_does_not_see(idle: Appliance) -> None:
    with taken(idle) as others, openai.OpenAI(base_url=f"{idle.url}/v1", api_key="modest") as client:
        bare = client.chat.completions.create(**chat(idle, stream=True, max_tokens=4))  # type: ignore[call-overload]
        library = client.chat.completions.create(
            model="almanac", messages=[{"role": "user", "content": ASKED["question"]}], stream=True
        )
        assert load(idle)["waiting"] == 2  # both have their heads already
        others.close()
        for stream in (bare, library):
            text = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
            assert "".join(text)


def test_who_leaves_the_line_is_forgotten(idle: Appliance) -> None:
    with taken(idle):
        for path, body in (
            ("/v1/chat/completions", chat(idle)),
            ("/v1/chat/completions", chat(idle, stream=True)),
            ("/v1/chat/completions", chat(idle, model="almanac")),
            ("/v1/chat/completions", chat(idle, model="almanac", stream=True)),
            ("/api/ask", ASKED),
        ):
            if body.get("model") == "almanac":
                body["messages"] = [{"role": "user", "content": ASKED["question"]}]
            with streaming(idle, body, "modest", path):
                idle.until(lambda: load(idle)["waiting"] == 1, 10)
            idle.until(lambda: load(idle)["waiting"] == 0, 2)


@pytest.mark.parametrize("streamed", [True, False])
def test_who_leaves_the_model_makes_room_at_once(idle: Appliance, streamed: bool) -> None:
    body = chat(idle, stream=streamed, **ENDLESS)
    with streaming(idle, body), streaming(idle, body) as leaving:
        idle.until(lambda: load(idle)["running"] == SLOTS, 10)
        time.sleep(0.5)  # well into its answer
        with streaming(idle, chat(idle, stream=True, max_tokens=2), "modest") as mine:
            until_said(mine, b": waiting, position 1\n\n")
            left = time.monotonic()
            leaving.close()
            until_said(mine, b": the turn has come\n\n")
            called_s = time.monotonic() - left
            until_said(mine, b"[DONE]")
            written_s = time.monotonic() - left
    print(f"called after {called_s * 1000:.0f} ms, its two tokens written after {written_s * 1000:.0f} ms")
    assert called_s < 2  # 0.2 s is promised, and measured on a quiet machine
    assert written_s < 5


def test_one_device_with_many_keys_keeps_no_other_out(small: Appliance) -> None:
    """From two addresses of this machine: one fills the line under a hundred names, the other asks one thing."""
    body = chat(small, stream=True, max_tokens=300, ignore_eos=True)
    with ExitStack() as held:
        crowd = [
            held.enter_context(streaming(small, body, f"key {n}", source="127.0.0.2"))
            for n in range(SLOTS + IN_ALL)
        ]
        small.until(lambda: load(small)["waiting"] == IN_ALL, 20)
        with streaming(small, body, "one more", source="127.0.0.2") as refused:
            assert b" 429 " in until_said(refused, b"\r\n")
        with streaming(small, body | {"max_tokens": 8}, "modest") as modest:
            said = until_said(modest, b"[DONE]")
        positions = [int(found) for found in re.findall(rb": waiting, position (\d+)", said)]
        assert positions[0] <= 2
        assert load(small)["waiting"] > IN_ALL / 2
        (error,) = [said for said in map(_said_so_far, crowd) if b'"error"' in said]
        assert b"requests of yours are waiting" in error
    small.until(lambda: (load(small)["running"], load(small)["waiting"]) == (0, 0), 5)


def _said_so_far(connection: socket.socket) -> bytes:
    connection.setblocking(False)
    with suppress(BlockingIOError):
        return connection.recv(2**20)
    return b""


def test_whoever_comes_and_goes_at_any_moment_leaves_no_slot_taken(idle: Appliance) -> None:
    bare, library = chat(idle, stream=True, **ENDLESS), ASKED

    def comes_and_goes(n: int) -> None:
        path, body = ("/api/ask", library) if n % 3 == 0 else ("/v1/chat/completions", bare)
        with streaming(idle, body, f"client {n % 5}", path):
            time.sleep((n * 37 % 100) / 250)

    with ThreadPoolExecutor(12) as crowd:
        list(crowd.map(comes_and_goes, range(120)))


def test_an_answer_under_way_ends_before_the_house_does_and_who_waits_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".furnished").touch()
    settings = "[llm]\nparallel = 1\n[llm.queue]\ndrain_s = 30\n"
    house = Appliance(tmp_path, settings=settings).start()
    body = chat(house, stream=True, max_tokens=60, ignore_eos=True)
    with streaming(house, body) as running_one:
        until_said(running_one, b'"content"')
        with streaming(house, body) as waiting_one:
            until_said(waiting_one, b": waiting, position 1\n\n")
            assert house.process
            house.process.send_signal(signal.SIGTERM)
            assert b"being stopped" in until_said(waiting_one, b'"error"')
        until_said(running_one, b"[DONE]")
    assert house.process.wait(15) == 0
    house._close()


def request(headers: dict[str, str], host: str = "10.0.0.7") -> Any:
    return SimpleNamespace(headers=headers, client=SimpleNamespace(host=host))


def test_a_reader_is_a_key_or_else_an_address_and_no_header_changes_that() -> None:
    who: Callable[..., str] = lambda **headers: reader_of(  # noqa: E731
        request({name.replace("_", "-"): value for name, value in headers.items()})
    )
    assert who() == who(x_forwarded_for="10.0.0.8") == who(forwarded="for=10.0.0.9")
    assert who() == who(authorization="Basic abc") == who(authorization="Bearer ")
    assert who() != reader_of(request({}, "10.0.0.8"))
    assert who(authorization="Bearer one") == who(authorization="bearer  one") != who()
    assert who(authorization="Bearer one") != who(authorization="Bearer two")
    assert "one" not in who(authorization="Bearer one")


def test_a_stream_that_is_never_read_gives_its_place_back() -> None:
    from llm.serving.queue import QueueSettings, Reader, Turns
    from web.waiting import begun

    async def scene() -> None:
        turns = Turns(1, QueueSettings())

        async def stream():
            with turns.place(Reader("Ann")):
                yield 1
                yield 2

        async def receive() -> dict[str, str]:
            await asyncio.Event().wait()
            return {}

        first, whole = await begun(SimpleNamespace(receive=receive), stream())  # type: ignore[arg-type]
        assert first == 1
        assert turns.load().running == 1
        del whole
        for _ in range(5):
            await asyncio.sleep(0)
        assert turns.load().running == 0

    asyncio.run(scene())
