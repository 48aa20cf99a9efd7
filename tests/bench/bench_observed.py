"""What counting, timing and naming a request costs: GET /healthz with and without it

Both applications are served by one process, on one event loop, each on a port
of its own, and asked in turn over a connection that is kept alive, so that
whatever else the machine does is the same for both. /healthz does nothing:
no other request loses a greater share.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import uvicorn
import uvloop
from litestar.types import ASGIApp

from appliance.http_protocol import SpokenProtocol
from tests.bench.keep_alive import KeepAlive
from tests.bench.measuring import percentile
from tests.places import ROOT
from web.app import create_app, guarded_app
from web.cors import Cors
from web.guards import guard
from web.metrics import Metrics


def run(requests: int = 5_000) -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bench_observed"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout
        urls = [f"http://127.0.0.1:{port}" for port in served.stdout.readline().split()]
        with KeepAlive(urls[0]) as without, KeepAlive(urls[1]) as observed:
            clients = (("without", without), ("observed", observed))
            took_s: dict[str, list[float]] = {name: [] for name, _ in clients}
            for n in range(requests):
                # Who is asked second finds the processor awake: each is, every other time.
                for name, client in clients if n % 2 else reversed(clients):
                    took_s[name].append(_asked_s(client))
        served.terminate()
    yield "| | p50 µs | p95 µs |"
    yield "|---|---|---|"
    p50 = {}
    for name, took in took_s.items():
        warm = took[requests // 10 :]
        p50[name] = percentile(warm, 0.5)
        yield f"| {name} | {p50[name] * 1e6:.0f} | {percentile(warm, 0.95) * 1e6:.0f} |"
    yield f"\nRatio of the p50: {p50['observed'] / p50['without']:.3f}"


def _asked_s(client: KeepAlive) -> float:
    began = time.perf_counter()
    status, _ = client.get("/healthz")
    assert status == 200
    return time.perf_counter() - began


async def _serve() -> None:
    house = SimpleNamespace(version="0", host_names=(), cors_origins=(), metrics=Metrics())
    apps: list[ASGIApp] = [guard((), Cors(()))(create_app(house)), guarded_app(house)]  # type: ignore[arg-type]
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in apps]
    print(*(port.getsockname()[1] for port in ports), flush=True)
    servers = [
        uvicorn.Server(uvicorn.Config(app, http=SpokenProtocol, log_config=None, access_log=False))  # type: ignore[arg-type]
        for app in apps
    ]
    await asyncio.gather(*(server.serve(sockets=[port]) for server, port in zip(servers, ports, strict=True)))


if __name__ == "__main__":
    uvloop.run(_serve())
