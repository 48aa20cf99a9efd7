"""Health: is it there, is it ready, how is it."""

import shutil
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Response, get
from litestar.datastructures import State

from ingest.index_health import vector_health, words_health
from ingest.upkeep import VECTORS, WORDS
from library.errors import IndexUnavailable
from llm.serving.served import ServedModel
from web.house import House
from web.jobs import status_of_ingest


@get("/healthz", sync_to_thread=False)
def healthz() -> dict[str, str]:
    """200 as soon as the process serves."""
    return {"status": "ok"}


@get("/readyz", sync_to_thread=False)
def readyz(state: State) -> Response[dict[str, Any]]:
    """200 when a search goes by words and meaning and an answer can be given; else 503 with what is missing."""
    house: House = state.house
    lacking = house.lacking()
    return Response({"ready": not lacking, "missing": lacking}, status_code=503 if lacking else 200)


def _indexes(house: House) -> dict[str, dict[str, Any]]:
    folders = house.upkeep.folders()
    told = {}
    for side, counted, health in (
        (WORDS, "chunks", words_health(house.upkeep, house.words, folders[WORDS])),
        (VECTORS, "vectors", vector_health(house.upkeep, house.meaning, house.catalogue, folders[VECTORS])),
    ):
        told[side] = msgspec.structs.asdict(health)
        told[side][counted] = told[side].pop("entries")
    return told | {VECTORS: told[VECTORS] | _place(house)}


def _place(house: House) -> dict[str, Any]:
    """Where the vectors are, and what their graph is like."""
    try:
        state = house.vectors.state()
    except IndexUnavailable:
        return {}  # what is said of its health says that, too
    return {
        "place": state.place,
        "trouble": state.trouble,
        "in_graph": state.in_graph,
        "optimising": state.optimising,
    }


@get("/status", sync_to_thread=True)
def status(state: State) -> dict[str, Any]:
    """How the appliance is: state of every part, in figures and sentences."""
    house: House = state.house
    now, ingest = datetime.now(UTC), status_of_ingest(house)
    chunks, embedded = house.catalogue.indexed_totals()
    disk = shutil.disk_usage(house.library_folder if house.library_folder.exists() else "/")
    return {
        "version": house.version,
        "started_at": house.started_at,
        "uptime_s": round((now - house.started_at).total_seconds(), 1),
        "ready": not house.lacking(),
        "degraded": house.notices(),
        "documents": ingest["documents"],
        "chunks": chunks,
        "vectors": embedded,
        "indexes": _indexes(house),
        "embedder": {"ready": house.embedder.ready, "reason": house.embedder.error},
        "model": _model(house, house.models.default) | {"queue": house.models.load()},
        "models": [
            _model(house, model) | {"queue": model.turns.load()}
            for model in house.models.served()
            if model.id
        ],
        "ingest": ingest,
        "library_folder": str(house.library_folder),
        "disk_free_mib": disk.free // 2**20,
    }


def _model(house: House, model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "state": model.state.value,
        "reason": model.reason,
        "device": model.host.device,
        "eyes": None if model.file is None else house.models.eyes(model.file).says,
    }
