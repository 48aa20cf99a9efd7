"""Serve: the house opened, and uvicorn in front of it until it is told to stop.

Knows the order of starting and stopping and nothing of the work itself. The
port is bound before anything heavy is opened, so that a port in use is said at
once; the models load while pages are served already.
"""

import asyncio
import logging
import math
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from types import FrameType

import uvicorn

from appliance.chat_model import chosen_model, open_models, open_registry, passed_over
from appliance.config import Config
from appliance.http_protocol import SpokenProtocol
from appliance.memory import keep_memory_together
from appliance.reading_room import open_reading_room
from appliance.schedule import rescanning
from appliance.stacks import open_embedder_in_background, open_stacks
from ingest.landing import Landing
from library.errors import SetupError
from llm.answering.answer import Answerer
from llm.serving.response_cache import ResponseCache
from search.suggestions import Suggestions
from web.app import guarded_app
from web.house import House
from web.leaving import Closing
from web.metrics import Metrics

log = logging.getLogger(__name__)

_LAST_WORDS_S = 4  # for answers that are still being sent after the model was told to stop


def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT. Raises SetupError and ConfigurationError before the first page."""
    # Until uvicorn listens to signals itself, being told to stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keep_memory_together()
    registry = open_registry(config)
    metrics = Metrics()
    chosen_model(config, registry)  # a wrong one is said before anything is opened
    if config.llm.enabled:
        for why in passed_over(registry):
            log.warning("Passed over: %s", why)
    with _bound(config) as listener, ExitStack() as opened:
        stacks = opened.enter_context(open_stacks(config, on_searched=metrics.searched))
        room = opened.enter_context(open_reading_room(config, stacks))
        opened.enter_context(rescanning(room.inbox, every_minutes=config.ingest.rescan_minutes))
        open_embedder_in_background(stacks)
        models = open_models(config, registry, stacks.facts, metrics.spoken)
        landing = Landing(
            config.library,
            max_file_mib=config.ingest.max_file_mib,
            min_free_mib=config.ingest.min_free_mib,
        )
        landing.remove_leftovers()
        registry.compare_in_background()
        house = House(
            version=version("almanac"),
            started_at=datetime.now(UTC),
            library_folder=config.library,
            host_names=config.server.host_names,
            cors_origins=config.server.cors_origins,
            folder=room.folder,
            catalogue=stacks.catalogue,
            holdings=stacks.holdings,
            excerpts=stacks.excerpts,
            jobs=stacks.jobs,
            words=stacks.words,
            meaning=stacks.meaning,
            retriever=stacks.retriever,
            suggestions=Suggestions(stacks.words, stacks.excerpts),
            precedence=stacks.precedence,
            inbox=room.inbox,
            pipeline=room.pipeline,
            models=models,
            model_files=registry,
            answerer=Answerer(
                stacks.retriever,
                models,
                stacks.precedence,
                passages=config.llm.passages,
                max_answer_tokens=config.llm.max_answer_tokens,
            ),
            response_cache=ResponseCache(config.llm.cache),
            landing=landing,
            renderer=room.renderer,
            verification=room.verification,
            upkeep=room.upkeep,
            verifying=threading.Lock(),
            closing=Closing(),
            metrics=metrics,
        )
        app = guarded_app(
            house,
            log_requests=config.server.log_requests,
            on_startup=[models.start],
            on_shutdown=[models.stop],
        )
        settings = uvicorn.Config(
            app,
            http=SpokenProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_graceful_shutdown=math.ceil(config.llm.queue.drain_s) + _LAST_WORDS_S,
            timeout_keep_alive=30,
        )
        host, port = listener.getsockname()[:2]
        print(f"Almanac is open: http://{host}:{port}   (library folder: {config.library})", flush=True)
        _Server(settings, house).run(sockets=[listener])
        print("Almanac is closed.", flush=True)


class _Server(uvicorn.Server):
    """uvicorn, closing the queue and then the model first: answers under way have a while to end, then are told so.

    Who still waits for the model is told at once, and live pages are let go.
    """

    def __init__(self, settings: uvicorn.Config, house: House) -> None:
        super().__init__(settings)
        self._house = house
        self._stopping: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._stopping is None:
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(self._house.closing.begin)
            self._stopping = loop.create_task(self._close())

    async def _close(self) -> None:
        self._house.models.close()
        await self._house.models.drained()
        await self._house.models.stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was obeyed is not raised again: the exit code is ours."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


@contextmanager
def _bound(config: Config) -> Iterator[socket.socket]:
    host, port = config.server.host, config.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise SetupError(
                f"Port {port} on {host} cannot be used: {error.strerror}. "
                "Stop what is using it, or choose another with --port or `server.port`."
            ) from error
        listener.listen(1024)
        yield listener
