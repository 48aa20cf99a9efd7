"""CORS: which pages of other origins a browser may let at /v1, and what it is told so.

Pure: knows headers and origins, not the requests they belong to; `web.guards`
asks it. Its hard rules: only what `server.cors_origins` names, only below /v1,
and never with credentials; without the setting no answer differs by a byte.
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

Headers = list[tuple[bytes, bytes]]

ANYBODY = "*"
_BELOW = "/v1/"
_METHODS = b"GET, POST"
# What clients of the API send unasked. `x-stainless-*` are those of OpenAI's own.
_ASKED = frozenset(
    {
        "accept",
        "authorization",
        "cache-control",
        "content-type",
        "openai-beta",
        "openai-organization",
        "openai-project",
        "user-agent",
        "x-request-id",
    }
)
_ASKED_BY_OPENAI = re.compile(r"x-stainless-[a-z-]{1,40}")
_TOLD = b"x-request-id, almanac-ignored, almanac-cache, retry-after"
_REMEMBERED_S = b"600"  # for which a browser need not ask again
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_USUAL_PORTS = {"http": "80", "https": "443"}


def wrong_origins(origins: Sequence[str]) -> str | None:
    """A sentence on the first that no browser would ever send; None when all are as they should be."""
    for origin in origins:
        if origin == ANYBODY:
            if len(origins) > 1:
                return '"*" permits every origin, so it stands alone.'
            continue
        if origin == "null":
            return '"null" is no origin: any page can make itself one. Serve the page from an address.'
        if not _is_sent(origin):
            return f"{origin!r} is no origin as browsers send it. Write {_meant(origin)}."
    return None


def _is_sent(origin: str) -> bool:
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return False
    scheme, port = found[1], found[3]
    return port is None or (int(port) <= 65535 and port != _USUAL_PORTS.get(scheme))


def _meant(origin: str) -> str:
    """What the writer may have had in mind."""
    try:
        parts = urlsplit(origin.lower())
        host = parts.netloc.removesuffix(f":{_USUAL_PORTS.get(parts.scheme)}")
        guess = f"{parts.scheme}://{host}"
    except ValueError:
        guess = ""
    return (
        guess if _is_sent(guess) else 'a scheme and a host, such as "https://chat.lan" or "app://obsidian.md"'
    )


class Cors:
    def __init__(self, origins: Sequence[str]) -> None:
        """`origins` as `wrong_origins` lets them pass."""
        self._origins, self._anybody = frozenset(origins), ANYBODY in origins

    def permits(self, path: str, origin: str | None) -> bool:
        """Whether pages of this origin may use what is at this path, reading and writing."""
        return bool(origin) and path.startswith(_BELOW) and (self._anybody or origin in self._origins)

    def headers(self, path: str, origin: str | None) -> Headers:
        """What every answer at this path carries, errors and streams included."""
        if not self._origins or not path.startswith(_BELOW):
            return []
        varies = [] if self._anybody else [(b"vary", b"Origin")]
        if not self.permits(path, origin):
            return varies
        allowed = ANYBODY if self._anybody else origin or ""
        return [
            *varies,
            (b"access-control-allow-origin", allowed.encode("latin-1")),
            (b"access-control-expose-headers", _TOLD),
        ]

    def preflight(self, method: str, path: str, headers: Mapping[str, str]) -> Headers | None:
        """The answer to a browser that asks whether a page may; None where that is not what is asked.

        A browser that is not told of a header or a method lets the page use neither.
        """
        asks = method == "OPTIONS" and "access-control-request-method" in headers
        if not asks or not self.permits(path, headers.get("origin")):
            return None
        names = (
            name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")
        )
        allowed = [name for name in names if name in _ASKED or _ASKED_BY_OPENAI.fullmatch(name)]
        answer = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", _REMEMBERED_S),
            (b"vary", b"Access-Control-Request-Headers"),
        ]
        if allowed:
            answer.append((b"access-control-allow-headers", ", ".join(allowed).encode()))
        if headers.get("access-control-request-private-network") == "true":
            # From a page of the world's into a house: permitted by name, like everything here.
            answer.append((b"access-control-allow-private-network", b"true"))
        return answer
