"""Where the vectors live: in this process, or on a Qdrant server; and where they are wanted.

The record says where the serving vectors are. The configuration says where
they are wanted, until a reader says otherwise (`almanac reindex --to`): that
word is kept with the configuration it was spoken against, and holds until the
configuration says something new.
"""

import os
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from appliance.config import Config
from library.errors import ConfigurationError, InvalidRequest
from library.facts import Facts
from search.vectors import VectorIndex
from search.vectors.server import ServerIndex, ServerSettings

HERE = ""  # the address of an index in this process
KEY_VARIABLE = "ALMANAC_VECTOR_KEY"
_LIBRARY = "library.id"
_CHOSEN = "vectors.chosen"  # the fact that keeps a reader's word


class _Chosen(msgspec.Struct, frozen=True):
    to: str
    configured: str  # what `search.vector_url` said then


def wanted_address(config: Config, facts: Facts) -> str:
    """Where the vectors are wanted."""
    kept = facts.get(_CHOSEN)
    if kept is not None:
        chosen = msgspec.json.decode(kept, type=_Chosen)
        if chosen.configured == config.search.vector_url:
            return chosen.to
    return config.search.vector_url


def choose(config: Config, facts: Facts, address: str) -> None:
    """Keep a reader's word, also over a restart."""
    chosen = _Chosen(address, config.search.vector_url)
    facts.put(_CHOSEN, msgspec.json.encode(chosen).decode())


def checked_address(url: str) -> str:
    """Raises InvalidRequest for what is no address of a server."""
    try:
        parts = urlsplit(url)
        sound = (
            parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        sound = False
    if not sound or any(char.isspace() for char in url) or len(url) > 500:
        raise InvalidRequest("to", "must be the address of a Qdrant server, such as http://nas.lan:6333.")
    return url


def index_folder(config: Config, generation: str) -> Path:
    return config.data / "index" / "vectors" / generation


def open_index(
    config: Config, facts: Facts, address: str, *, generation: str, dimensions: int
) -> VectorIndex:
    """Raises IndexUnavailable when an index here is damaged; a server is not asked anything yet."""
    if address != HERE:
        settings = server_settings(config, address)
        return ServerIndex(settings, model=generation, dimensions=dimensions, owner=_library(facts))
    from search.vectors.edge import EdgeIndex  # noqa: PLC0415 - a house with a server never loads it

    return EdgeIndex(index_folder(config, generation), dimensions=dimensions)


def server_settings(config: Config, url: str) -> ServerSettings:
    """Raises ConfigurationError when a file that is named cannot be read."""
    given = config.search.vector_server
    if given.ca_file and not Path(given.ca_file).is_file():
        raise ConfigurationError(
            "search.vector_server.ca_file", f"names {given.ca_file}, which is not there."
        )
    return ServerSettings(
        url=url,
        key=_key(given.key_file),
        ca_file=given.ca_file,
        timeout_s=given.timeout_s,
        collection=given.collection,
        shards=given.shards,
        replicas=given.replicas,
        write_replicas=given.write_replicas,
        on_disk=given.on_disk,
        quantised=given.quantised,
    )


def _library(facts: Facts) -> str:
    """The id of this library, by which it knows its collections from those of other houses."""
    if (known := facts.get(_LIBRARY)) is None:
        known = str(uuid.uuid4())
        facts.put(_LIBRARY, known)
    return known


def _key(file: str) -> str:
    """The environment's, else the file's; never in almanac.toml itself, which is shown and copied about."""
    if key := os.environ.get(KEY_VARIABLE):
        return key
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigurationError(
            "search.vector_server.key_file", f"names {file}, which cannot be read: {reason}."
        ) from error
