"""The catalogue for reading devices: OPDS 1.2 below /opds, OPDS 2.0 below /opds/v2.

Routes only: what a feed holds is `web.opds.lists`, how it is written
`web.opds.as_atom` and `web.opds.as_json`. Each answer has a validator and may be
asked for with HEAD. There is no Last-Modified: KOReader keeps a feed for as
long as that header stays the same, and within one second a library can change.
"""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Literal

from litestar import Request, Response, route
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery, QueryParameter

from library.errors import FileGone
from library.holdings import Choice
from library.values import DocumentState
from web.files import is_same
from web.opds import as_atom, as_json
from web.opds.feed import Feed
from web.opds.lists import LISTS, Asked, root

_BOTH: tuple[Literal["GET"], Literal["HEAD"]] = ("GET", "HEAD")


@route("/opds", http_method=_BOTH, sync_to_thread=True)
def atom_root(request: Request[Any, Any, State], state: State) -> Response[bytes]:
    """The catalogue's root, OPDS 1.2."""
    return _atom(request, root(state.house, Asked()))


@route("/opds/{page:str}", http_method=_BOTH, sync_to_thread=True)
def atom_feed(
    request: Request[Any, Any, State],
    state: State,
    page: FromPath[str],
    q: FromQuery[str] = "",
    shelf: FromQuery[str | None] = None,
    author: FromQuery[str | None] = None,
    language: FromQuery[str | None] = None,
    format: FromQuery[str | None] = None,  # noqa: A002 - the parameter's public name
    letter: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """A feed, OPDS 1.2."""
    choice = _choice(shelf, author, language, format, letter)
    return _atom(request, _list(page)(state.house, Asked(choice, q, cursor or None)))


@route("/opds/opensearch.xml", http_method=_BOTH, sync_to_thread=True)
def search_description(request: Request[Any, Any, State]) -> Response[bytes]:
    """How to search, for clients that ask OpenSearch."""
    return _answer(request, as_atom.search_description(_origin(request)), as_atom.DESCRIPTION)


@route("/opds/documents/{document_id:str}", http_method=_BOTH, sync_to_thread=True)
def atom_entry(
    request: Request[Any, Any, State], state: State, document_id: FromPath[str]
) -> Response[bytes]:
    """One document, OPDS 1.2."""
    return _answer(request, as_atom.entry_document(_document(state, document_id)), as_atom.ENTRY)


@route("/opds/v2", http_method=_BOTH, sync_to_thread=True)
def json_root(request: Request[Any, Any, State], state: State) -> Response[bytes]:
    """The catalogue's root, OPDS 2.0."""
    return _json(request, root(state.house, Asked()))


@route("/opds/v2/{page:str}", http_method=_BOTH, sync_to_thread=True)
def json_feed(
    request: Request[Any, Any, State],
    state: State,
    page: FromPath[str],
    q: FromQuery[str] = "",
    typed: Annotated[str, QueryParameter(name="query")] = "",
    shelf: FromQuery[str | None] = None,
    author: FromQuery[str | None] = None,
    language: FromQuery[str | None] = None,
    format: FromQuery[str | None] = None,  # noqa: A002 - the parameter's public name
    letter: FromQuery[str | None] = None,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """A feed, OPDS 2.0. `query` is what that version's search template says; the feed's own links say `q`."""
    choice = _choice(shelf, author, language, format, letter)
    return _json(request, _list(page)(state.house, Asked(choice, typed or q, cursor or None)))


@route("/opds/v2/documents/{document_id:str}", http_method=_BOTH, sync_to_thread=True)
def json_publication(
    request: Request[Any, Any, State], state: State, document_id: FromPath[str]
) -> Response[bytes]:
    """One document, OPDS 2.0."""
    told = as_json.publication_document(_document(state, document_id), _origin(request))
    return _answer(request, told, as_json.PUBLICATION)


ROUTES = [
    atom_root,
    atom_feed,
    search_description,
    atom_entry,
    json_root,
    json_feed,
    json_publication,
]


def address(request: Request[Any, Any, Any]) -> str:
    """What to type into a reading device that reaches this house by the name this asker uses."""
    return f"{_origin(request)}/opds"


def _origin(request: Request[Any, Any, Any]) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', '')}"  # which the guards have looked at


def _list(page: str) -> Callable[..., Feed]:
    try:
        return LISTS[page]
    except KeyError as error:
        raise NotFoundException from error


def _choice(
    shelf: str | None, author: str | None, language: str | None, format_: str | None, letter: str | None
) -> Choice:
    return Choice(shelf or None, author or None, language or None, format_ or None, letter or None)


def _document(state: State, document_id: str) -> Any:
    document = state.house.catalogue.document(document_id)
    if document.state is DocumentState.MISSING:
        raise FileGone(document.path)
    return document


def _atom(request: Request[Any, Any, Any], feed: Feed) -> Response[bytes]:
    return _answer(request, as_atom.feed_document(feed), as_atom.media_type_of(feed))


def _json(request: Request[Any, Any, Any], feed: Feed) -> Response[bytes]:
    return _answer(request, as_json.feed_document(feed, _origin(request)), as_json.FEED)


def _answer(request: Request[Any, Any, Any], body: bytes, media_type: str) -> Response[bytes]:
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    if is_same(request.headers.get("if-none-match", ""), etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)
