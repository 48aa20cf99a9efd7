"""Guards: what a request must be before any handler sees it.

Two attacks reach a machine on the LAN through a reader's own browser: a web
page that posts to it across sites, and a web page whose host name is re-bound
to the machine's address (DNS rebinding). Both are stopped by looking at Host,
Origin and Sec-Fetch-Site. A page whose origin the configuration permits may use
`/v1` (`web.cors`), and nothing else. Knows no account; that is for another floor's
day.
"""

import functools
import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from web.cors import Cors, Headers
from web.problems import openai_error

_HOUSE_SUFFIXES = (".local", ".lan", ".home.arpa", ".localhost")
# This very machine, as its own name or as the address of a caller.
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

HEADERS = {
    # Nothing is ever loaded from elsewhere, and nothing inline runs.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@functools.lru_cache(maxsize=256)
def is_house_name(host: str, host_names: tuple[str, ...]) -> bool:
    """Whether a Host header's name can only mean this house, or was configured."""
    name = (urlsplit(f"//{host}").hostname or "").rstrip(".").lower()
    if name == "localhost" or name.endswith(_HOUSE_SUFFIXES) or name in host_names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        # A name without a dot is resolved in the house, never by the world's DNS.
        return bool(name) and "." not in name
    return True


def guard(host_names: tuple[str, ...], cors: Cors) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware that refuses foreign hosts and cross-site writes, and sets the headers above."""
    header_pairs = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    def around(app: ASGIApp) -> ASGIApp:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            method, path, origin = scope["method"], scope["path"], headers.get("origin")
            added = header_pairs + cors.headers(path, origin)
            if refusal := _refusal(method, headers, host_names, permitted=cors.permits(path, origin)):
                await _refuse(send, refusal, added)
                return
            if (preflight := cors.preflight(method, path, headers)) is not None:
                await _respond(send, 204, b"", preflight + added)
                return
            if "\0" in scope["path"]:  # no file, no id and no page has one; some libraries choke on it
                scope["path"], scope["raw_path"] = "/nothing-there", b"/nothing-there"

            async def send_with_headers(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], *added]
                await send(message)

            await app(scope, receive, send_with_headers)

        return guarded

    return around


def _refusal(
    method: str, headers: dict[str, str], host_names: tuple[str, ...], *, permitted: bool
) -> str | None:
    """`permitted`: whether the page that asks is one of another origin that may."""
    host = headers.get("host", "")
    try:
        if not is_house_name(host, host_names):
            return (
                f"Almanac does not answer to the name {host[:100]!r}. Use its address, or add the name to "
                "`server.host_names` in the configuration."
            )
        if method in _SAFE_METHODS or permitted:
            return None
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "A page of another site may not write to Almanac."
    except ValueError:  # urlsplit on a malformed name
        return "The Host or Origin header is malformed."
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return "A page of another site may not write to Almanac."
    return None


async def _refuse(send: Send, sentence: str, headers: Headers) -> None:
    body = msgspec.json.encode(openai_error(403, sentence, "forbidden", None))
    of_body = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await _respond(send, 403, body, of_body + headers)


async def _respond(send: Send, status: int, body: bytes, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
