"""Preflight: what the machine and the configuration are like, before anything is started.

Looks and tells; changes nothing but for a probe file that it removes again.
"""

import asyncio
import enum
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from appliance.chat_model import absence, chosen_by_hand, chosen_model, open_registry, passed_over
from appliance.config import Config
from appliance.embedding_models import embedding_model_folder
from appliance.stacks import reranker_of
from appliance.vector_places import server_settings
from library.errors import AlmanacError
from llm.engines.choice import worker_of
from llm.engines.devices import gpu_nodes, gpus_found
from llm.engines.remote import remote_trouble
from llm.model_files.card import inspect_chat_model
from llm.model_files.footprint import Fit
from llm.model_files.free_memory import free_memory
from llm.serving.listing import NO_TEMPLATE
from search.embedder import MODEL_FILE, TOKENIZER_FILE
from search.vectors.server import reach
from search.vectors.troubles import shown

_TIGHT_DISK_MIB = 1024
_TIGHT_MEMORY_MIB = 1024
_USUAL_WATCHES = 8192


class Outcome(enum.StrEnum):
    GO = "go"
    TIGHT = "tight"
    NO = "no"


class Finding(msgspec.Struct, frozen=True):
    part: str
    outcome: Outcome
    says: str


def preflight(config: Config) -> list[Finding]:
    """What was found, part by part, in the order in which a start would need it."""
    return [
        _writable("data", config.data),
        _writable("library", config.library),
        _port(config),
        *_room(config),
        _embedder(config),
        *_reranker(config),
        *_vector_server(config),
        *_models(config),
        *_gpu(config),
        *_watches(),
    ]


def _writable(part: str, folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".almanac-"):
            pass
    except OSError as error:
        return Finding(part, Outcome.NO, f"{existing} cannot be written: {error.strerror}.")
    return Finding(part, Outcome.GO, str(folder))


def _port(config: Config) -> Finding:
    host, port = config.server.host, config.server.port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Finding("port", Outcome.NO, f"{host}:{port} cannot be used: {error.strerror}.")
    return Finding("port", Outcome.GO, f"{host}:{port}")


def _room(config: Config) -> Iterator[Finding]:
    existing = next(path for path in (config.data, *config.data.parents) if path.exists())
    free_mib = shutil.disk_usage(existing).free // 2**20
    outcome = Outcome.GO if free_mib > _TIGHT_DISK_MIB else Outcome.TIGHT
    yield Finding("disk", outcome, f"{free_mib} MiB free for the record and the indexes.")
    memory = free_memory()
    outcome = Outcome.GO if memory is None or memory > _TIGHT_MEMORY_MIB * 2**20 else Outcome.TIGHT
    free = "" if memory is None else f"{memory // 2**20} MiB free; "
    yield Finding("memory", outcome, f"{free}{os.cpu_count()} cores.")


def _embedder(config: Config) -> Finding:
    folder = embedding_model_folder(config)
    lacking = [name for name in (MODEL_FILE, TOKENIZER_FILE) if not (folder / name).is_file()]
    if lacking:
        says = f"{', '.join(lacking)} missing in {folder}: search goes by words only. Run `make run` to set it up."
        return Finding("embedder", Outcome.TIGHT, says)
    return Finding("embedder", Outcome.GO, str(folder))


def _reranker(config: Config) -> Iterator[Finding]:
    if (reranker := reranker_of(config)) is None:
        return
    try:
        reranker.open()
    except AlmanacError as error:
        yield Finding("reranker", Outcome.TIGHT, f"{error} Until then passages are not read a second time.")
        return
    yield Finding("reranker", Outcome.GO, str(reranker.folder))


def _vector_server(config: Config) -> Iterator[Finding]:
    if not (url := config.search.vector_url):
        return
    try:
        reach(server_settings(config, url))
    except AlmanacError as error:
        yield Finding("vectors", Outcome.TIGHT, f"{error} Until then search goes by words only.")
        return
    yield Finding("vectors", Outcome.GO, shown(url))


def _models(config: Config) -> Iterator[Finding]:
    """The chat model that would be loaded, then what is wrong with the other files."""
    if not config.llm.enabled:
        yield Finding("model", Outcome.TIGHT, "Switched off (`llm.enabled`): answers are quotations.")
        return
    registry = open_registry(config)
    try:
        chosen = chosen_model(config, registry, chosen_by_hand(config))
        card = inspect_chat_model(chosen) if isinstance(chosen, Path) else None
        if card is not None and isinstance(chosen, Path):
            worker_of(card, chosen)  # its engine may not be installed, or not know it
    except AlmanacError as error:
        yield Finding("model", Outcome.NO, str(error))
        return
    if isinstance(chosen, str):
        yield Finding("model", Outcome.GO, f"{chosen}, on another machine.")
    elif chosen is None or card is None:
        yield Finding("model", Outcome.TIGHT, f"{absence(config, registry)} Answers are quotations.")
    else:
        eyes = registry.eyes(chosen)
        estimate = registry.estimate(chosen, card, eyes=eyes)
        outcome = Outcome.GO if estimate.fit is Fit.GO and card.template else Outcome.TIGHT
        told = ", ".join(part for part in (card.architecture, card.quantisation) if part)
        says = " ".join(filter(None, (f"{chosen.name} ({told}).", estimate.says, eyes.says)))
        yield Finding("model", outcome, says if card.template else f"{says} {NO_TEMPLATE}")
    for why in passed_over(registry):
        yield Finding("models", Outcome.TIGHT, why)
    for override in config.llm.overrides:
        if all(model.id != override.name for model in registry.files()):
            says = f"`llm.overrides` names {override.name}, and no model file is called so."
            yield Finding("models", Outcome.TIGHT, says)
    for remote in config.llm.remotes:
        trouble = asyncio.run(remote_trouble(remote))
        says = f"{remote.name}: the engine at {remote.shown} {trouble or 'answers.'}"
        yield Finding("remote", Outcome.TIGHT if trouble else Outcome.GO, says)


def _gpu(config: Config) -> Iterator[Finding]:
    """What the engine could compute on besides the processor, and why not where it looks as if it could."""
    if not (config.llm.enabled and config.llm.uses_gpu):
        return
    found = gpus_found()
    for gpu in found:
        free, total = gpu.free_bytes // 2**20, gpu.total_bytes // 2**20
        yield Finding("gpu", Outcome.GO, f"{gpu.description} ({gpu.name}): {free} of {total} MiB free.")
    if not found and (nodes := gpu_nodes()):
        says = (
            f"There is {', '.join('/dev/' + node for node in nodes)}, but the engine that is installed was built "
            "without it, or cannot reach it. docs/gpu.md says how to install one that can; the CPU is used."
        )
        yield Finding("gpu", Outcome.TIGHT, says)


def _watches() -> Iterator[Finding]:
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    if limit.exists():
        watches = int(limit.read_text())
        outcome = Outcome.GO if watches >= _USUAL_WATCHES else Outcome.TIGHT
        yield Finding("watches", outcome, f"{watches} folders can be watched (fs.inotify.max_user_watches).")
