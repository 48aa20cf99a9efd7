"""A remote engine: any server that speaks OpenAI's protocol, by its URL.

Keeps no process, and asks only the host that the configuration names. Its hard
rule: while the server does not answer, `engine()` says so in a sentence instead
of waiting; it is asked again and again until it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from library.errors import ModelUnavailable
from llm.engines.model_state import ModelState
from llm.engines.spoken import Spoken
from llm.model_files.eyes import Eyes

if TYPE_CHECKING:
    from llm.engines.engine import Engine

log = logging.getLogger(__name__)

_ASKED_AGAIN_S = 5
_FIRST_ANSWER_S = 5


class RemoteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A server, as the configuration names it. Every key is explained in docs/configuration.md."""

    name: Annotated[str, Meta(pattern=r"^[^\s/:][^\s:]*$", max_length=120)]  # what requests call the model
    url: Annotated[str, Meta(pattern=r"^https?://[^\s/]+(/\S*)?$")]
    model: str = ""  # what the server calls it; "": as we do
    key_file: str = ""
    ca_file: str = ""
    context_tokens: Annotated[int, Meta(ge=512)] = 4096
    parallel: Annotated[int, Meta(ge=1, le=256)] = 4

    @property
    def shown(self) -> str:
        """Its address as anybody may read it: never with a name and a password in it."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


class RemoteModel:
    """One model on a remote engine, watched. All methods belong to one event loop."""

    def __init__(
        self,
        settings: RemoteSettings,
        *,
        silence_s: float = 600,
        on_spoken: Callable[[Spoken], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.settled = asyncio.Event()
        self._silence_s, self._on_spoken = silence_s, on_spoken
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._become(ModelState.STOPPED, f"The engine at {settings.shown} has not been asked yet.")

    @property
    def model_id(self) -> str:
        return self.settings.name

    @property
    def model_file(self) -> Path | None:
        return None

    @property
    def state(self) -> ModelState:
        return self._state

    @property
    def reason(self) -> str | None:
        return self._reason

    @property
    def device(self) -> str | None:
        return f"the engine at {self.settings.shown}"

    @property
    def eyes(self) -> Eyes | None:
        return None

    @property
    def pid(self) -> int | None:
        return None

    def engine(self) -> Engine:
        """Raises ModelUnavailable with the reason while the server does not answer."""
        if self._engine is None or self._state is not ModelState.READY:
            raise ModelUnavailable(self._reason or "The chat model is not ready.")
        return self._engine

    async def engine_back(self, within_s: float) -> Engine:
        """The same, awaited while it is being asked for the first time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.settled.wait()
        return self.engine()

    async def start(self) -> None:
        """Begin to ask the server whether it is there, and return at once."""
        if self._task is not None and not self._task.done():
            return
        self._become(ModelState.LOADING, f"The engine at {self.settings.shown} is being asked.")
        self._task = asyncio.create_task(self._keep(), name=f"remote model {self.model_id}")

    async def stop(self) -> None:
        """End it, answers under way included."""
        self._become(ModelState.STOPPED, "The chat model has been stopped.")
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _keep(self) -> None:
        try:
            engine = _engine(self.settings, silence_s=self._silence_s, on_spoken=self._on_spoken)
        except ModelUnavailable as error:
            self._become(ModelState.FAILED, str(error))
            return
        try:
            while True:
                trouble = await engine.trouble(within_s=_FIRST_ANSWER_S)
                if trouble is None:
                    self._engine = engine
                    self._become(ModelState.READY, None)
                else:
                    self._become(ModelState.FAILED, f"The engine at {self.settings.shown} {trouble}")
                await asyncio.sleep(_ASKED_AGAIN_S)
        finally:
            self._engine = None
            await engine.aclose()

    def _become(self, state: ModelState, reason: str | None) -> None:
        before = getattr(self, "_state", None)
        if state is not before and state in {ModelState.READY, ModelState.FAILED}:
            log.info("The remote model %s is %s. %s", self.model_id, state.value, reason or "")
        self._state, self._reason = state, reason
        if state is ModelState.LOADING:
            self.settled.clear()
        else:
            self.settled.set()


async def remote_trouble(settings: RemoteSettings) -> str | None:
    """What is wrong with a remote engine right now, as the end of a sentence; None if it can be asked."""
    try:
        engine = _engine(settings)
    except ModelUnavailable as error:
        return f"cannot be asked: {error}"
    try:
        return await engine.trouble(within_s=_FIRST_ANSWER_S)
    finally:
        await engine.aclose()


def _engine(
    settings: RemoteSettings,
    *,
    silence_s: float = 600,
    on_spoken: Callable[[Spoken], None] = lambda _: None,
) -> Engine:
    """Raises ModelUnavailable when its key or its certificate cannot be read."""
    from llm.engines.engine import Engine  # noqa: PLC0415 - its client library would hold up the first page

    try:
        return Engine.remote(
            settings.url,
            settings.name,
            settings.context_tokens,
            model=settings.model or settings.name,
            key=Path(settings.key_file).read_text(encoding="utf-8").strip() if settings.key_file else "",
            ca_file=settings.ca_file,
            silence_s=silence_s,
            on_spoken=on_spoken,
        )
    except (OSError, UnicodeDecodeError) as error:
        file = settings.ca_file if isinstance(error, ssl.SSLError) else getattr(error, "filename", None)
        why = getattr(error, "strerror", None) or str(error)
        raise ModelUnavailable(f"The file {file or settings.ca_file} cannot be used: {why}.") from error
