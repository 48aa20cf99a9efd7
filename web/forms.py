"""Forms: what the library page's plain forms do, so that it works without any script.

Every one ends in a redirect to the page, so that going back or reloading
sends nothing twice. Scripts send the same forms and read the page that comes.
"""

from typing import Annotated, Any

from litestar import Request, post
from litestar.datastructures import State
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromQuery, QueryParameter
from litestar.response import Redirect

from library.errors import InvalidRequest
from web.house import House
from web.jobs import decide
from web.pages import href
from web.uploads import Slips, received


@post("/library/uploads", request_max_body_size=None)
async def upload(request: Request[Any, Any, State], state: State, shelf: FromQuery[str] = "") -> Redirect:
    """Store the files of the form, and show the library with what became of each."""
    slips: Slips = state.slips
    slip = slips.keep(await received(request, state.house))
    return Redirect(href("/library", {"shelf": shelf, "uploaded": slip}), status_code=303)


@post("/library/ingest", sync_to_thread=True)
def ingest(
    state: State,
    data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
    shelf: FromQuery[str] = "",
    document_state: Annotated[str, QueryParameter(name="state")] = "",
    q: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
) -> Redirect:
    """Pause, resume, retry or cancel: all of it, or one document."""
    house: House = state.house
    match data.get("do"), data.get("document"):
        case "retry" | "cancel" as what, str(document_id):
            decide(house, document_id, what)
        case "pause", None:
            house.pipeline.pause()
        case "resume", None:
            house.pipeline.resume()
        case "retry", None:
            house.pipeline.retry()
        case "cancel", None:
            house.pipeline.cancel()
        case "cancel-reindex", None:
            house.upkeep.reindexer.cancel()
        case _:
            raise InvalidRequest("do", "must be pause, resume, retry, cancel or cancel-reindex.")
    back = {"shelf": shelf, "state": document_state, "q": q, "cursor": cursor}
    return Redirect(href("/library", back), status_code=303)
