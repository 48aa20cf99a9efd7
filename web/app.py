"""The application: every route, and what stands around them."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape
from litestar import Litestar
from litestar.datastructures import CacheControlHeader, State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig
from litestar.types import ASGIApp

from library.errors import AlmanacError
from web import (
    api,
    events,
    files,
    forms,
    health,
    jobs,
    models,
    pages,
    reading,
    readings,
    reindex,
    search,
    suggest,
    uploads,
    verification,
)
from web.batching import Batching
from web.cors import Cors
from web.guards import guard
from web.house import House
from web.observed import observed
from web.opds import routes as opds
from web.openai import routes as openai
from web.openai.described import components
from web.problems import (
    LARGEST_BODY_BYTES,
    almanac_problem,
    http_problem,
    unexpected_problem,
    unreadable_body,
)

_FOLDER = Path(__file__).parent


def guarded_app(house: House, *, log_requests: bool = False, **hooks: Any) -> ASGIApp:
    """The application behind its guards, and observed, as it is served.

    Around and not inside: Litestar's own middleware does not see a request for
    a path that does not exist. What the guards refuse is counted, too.
    """
    guarded = guard(house.host_names, Cors(house.cors_origins))(create_app(house, **hooks))
    return observed(house.metrics, log_requests=log_requests)(guarded)


def create_app(house: House, **hooks: Any) -> Litestar:
    """The Litestar application over an open house. `hooks` are its on_startup and on_shutdown hooks."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return Litestar(
        route_handlers=[
            health.healthz,
            health.readyz,
            health.status,
            readings.metrics,
            api.documents,
            api.document,
            files.document_file,
            api.shelves,
            search.search,
            search.similar,
            suggest.suggest,
            api.passage,
            api.scan,
            api.ask,
            jobs.jobs,
            jobs.pause,
            jobs.resume,
            jobs.cancel_all,
            jobs.retry_all,
            jobs.retry,
            jobs.cancel,
            verification.verify,
            reindex.reindexing,
            reindex.reindex,
            reindex.cancel_reindex,
            uploads.upload,
            events.events,
            *models.ROUTES,
            *opds.ROUTES,
            *openai.ROUTES,
            pages.front,
            pages.library,
            reading.read,
            reading.find,
            reading.picture,
            reading.file,
            reading.cover,
            forms.upload,
            forms.ingest,
            create_static_files_router(
                path="/static",
                directories=[_FOLDER / "static"],
                cache_control=CacheControlHeader(no_cache=True),
                include_in_schema=False,
            ),
        ],
        state=State(
            {"house": house, "watch": events.Watch(house), "slips": uploads.Slips(), "batching": Batching()}
        ),
        template_config=TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment)),
        exception_handlers={
            AlmanacError: almanac_problem,
            HTTPException: http_problem,
            RecursionError: unreadable_body,
            UnicodeDecodeError: unreadable_body,
            Exception: unexpected_problem,
        },
        request_max_body_size=LARGEST_BODY_BYTES,
        logging_config=None,  # appliance.serve configures logging, once
        # The schema as plain JSON; Litestar's own pages for it load from a CDN.
        openapi_config=OpenAPIConfig(
            title="Almanac",
            version=house.version,
            path="/api/schema",
            render_plugins=[JsonRenderPlugin()],
            components=components(openai.ROUTES),
        ),
        **hooks,
    )
