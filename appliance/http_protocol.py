"""The HTTP protocol: uvicorn's, with a sentence for what cannot be read as a request.

Such bytes never reach the application, so what it would have said is said
here, in the same form. Its hard rule: the head of a request is bounded, since
nobody counts it before it is whole.
"""

from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from web.guards import HEADERS
from web.observed import new_request_id

LONGEST_TARGET_BYTES = 65_535  # httptools refuses a longer one by itself, without saying why
LONGEST_HEAD_BYTES = 256 * 1024


class _TooLong(Exception):
    """Ends the parser; uvicorn then asks for the response below."""


class SpokenProtocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > LONGEST_TARGET_BYTES:
            raise _TooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > LONGEST_HEAD_BYTES:
            raise _TooLong

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words help nobody
        status, sentence = self._refusal()
        problem = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "code": status.phrase.lower().replace(" ", "_"),
            "detail": sentence,
        }
        body = msgspec.json.encode(problem)
        headers = HEADERS | {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "connection": "close",
            "x-request-id": new_request_id(),
        }
        head = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{k}: {v}" for k, v in headers.items())]
        self.transport.write("\r\n".join([*head, "", ""]).encode("ascii") + body)
        self.transport.close()

    def _refusal(self) -> tuple[HTTPStatus, str]:
        if len(getattr(self, "url", b"")) > LONGEST_TARGET_BYTES:
            return (
                HTTPStatus.REQUEST_URI_TOO_LONG,
                "The address is longer than 64 kB. Ask with fewer words; the first few hundred decide.",
            )
        if getattr(self, "_head_bytes", 0) > LONGEST_HEAD_BYTES:
            return (
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The headers are longer than 256 kB. Send fewer or shorter ones.",
            )
        return (
            HTTPStatus.BAD_REQUEST,
            "This is no HTTP request that can be read. Percent-encode what is not ASCII in an address.",
        )
