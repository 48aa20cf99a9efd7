"""Problems: every error's way out, in the form that its asker understands.

A page for a browser, `application/problem+json` (RFC 9457) for the API,
OpenAI's envelope below /v1. Its hard rule: a reader never sees a traceback,
and a mistake of theirs is never a 500.
"""

import logging
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Template

from library import errors
from llm.events import Failed
from web.observed import route_of

log = logging.getLogger(__name__)

# Most specific first; a test fails when a class of the tree is left out.
STATUS: dict[type[errors.AlmanacError], int] = {
    errors.NotFoundError: 404,
    errors.ModelNotFound: 404,
    errors.InvalidRequest: 400,
    errors.StateConflict: 409,
    errors.Busy: 409,
    errors.NotRunning: 409,
    errors.OnlyFromHere: 403,
    errors.UnreadableFile: 422,
    errors.ModelFileInvalid: 422,
    errors.ModelUnavailable: 503,
    errors.ModelFailed: 502,
    errors.Overloaded: 429,
    errors.ModelError: 502,
    errors.IndexUnavailable: 503,
    errors.RecordError: 503,
    errors.ConfigurationError: 500,
    errors.SetupError: 500,
    errors.AlmanacError: 500,
}


# OpenAI's types of errors, where the status says more than whose mistake it was.
_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

# Litestar keeps the argument names `state` and `query` for itself.
_PARAMETERS = {"document_state": "state", "typed": "query"}
_BODY = "data"  # Litestar's name for it, which nobody sends


LARGEST_BODY_BYTES = 4 * 1024 * 1024  # of a request, uploads aside
LARGEST_WITH_PICTURES_BYTES = 8 * 1024 * 1024  # of one that may show a model pictures
_PICTURES_AT = frozenset({"/v1/chat/completions", "/v1/responses"})


def status_of(error: errors.AlmanacError) -> int:
    return next(status for class_, status in STATUS.items() if isinstance(error, class_))


def almanac_problem(request: Request[Any, Any, Any], error: errors.AlmanacError) -> Response[Any]:
    parameter = getattr(error, "parameter", None) or (
        "model" if isinstance(error, errors.ModelNotFound) else None
    )
    headers = _retry_after(error.retry_after_s) if isinstance(error, errors.Overloaded) else None
    return _respond(request, status_of(error), error.code, str(error), parameter, headers)


def failed_problem(request: Request[Any, Any, Any], failed: Failed) -> Response[Any]:
    """An answer that failed before its first word, while it can still have a status."""
    headers = _retry_after(failed.retry_after_s) if failed.retry_after_s else None
    return _respond(request, failed_status(failed), failed.code, failed.message, None, headers)


def failed_status(failed: Failed) -> int:
    """A request that the engine refused is the asker's to mend; everything else is ours."""
    if failed.retry_after_s:
        return 429
    return 400 if failed.code == errors.InvalidRequest.code else 503


def http_problem(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    detail, parameter = f"{error.detail.rstrip('.')}.", None
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.url.path}."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow") or (error.headers or {}).get("allow")
        detail = f"{request.method} is not done at {request.url.path}" + (
            f", but {allowed}." if allowed else "."
        )
    elif error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        shown = request.url.path in _PICTURES_AT
        most = f"{LARGEST_WITH_PICTURES_BYTES >> 20} MiB with its pictures, or than " if shown else ""
        without = " without" if shown else ""
        detail = f"The body is longer than {most}{LARGEST_BODY_BYTES >> 20} MiB{without}. Send less at once."
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        first = error.extra[0]
        named = str(first.get("key") or "")
        parameter = _PARAMETERS.get(named, named) or None
        said = str(first.get("message", "is not valid")).rstrip(".")
        detail = f"`{parameter}`: {said}." if parameter else f"{said}."
        if parameter == _BODY:
            detail = "The body is empty." if said == f"'{_BODY}'" else f"The body is not valid: {said}."
            parameter = None
    return _respond(request, error.status_code, code, detail, parameter, dict(error.headers or {}))


def unreadable_body(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What the JSON decoder raises beside its own errors: nesting without end, bytes that are no text."""
    if request.method in ("GET", "HEAD"):  # then it was not the body, and the mistake is ours
        return unexpected_problem(request, error)
    return _respond(request, 400, "request_invalid", "The body is not JSON that can be read.", None)


def unexpected_problem(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    log.error("unexpected error", extra={"route": route_of(request.scope)}, exc_info=error)
    sentence = "Something went wrong inside Almanac. Its log says more; please report it."
    return _respond(request, 500, "internal_error", sentence, None)


def openai_error(status: int, message: str, code: str | None, param: str | None) -> dict[str, Any]:
    """OpenAI's envelope, with its types."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _retry_after(seconds: int) -> dict[str, str]:
    return {"retry-after": str(seconds)}


def _respond(
    request: Request[Any, Any, Any],
    status: int,
    code: str,
    sentence: str,
    parameter: str | None,
    headers: dict[str, str] | None = None,
) -> Response[Any]:
    path = request.url.path
    if path == "/v1" or path.startswith("/v1/"):
        return Response(openai_error(status, sentence, code, parameter), status_code=status, headers=headers)
    if not path.startswith("/api/") and "text/html" in request.headers.get("accept", ""):
        context = {
            "status": status,
            "title": HTTPStatus(status).phrase,
            "sentence": sentence,
            "version": request.app.state.house.version,
        }
        return Template("error.html", context=context, status_code=status, headers=headers)
    problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    problem |= {"code": code, "detail": sentence} | ({"parameter": parameter} if parameter else {})
    return Response(problem, status_code=status, media_type="application/problem+json", headers=headers)
