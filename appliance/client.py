"""The client: how a command asks the running appliance.

Speaks the public HTTP API and nothing else; it never opens a store that the
service owns. Uses the standard library, so that a command starts at once.
"""

import argparse
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

from appliance.config import load_config
from library.errors import AlmanacError, SetupError


class Refused(AlmanacError):
    """The service answered with an error; its sentence is ours."""

    code = "refused"


class Client:
    def __init__(self, url: str, *, timeout_s: float = 60) -> None:
        self.url, self._timeout_s = url.rstrip("/"), timeout_s

    def get(self, path: str, **parameters: object) -> Any:
        """JSON from a GET; parameters that are None are left out. Raises SetupError or Refused."""
        wanted = {name: value for name, value in parameters.items() if value is not None}
        response = self._request("GET", f"{path}?{urlencode(wanted, doseq=True)}" if wanted else path)
        return _body(response)

    def post(self, path: str, body: dict[str, object] | None = None) -> Any:
        """JSON from a POST. Raises SetupError or Refused."""
        return _body(self._request("POST", path, body))

    def delete(self, path: str) -> Any:
        """JSON from a DELETE. Raises SetupError or Refused."""
        return _body(self._request("DELETE", path))

    def events(self, path: str, body: dict[str, object]) -> Iterator[tuple[str, Any]]:
        """The server-sent events of a POST: (event, JSON). Raises SetupError or Refused."""
        response = self._request("POST", path, body)
        if response.status >= 400:
            _body(response)
        event = ""
        for raw in response:
            line = raw.decode().rstrip("\r\n")
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield event, json.loads(line.removeprefix("data: "))

    def _request(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        try:
            connection = kind(parts.netloc, timeout=self._timeout_s)
            encoded = None if body is None else json.dumps(body).encode()
            connection.request(method, path, encoded, {"content-type": "application/json"} if encoded else {})
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise SetupError(
                f"Almanac does not answer at {self.url} ({error}). Start it with `make run` or "
                "`systemctl start almanac`, or name its address with --url."
            ) from error


def arguments(parser: argparse.ArgumentParser) -> None:
    """What every asking command takes."""
    parser.add_argument("--url", help="where the appliance serves (default: from the configuration)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def client_for(given: argparse.Namespace) -> Client:
    if given.url:
        return Client(given.url)
    server = load_config(given.config).server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104 - read, not bound
    return Client(f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}")


def _body(response: http.client.HTTPResponse) -> Any:
    try:
        body = json.loads(response.read())
    except ValueError as error:
        raise Refused("What answers there is not Almanac; check --url.") from error
    if response.status >= 400 and not ("ready" in body or "items" in body):
        raise Refused(str(body.get("detail") or body.get("error", {}).get("message") or body))
    return body
