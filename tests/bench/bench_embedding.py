"""Embedding through ingest, beside a bare ONNX Runtime loop

The same texts, alternately: all of a folder taken from waiting to findable by
the pipeline (extracting, chunking, both indexes, the proof included), and the
very texts that it embedded through nothing but a tokeniser and a session, in
batches of 8, once in the order of the folder and once sorted by length as the
embedder does it.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime
import tokenizers

from appliance.config import Config, IngestConfig, PathsConfig
from appliance.reading_room import open_reading_room
from appliance.stacks import open_stacks
from library.values import DocumentState
from search.embedder import BATCH, MAX_TOKENS, MODEL_FILE, TOKENIZER_FILE
from tests.places import EMBEDDING_MODEL, MODELS, ROOT

ROUNDS = 3
COPIES = 3  # of the starter chapters, each with its own words in front


def run() -> Iterator[str]:
    through, in_order, by_length = [], [], []
    for round_ in range(ROUNDS):
        texts, seconds = through_ingest(round_)
        through.append(len(texts) / seconds)
        in_order.append(len(texts) / bare(texts))
        by_length.append(len(texts) / bare(sorted(texts, key=len)))
    yield "| chunks/s | median | min | max | ingest as a ratio of it, median of the rounds |"
    yield "|---|---|---|---|---|"
    for name, rates in (
        ("through ingest, waiting to findable", through),
        ("bare loop, order of the folder", in_order),
        ("bare loop, sorted by length", by_length),
    ):
        ratio = median(a / b for a, b in zip(through, rates, strict=True))
        yield f"| {name} | {median(rates):.1f} | {min(rates):.1f} | {max(rates):.1f} | {ratio:.2f} |"
    yield f"\n{len(texts)} chunks a round, {ROUNDS} rounds, batches of {BATCH}."


def through_ingest(round_: int) -> tuple[list[str], float]:
    """Every text that was embedded, and the seconds from the first file waiting to the last one findable."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "data").mkdir()
        (folder / "data" / ".furnished").touch()
        for copy in range(COPIES):
            for chapter in sorted((ROOT / "library" / "starter").rglob("*.md")):
                target = folder / "library" / f"shelf{copy}" / chapter.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(chapter, target)
                with target.open("a") as more:
                    more.write(f"\nRound {round_}, copy {copy}.\n")
        paths = PathsConfig(data=str(folder / "data"), library=str(folder / "library"), models=str(MODELS))
        config = Config(paths=paths, ingest=IngestConfig(settle_s=0.1))
        with open_stacks(config) as stacks, open_reading_room(config, stacks) as room:
            files = COPIES * len(list((ROOT / "library" / "starter").rglob("*.md")))
            while not stacks.arrivals.known_files():
                time.sleep(0.005)
            began = time.perf_counter()
            while stacks.catalogue.counts()[DocumentState.FINDABLE] < files:
                assert room.pipeline.trouble is None, room.pipeline.trouble
                time.sleep(0.02)
            seconds = time.perf_counter() - began
            documents = stacks.catalogue.documents(limit=500).items
            texts = [c.indexed_text for d in documents for c in stacks.queue.indexed_chunks(d)]
    return texts, seconds


def bare(texts: list[str]) -> float:
    """Seconds to embed `texts`, the model already loaded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(
        str(EMBEDDING_MODEL / MODEL_FILE), options, ["CPUExecutionProvider"]
    )
    tokenizer = tokenizers.Tokenizer.from_file(str(EMBEDDING_MODEL / TOKENIZER_FILE))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    began = time.perf_counter()
    for first in range(0, len(texts), BATCH):
        encoded = tokenizer.encode_batch_fast(texts[first : first + BATCH])
        ids = np.array([encoding.ids for encoding in encoded], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encoded], dtype=np.int64)
        session.run(None, {"input_ids": ids, "attention_mask": mask})
    return time.perf_counter() - began
