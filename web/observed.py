"""Observed: every request gets an id, is counted and timed, and is written down where that is wished.

The outermost layer: what the guards refuse and what leads nowhere is seen as
well. Its hard rule: of a request only its method, its route's template, its
status, its time and its id are told, never its path, its query, its body or
who sent it; a name that is not one of a few is told as "none".
"""

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from web.metrics import Metrics

log = logging.getLogger(__name__)

# Of the request that is being answered, in its task and in the threads it asks. "" elsewhere.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

# No route: a path that does not exist, a method that is not served there, a refusal by the guards.
NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def observed(metrics: Metrics, *, log_requests: bool) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware that tells `metrics` of each request when its last byte is sent, and with `log_requests` the log."""

    def around(app: ASGIApp) -> ASGIApp:
        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            id_ = _request_id(scope["headers"])
            id_header = (b"x-request-id", id_.encode())
            status = 0  # nothing was sent: the client had left

            async def send_with_id(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                    message["headers"] = [*message["headers"], id_header]
                await send(message)

            mark = REQUEST_ID.set(id_)
            began = time.perf_counter()
            metrics.began()
            try:
                await app(scope, receive, send_with_id)
            finally:
                took_s = time.perf_counter() - began
                route, method = route_of(scope), _method(scope["method"])
                metrics.ended(route, method, status, took_s)
                if log_requests:
                    facts = {"method": method, "route": route, "status": status}
                    log.info("request", extra={**facts, "took_ms": round(took_s * 1000, 1)})
                REQUEST_ID.reset(mark)

        return watched

    return around


def route_of(scope: Scope) -> str:
    """The template of the route that a request was led to, such as `/api/documents/{document_id}`."""
    return scope.get("path_template") or NO_ROUTE


def new_request_id() -> str:
    return secrets.token_hex(8)


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What the client calls its request, if that can stand in a header and a log line as it is; else a new id."""
    given = next((value for name, value in headers if name == b"x-request-id"), b"")
    return given.decode("ascii") if _SANE_ID.fullmatch(given) else new_request_id()


def _method(given: str) -> str:
    return given if given in _METHODS else NO_ROUTE
