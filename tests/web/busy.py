"""A house whose model is busy: every slot taken, and more who wait, for as long as a test wants."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.running import Appliance

ENDLESS = {"max_tokens": 3800, "ignore_eos": True}


def load(house: Appliance) -> dict[str, Any]:
    return dict(house.get("/status")[1]["model"]["queue"])


def chat(house: Appliance, **more: object) -> dict[str, object]:
    model = house.get("/status")[1]["model"]["id"]
    return {"model": model, "messages": [{"role": "user", "content": "Say hello."}], "temperature": 0} | more


@contextmanager
def streaming(
    house: Appliance,
    body: object,
    reader: str = "greedy",
    path: str = "/v1/chat/completions",
    source: str = "127.0.0.1",
) -> Iterator[socket.socket]:
    """A stream that has been asked for from an address of this machine; it is left with the block, whatever was read."""
    host, port = urlsplit(house.url).netloc.split(":")
    sent = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\nauthorization: Bearer {reader}\r\n"
    with socket.create_connection((host, int(port)), 60, (source, 0)) as connection:
        connection.sendall(f"{head}content-length: {len(sent)}\r\n\r\n".encode() + sent)
        yield connection


@contextmanager
def taken(house: Appliance, waiting: int = 0, reader: str = "greedy") -> Iterator[ExitStack]:
    """Every slot taken by an endless answer, and so many of the same wait for one."""
    body = chat(house, stream=True, **ENDLESS)
    with ExitStack() as stack:
        slots = load(house)["slots"]
        for _ in range(slots + waiting):
            stack.enter_context(streaming(house, body, reader))
        house.until(lambda: (load(house)["running"], load(house)["waiting"]) == (slots, waiting), 20)
        yield stack
