"""Configuration: one TOML file, read once, into frozen structs.

Knows names, defaults and bounds; opens nothing. Its hard rule: an unknown key
or a wrong value stops the start with the key's full path. Every key is
explained in docs/configuration.md, and a test compares the two.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ingest.limits import Limits
from library.errors import ConfigurationError
from llm.engines.remote import RemoteSettings
from llm.serving.queue import QueueSettings
from llm.serving.response_cache import CacheSettings
from web.cors import wrong_origins

CONFIG_VARIABLE = "ALMANAC_CONFIG"
_USUAL_PLACES = (Path("almanac.toml"), Path("/etc/almanac/almanac.toml"))

_Positive = Annotated[int, Meta(ge=1)]
_NotNegative = Annotated[int, Meta(ge=0)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class ServerConfig(_Part, frozen=True):
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    # Host names under which browsers may reach the appliance, beside IP
    # addresses, localhost and names ending in .local, .lan or .home.arpa.
    host_names: tuple[str, ...] = ()
    # Origins whose pages may use /v1 in a browser; "*" for every page there is.
    cors_origins: tuple[str, ...] = ()
    # A line a request wears out the SD card that many home servers start from: only on request.
    log_requests: bool = False
    log_format: Literal["text", "json"] = "text"


class PathsConfig(_Part, frozen=True):
    data: str = "var"
    library: str = ""  # default: {data}/library
    models: str = ""  # default: {data}/models


class IngestConfig(_Part, frozen=True):
    settle_s: Annotated[float, Meta(ge=0.1, le=600)] = 1.0
    watch: Literal["auto", "events", "polling"] = "auto"
    poll_s: Annotated[float, Meta(ge=1)] = 15.0
    rescan_minutes: Annotated[float, Meta(gt=0)] = 10
    max_file_mib: _Positive = 512
    min_free_mib: Annotated[int, Meta(ge=64)] = 512
    file_timeout_s: Annotated[float, Meta(gt=0)] = 120
    worker_memory_mib: Annotated[int, Meta(ge=256)] = 2048
    threads: _NotNegative = 0  # 0: as many as there are cores
    limits: Limits = Limits()
    readers: Annotated[int, Meta(ge=0, le=64)] = 0  # 0: two, or half the cores, at most four


class VectorServerConfig(_Part, frozen=True):
    """How a Qdrant server is reached, and how it keeps what it is given."""

    key_file: str = ""  # ALMANAC_VECTOR_KEY goes before it
    ca_file: str = ""
    timeout_s: Annotated[float, Meta(gt=0, le=300)] = 10
    collection: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")] = "almanac"
    shards: _Positive = 1
    replicas: _Positive = 1
    write_replicas: _Positive = 1
    on_disk: bool = True
    quantised: bool = True


class SearchConfig(_Part, frozen=True):
    embedding_model: Annotated[str, Meta(pattern="^[^./][^/]*$")] = "all-MiniLM-L6-v2"
    query_threads: _Positive = 1
    # Folder of a cross-encoder inside {models}/rerank; "": passages are not read again.
    reranker: Annotated[str, Meta(pattern="^([^./][^/]*)?$")] = ""
    # A Qdrant server that keeps the vectors; "" keeps them in this process.
    vector_url: Annotated[str, Meta(pattern=r"^(https?://[^\s/]+(/\S*)?)?$")] = ""
    vector_server: VectorServerConfig = VectorServerConfig()


class ModelOverride(_Part, frozen=True):
    """What one model file has otherwise than `llm` says; None: as there."""

    name: Annotated[str, Meta(min_length=1)]
    context_tokens: Annotated[int, Meta(ge=512)] | None = None
    parallel: Annotated[int, Meta(ge=1, le=64)] | None = None
    threads: _NotNegative | None = None
    gpu_layers: Literal["auto"] | _NotNegative | None = None


class LlmConfig(_Part, frozen=True):
    model: str = ""  # a GGUF file; default: the first in {models}/chat
    enabled: bool = True
    context_tokens: Annotated[int, Meta(ge=512)] = 4096
    parallel: Annotated[int, Meta(ge=1, le=64)] = 2
    threads: _NotNegative = 0  # 0: as many as there are cores
    gpu_layers: Literal["auto"] | _NotNegative = "auto"
    on_demand: bool = True  # a request for a model that is not loaded has it loaded
    loaded_at_once: _Positive = 2
    memory_mib: _NotNegative = 0  # for all models together; 0: what is free
    idle_minutes: Annotated[float, Meta(ge=0)] = 30  # 0: never; the default model stays
    overrides: tuple[ModelOverride, ...] = ()
    remotes: tuple[RemoteSettings, ...] = ()
    load_timeout_s: Annotated[float, Meta(gt=0)] = 300
    passages: Annotated[int, Meta(ge=1, le=20)] = 4
    max_answer_tokens: _Positive = 400
    queue: QueueSettings = QueueSettings()
    cache: CacheSettings = CacheSettings()

    @property
    def uses_gpu(self) -> bool:
        """Whether a GPU may compute anything, of any model."""
        return any(
            layers not in (None, 0)
            for layers in (self.gpu_layers, *(one.gpu_layers for one in self.overrides))
        )

    def of(self, name: str) -> "LlmConfig":
        """As it is for the model file of that name."""
        own = next((override for override in self.overrides if override.name == name), None)
        given = {} if own is None else msgspec.structs.asdict(own)
        return msgspec.structs.replace(
            self, **{key: value for key, value in given.items() if key != "name" and value is not None}
        )


class Config(_Part, frozen=True):
    server: ServerConfig = ServerConfig()
    paths: PathsConfig = PathsConfig()
    ingest: IngestConfig = IngestConfig()
    search: SearchConfig = SearchConfig()
    llm: LlmConfig = LlmConfig()

    @property
    def data(self) -> Path:
        return Path(self.paths.data).absolute()

    @property
    def library(self) -> Path:
        return Path(self.paths.library).absolute() if self.paths.library else self.data / "library"

    @property
    def models(self) -> Path:
        return Path(self.paths.models).absolute() if self.paths.models else self.data / "models"


def load_config(path: Path | None = None) -> Config:
    """Read the file that is named, else `ALMANAC_CONFIG`, else a usual place, else the defaults.

    Raises ConfigurationError naming the key, or the file when it is not TOML.
    """
    path = path or _found()
    if path is None:
        return Config()
    try:
        text = path.read_text(encoding="utf-8")
        return _checked(msgspec.convert(tomllib.loads(text), Config), path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError("", f"The configuration file {path} cannot be read: {reason}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError("", f"The configuration file {path} is not valid TOML: {error}.") from error
    except msgspec.ValidationError as error:
        raise _named(error, path) from error


def _found() -> Path | None:
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    return next((place for place in _USUAL_PLACES if place.is_file()), None)


def _checked(config: Config, path: Path) -> Config:
    """What a type cannot say. Raises ConfigurationError."""
    if problem := wrong_origins(config.server.cors_origins):
        raise ConfigurationError("server.cors_origins", f"in {path} is wrong: {problem}")
    taken = {"almanac"}
    for at, remote in enumerate(config.llm.remotes):
        if remote.name in taken:
            whose = "the library's own" if remote.name == "almanac" else "an earlier one's"
            raise ConfigurationError(
                f"llm.remotes[{at}].name", f"in {path} is wrong: {remote.name!r} is {whose}."
            )
        taken.add(remote.name)
    names = [override.name for override in config.llm.overrides]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise ConfigurationError(
                f"llm.overrides[{at}].name", f"in {path} is wrong: {name!r} is there twice."
            )
        if name in taken:
            raise ConfigurationError(
                f"llm.overrides[{at}].name",
                f"in {path} is wrong: {name!r} is no model file. See `llm.remotes`.",
            )
    return config


def _named(error: msgspec.ValidationError, path: Path) -> ConfigurationError:
    """Where msgspec says "Object contains unknown field `x` - at `$.server`"; a reader wants `server.x`."""
    problem, _, place = str(error).partition(" - at `$")
    table = place.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `(.+)`", problem)
    if unknown:
        key = ".".join(part for part in (table, unknown.group(1)) if part)
        return ConfigurationError(
            key, f"in {path} is unknown. See docs/configuration.md for those there are."
        )
    return ConfigurationError(table, f"in {path} is wrong: {problem[0].lower()}{problem[1:]}.")
