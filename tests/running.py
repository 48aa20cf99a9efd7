"""A running appliance: the real command in a process of its own, with a data folder of its own."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.places import MODELS, ROOT

# What tests set for their own sake. An appliance has to be silent without being told so.
SILENCED_BY_TESTS = frozenset({"ORT_DISABLE_TELEMETRY"})


class Appliance:
    def __init__(
        self, folder: Path, *, settings: str = "", models: Path | None = MODELS, wrap: tuple[str, ...] = ()
    ) -> None:
        """`settings` is TOML put behind the paths; `models=None` is a house without models."""
        self.folder, self.library = folder, folder / "library"
        self.config = folder / "almanac.toml"
        folder.mkdir(parents=True, exist_ok=True)
        models = models or folder / "no-models"
        self.config.write_text(
            f'[paths]\ndata = "{folder}/data"\nlibrary = "{self.library}"\nmodels = "{models}"\n{settings}'
        )
        self._wrap = wrap
        self.url = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self, *, ready: bool = True, timeout_s: float = 60) -> "Appliance":
        command = [
            *self._wrap,
            sys.executable,
            "-m",
            "appliance",
            "--config",
            str(self.config),
            "serve",
            "--port",
            "0",
        ]
        self.log = (self.folder / "serve.log").open("a+")
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={name: value for name, value in os.environ.items() if name not in SILENCED_BY_TESTS}
            | {"PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"{line}{(self.folder / 'serve.log').read_text()}"
        self.url = found.group()
        if ready:
            self.until(lambda: self.get("/readyz")[0] == 200, timeout_s)
        return self

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(15)
        self._close()
        return code

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait(10)
        self._close()

    def _close(self) -> None:
        if self.process and self.process.stdout:
            self.process.stdout.close()
        self.log.close()

    def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(
            http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=120)
        ) as connection:
            encoded = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
            given = ({"content-type": "application/json"} if encoded is not None else {}) | (headers or {})
            connection.request(method, path, encoded, given)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def get(self, path: str, **parameters: object) -> tuple[int, Any]:
        status, _, body = self.request("GET", f"{path}?{urlencode(parameters)}" if parameters else path)
        return status, json.loads(body)

    def post(self, path: str, body: object) -> tuple[int, Any]:
        status, _, answer = self.request("POST", path, body)
        return status, json.loads(answer)

    def ask(self, question: str, shelf: str | None = None) -> list[tuple[str, Any]]:
        """The events of an answer."""
        return self.events("/api/ask", {"question": question, "shelf": shelf})

    def events(self, path: str, body: object) -> list[tuple[str, Any]]:
        """All server-sent events that a POST is answered with."""
        _, _, answer = self.request("POST", path, body)
        events = []
        for block in answer.decode().strip().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            events.append((fields["event"], json.loads(fields["data"])))
        return events

    def drop(self, path: str, content: str | bytes) -> Path:
        """Put a file into the library, as somebody with a file manager does."""
        target = self.library / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def document(self, path: str) -> dict[str, Any] | None:
        items = self.get("/api/documents", limit=500)[1]["items"]
        return next((item for item in items if item["path"] == path), None)

    def until_state(self, path: str, *states: str, timeout_s: float = 60) -> dict[str, Any]:
        """Wait until the document at `path` is in one of the states; returns it."""
        return self.until(
            lambda: (found := self.document(path)) and found["state"] in states and found, timeout_s
        )

    @staticmethod
    def until(probe: Callable[[], Any], timeout_s: float = 60) -> Any:
        ends = time.monotonic() + timeout_s
        while True:
            found = probe()
            if found:
                return found
            assert time.monotonic() < ends, f"not within {timeout_s} s"
            time.sleep(0.1)


@contextlib.contextmanager
def running(folder: Path, **options: Any) -> Iterator[Appliance]:
    """An appliance for the length of a block; it must end with code 0 when told to."""
    ready = options.pop("ready", True)
    appliance = Appliance(folder, **options)
    try:
        yield appliance.start(ready=ready)
    except BaseException:
        if appliance.process and appliance.process.poll() is None:
            appliance.kill()
        raise
    if appliance.process and appliance.process.poll() is None:
        assert appliance.stop() == 0
