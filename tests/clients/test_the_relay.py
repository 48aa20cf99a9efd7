"""What stands between the clients and the house: bytes go through unchanged, and a fault in them is found."""

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.clients.exchanges import Exchange, exchanges
from tests.clients.promises import answers, assert_promises
from tests.clients.relay import Relay, relay_to
from tests.clients.shapes import assert_shapes

CHAT = "/v1/chat/completions"


def serve(answer: Callable[[socket.socket], None]) -> tuple[str, threading.Thread]:
    """A server for one connection, which `answer` speaks on; its address, and the thread that ends with it."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listening, listening.accept()[0] as connection:
            answer(connection)

    thread = threading.Thread(target=run)
    thread.start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}", thread


def read_until(connection: socket.socket, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        piece = connection.recv(1)
        assert piece, found
        found += piece
    return found


def connected(relay: Relay) -> socket.socket:
    host, port = relay.listen().removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def test_two_requests_on_one_connection_are_two_exchanges() -> None:
    answered = [
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n",
    ]

    def answer(connection: socket.socket) -> None:
        read_until(connection, b'{"a":1}')
        connection.sendall(answered[0])
        read_until(connection, b"\r\n\r\n")
        connection.sendall(answered[1])
        assert connection.recv(1) == b""  # the client has gone, and this is seen here

    address, thread = serve(answer)
    with relay_to(address) as relay:
        with connected(relay) as client:
            client.sendall(b'POST /v1/x?y=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\n\r\n{"a":1}')
            assert read_until(client, b"{}") == answered[0]
            client.sendall(b"GET /v1/z HTTP/1.1\r\nhost: a\r\n\r\n")
            assert read_until(client, b"0\r\n\r\n") == answered[1]
        relay.settle()
        first, second = exchanges(relay.conversations)
    thread.join(10)
    assert not thread.is_alive()
    assert (first.method, first.path, first.body, first.status, first.answered) == (
        "POST",
        "/v1/x",
        {"a": 1},
        200,
        b"{}",
    )
    assert (second.method, second.path, second.body, second.status, second.answered) == (
        "GET",
        "/v1/z",
        None,
        404,
        b"[1,2]",
    )
    assert first.whole
    assert second.whole


def test_of_a_stream_that_is_left_there_is_what_came_and_the_server_sees_it() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    left = threading.Event()

    def answer(connection: socket.socket) -> None:
        read_until(connection, b"\r\n\r\n")
        connection.sendall(head + b"f\r\n: hm\n\ndata: 1\n\n\r\n" + b"8\r\ndata: 2\n\r\n")
        assert connection.recv(1) == b""
        left.set()

    address, thread = serve(answer)
    with relay_to(address) as relay:
        with connected(relay) as client:
            client.sendall(b"GET /v1/x HTTP/1.1\r\nhost: a\r\n\r\n")
            read_until(client, b"data: 2\n\r\n")
        assert left.wait(10)
        relay.settle()
        (found,) = exchanges(relay.conversations)
    thread.join(10)
    assert not found.whole
    assert found.streamed
    assert found.events == ["1"]


def exchange(asked: dict[str, Any], answered: Any, *, path: str = CHAT, status: int = 200) -> Exchange:
    stream = isinstance(answered, list)
    events = "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in answered)
    return Exchange(
        "POST",
        path,
        json.dumps(asked).encode(),
        status,
        {"content-type": "text/event-stream" if stream else "application/json"},
        events.encode() if stream else json.dumps(answered).encode(),
        whole=True,
    )


def whole(**message: Any) -> dict[str, Any]:
    told = {"role": "assistant", "content": None, "refusal": None} | message
    choice = {"index": 0, "message": told, "finish_reason": "stop", "logprobs": None}
    return {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def test_what_is_of_openais_shape_passes_and_a_fault_does_not() -> None:
    right = [chunk(role="assistant"), chunk(content="Hi"), chunk("stop"), "[DONE]"]
    assert_shapes([exchange({}, whole(content="Hi")), exchange({}, right)])
    assert_shapes(
        [
            exchange({}, {"error": openai_error()}, status=400),
            exchange({}, [{"error": openai_error()}, *right[-1:]]),
        ]
    )
    for wrong in (
        whole(content=7),
        whole(content="Hi", colour="red"),
        {"choices": []},
        right[:-1],  # without its mark
        [chunk(content=7), "[DONE]"],
        [chunk("perhaps"), "[DONE]"],
        [right[0] | {"colour": "red"}, "[DONE]"],
        [{"error": {"message": "x"}}, "[DONE]"],
    ):
        with pytest.raises(AssertionError):
            assert_shapes([exchange({}, wrong)])
    with pytest.raises(AssertionError):
        assert_shapes([exchange({}, {"error": {"message": "x"}}, status=400)])
    with pytest.raises(KeyError):  # nobody knows what that should be
        assert_shapes([exchange({}, {}, path="/v1/unheard-of")])
    with pytest.raises(AssertionError):
        assert_shapes([exchange({}, [{"type": "response.created", "response": {}}], path="/v1/responses")])


def openai_error() -> dict[str, Any]:
    return {"message": "x", "type": "invalid_request_error", "param": None, "code": None}


def call(arguments: str, name: str = "clock", id_: str = "c1") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"hours": {"enum": [12, 24]}},
                "required": ["hours"],
            },
        },
    }
    for name in ("clock", "watch")
]
CLOCK = {"type": "function", "function": {"name": "clock"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [CLOCK]}}


@pytest.mark.parametrize(
    ("choice", "calls", "kept"),
    [
        ("auto", [], True),
        ("auto", [call('{"hours": 12}')], True),
        ("auto", [call('{"hours": 13}')], False),
        ("auto", [call('{"hours": 12')], False),
        ("auto", [call("{}", name="weather")], False),
        ("none", [], True),
        ("none", [call('{"hours": 12}')], False),
        ("required", [], False),
        ("required", [call('{"hours": 12}', name="watch")], True),
        ("required", [call('{"hours": 12}'), call('{"hours": 24}')], False),  # two of one id
        ("required", [call('{"hours": 12}'), call('{"hours": 24}', id_="c2")], True),
        (CLOCK, [call('{"hours": 12}')], True),
        (CLOCK, [call('{"hours": 12}', name="watch")], False),
        (CLOCK, [], False),
        (ALLOWED, [call('{"hours": 12}')], True),
        (ALLOWED, [call('{"hours": 12}', name="watch")], False),
        (ALLOWED, [], False),
    ],
)
def test_a_promise_about_tools_is_kept_or_broken(
    choice: Any, calls: list[dict[str, Any]], *, kept: bool
) -> None:
    asked = {"tools": TOOLS, "tool_choice": choice}
    parts = [
        chunk(tool_calls=[{"index": at} | part])
        for at, one in enumerate(calls)
        for part in (
            {**one, "function": {"name": one["function"]["name"], "arguments": ""}},
            {"function": {"arguments": one["function"]["arguments"][:4]}},
            {"function": {"arguments": one["function"]["arguments"][4:]}},
        )
    ]
    streamed = exchange(asked, [chunk(role="assistant"), *parts, chunk("tool_calls"), "[DONE]"])
    assert answers(streamed)[0]["tool_calls"] == calls
    for one in (streamed, exchange(asked, whole(tool_calls=calls))):
        if kept:
            assert_promises([one])
        else:
            with pytest.raises((AssertionError, ValueError)):
                assert_promises([one])


def test_a_call_that_the_requests_own_bound_cuts_short_breaks_no_promise() -> None:
    asked = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 1}
    assert_promises([exchange(asked, [chunk(role="assistant"), chunk("length"), "[DONE]"])])


def test_a_promise_about_json_is_kept_or_broken(material: dict[str, Any]) -> None:
    asked = {"response_format": material["colour"]}
    assert_promises([exchange(asked, whole(content='{"colour": "red", "bright": true}'))])
    for content in ("red", '{"colour": "green", "bright": true}', '{"colour": "red"}', ""):
        for wrong in (whole(content=content), [chunk(content=content), chunk("stop"), "[DONE]"]):
            with pytest.raises((AssertionError, ValueError)):
                assert_promises([exchange(asked, wrong)])
