"""Measuring: what the benchmarks ask of a running appliance and of the machine.

Speaks HTTP to the appliance and reads /proc; knows nothing of its insides, but
for `texts_of`, which opens the data folder of one that has been stopped. Its
hard rule: what should have been found and was not ends the benchmark.
"""

import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tokenizers

from appliance.config import load_config
from appliance.stacks import open_stacks
from library.values import IndexedChunk
from search.embedder import BATCH, MAX_TOKENS, MODEL_FILE, TOKENIZER_FILE
from tests.places import EMBEDDING_MODEL, embedding_model
from tests.running import Appliance

LONGEST_S = 4 * 3600.0
NO_CHAT = "[llm]\nenabled = false\n"


class WrongResult(Exception):
    """The appliance did something else than what is measured; the figures would be worthless."""


# --- houses --------------------------------------------------------------------------------------


def unfurnished(folder: Path) -> Path:
    """A folder for a house without the starter library."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / ".furnished").touch()
    return folder


def words_only_models(folder: Path) -> Path:
    """A models folder with the tokeniser and without the model: documents become findable by words, and stay so."""
    models = folder / "models-without-meaning"
    target = models / "embedding" / EMBEDDING_MODEL.name
    target.mkdir(parents=True)
    (target / TOKENIZER_FILE).symlink_to((embedding_model() / TOKENIZER_FILE).resolve())
    return models


# --- states --------------------------------------------------------------------------------------


def status(appliance: Appliance) -> dict[str, Any]:
    code, told = appliance.get("/status")
    if code != 200:
        raise WrongResult(f"/status answers {code}: {told}")
    return dict(told)


def received(appliance: Appliance) -> int:
    """How many documents the record holds, whatever their state."""
    return sum(status(appliance)["documents"].values())


def until_received(appliance: Appliance, documents: int) -> float:
    """Wait until so many documents are received; the moment on the monotonic clock."""
    ends = time.monotonic() + 120
    while received(appliance) < documents:
        if time.monotonic() > ends:
            raise WrongResult(f"{documents} documents were not received within two minutes")
        time.sleep(0.005)
    return time.monotonic()


def until_all(
    appliance: Appliance,
    documents: int,
    *,
    words: bool = False,
    every_s: float = 0.05,
    limit_s: float = LONGEST_S,
) -> float:
    """Wait until `documents` are findable (`words`: at least by their words); the moment on the monotonic clock.

    Ends the benchmark when one failed or when nothing moves for five minutes.
    """
    ends, moved, before = time.monotonic() + limit_s, time.monotonic(), None
    while True:
        told = status(appliance)
        states, now = told["documents"], time.monotonic()
        if states.get("failed") or states.get("missing"):
            raise WrongResult(f"not all documents came through: {states}; {reasons(appliance)}")
        if states.get("findable", 0) + (states.get("findable_words", 0) if words else 0) >= documents:
            return now
        if (states, told["vectors"]) != before:
            moved, before = now, (states, told["vectors"])
        if now > ends or now - moved > 300:
            raise WrongResult(f"{documents} documents should be findable, but: {states}; {told['ingest']}")
        time.sleep(every_s)


def documents(appliance: Appliance, **wanted: object) -> Iterator[dict[str, Any]]:
    """All documents by path, page after page."""
    cursor = None
    while True:
        code, page = appliance.get(
            "/api/documents", limit=500, **wanted, **({"cursor": cursor} if cursor else {})
        )
        if code != 200:
            raise WrongResult(f"/api/documents answers {code}: {page}")
        yield from page["items"]
        cursor = page["next"]
        if cursor is None:
            return


def reasons(appliance: Appliance) -> list[str]:
    """Why documents failed, the first few."""
    failed = [
        f"{document['path']}: {document['reason']}" for document in documents(appliance, state="failed")
    ]
    return failed[:5]


def texts_of(appliance: Appliance) -> list[IndexedChunk]:
    """Every chunk of a house that has been stopped, in the order in which they were received."""
    with open_stacks(load_config(appliance.config)) as stacks:
        held, cursor = [], None
        while True:
            page = stacks.catalogue.documents(limit=500, cursor=cursor)
            held += page.items
            cursor = page.next
            if cursor is None:
                break
        held.sort(key=lambda document: (document.received_at, document.id))
        return [chunk for document in held for chunk in stacks.queue.indexed_chunks(document)]


# --- the raw engine ------------------------------------------------------------------------------


def bare_embedding_s(texts: Sequence[str], *, threads: int | None = None, batch: int = BATCH) -> float:
    """Seconds to embed `texts` with nothing but a tokeniser and a session, both loaded already."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or os.cpu_count() or 1
    session = onnxruntime.InferenceSession(
        str(EMBEDDING_MODEL / MODEL_FILE), options, ["CPUExecutionProvider"]
    )
    tokenizer = tokenizers.Tokenizer.from_file(str(EMBEDDING_MODEL / TOKENIZER_FILE))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    began = time.perf_counter()
    for first in range(0, len(texts), batch):
        encoded = tokenizer.encode_batch_fast(list(texts[first : first + batch]))
        ids = np.array([encoding.ids for encoding in encoded], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encoded], dtype=np.int64)
        session.run(None, {"input_ids": ids, "attention_mask": mask})
    return time.perf_counter() - began


# --- figures -------------------------------------------------------------------------------------


def percentile(figures: Sequence[float], share: float) -> float:
    """The smallest figure that at least `share` of them do not exceed."""
    ranked = sorted(figures)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def size_mib(folder: Path) -> float:
    """What the files below a folder take up."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 2**20


# --- processes -----------------------------------------------------------------------------------


def tree(pid: int) -> list[int]:
    """A process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def begun(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks: with the id, its name for ever. None when it is gone."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else None


def cpu_s(pid: int) -> float:
    """Processor seconds of a process and its living descendants."""
    ticks = 0
    for one in tree(pid):
        fields = _stat(one)
        ticks += int(fields[11]) + int(fields[12]) if fields else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    try:
        told = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(told.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in told else 0.0


def memory(appliance: Appliance) -> tuple[float, float, float]:
    """Resident MiB of the main process, of the workers that read, and of the worker that embeds."""
    assert appliance.process
    reading = embedding = 0.0
    for pid in ingest_workers(appliance):
        try:
            embeds = "onnxruntime" in Path(f"/proc/{pid}/maps").read_text()
        except OSError:
            continue
        if embeds:
            embedding += resident_mib(pid)
        else:
            reading += resident_mib(pid)
    return resident_mib(appliance.process.pid), reading, embedding


def ingest_workers(appliance: Appliance) -> list[int]:
    assert appliance.process
    found = []
    for pid in tree(appliance.process.pid)[1:]:
        try:
            if "ingest.worker" in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
        except OSError:
            continue
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/…/stat behind the command: state first, then the parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
