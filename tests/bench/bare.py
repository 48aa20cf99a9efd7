"""Bare engines: what a query costs without an appliance around it.

One session that embeds, one tantivy index and one optimised shard of Qdrant
Edge over the same texts and vectors, each as its own documentation shows it,
called one after the other in this process. Knows nothing of `search`: what is
measured against them is that.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import qdrant_edge
import tantivy
import tokenizers

from library.values import IndexedChunk
from search.embedder import DIMENSIONS, MAX_TOKENS, MODEL_FILE, TOKENIZER_FILE
from tests.places import EMBEDDING_MODEL

CANDIDATES = 200  # from each side, as the appliance takes them
_TOGETHER = 1000


class BareMs(NamedTuple):
    embedding: float
    tantivy: float
    edge: float


class Bare:
    def __init__(
        self, folder: Path, chunks: Iterable[IndexedChunk], vectors: Iterator[list[float]], *, threads: int
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(EMBEDDING_MODEL / MODEL_FILE), options, ["CPUExecutionProvider"]
        )
        self._tokenizer = tokenizers.Tokenizer.from_file(str(EMBEDDING_MODEL / TOKENIZER_FILE))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()  # its file asks for it; a query alone needs none
        schema = (
            tantivy.SchemaBuilder()
            .add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
            .add_text_field("text", tokenizer_name="en_stem")
            .build()
        )
        (folder / "tantivy").mkdir(parents=True)
        self._index = tantivy.Index(schema, path=str(folder / "tantivy"))
        (folder / "edge").mkdir()
        parameters = qdrant_edge.EdgeVectorParams(
            DIMENSIONS,
            qdrant_edge.Distance.Cosine,
            datatype=qdrant_edge.VectorStorageDatatype.Turbo8,
        )
        self._shard = qdrant_edge.EdgeShard.create(
            str(folder / "edge"), qdrant_edge.EdgeConfig(vectors={"": parameters}, wal_enabled=False)
        )
        self._fill(chunks, vectors)

    def _fill(self, chunks: Iterable[IndexedChunk], vectors: Iterator[list[float]]) -> None:
        writer = self._index.writer(100_000_000, 1)
        points = []
        for chunk, vector in zip(chunks, vectors, strict=False):
            writer.add_document(tantivy.Document(id=chunk.id, text=chunk.indexed_text))
            points.append(qdrant_edge.Point(chunk.id, vector, {}))
            if len(points) == _TOGETHER:
                self._shard.update(qdrant_edge.UpdateOperation.upsert_points(points))
                points = []
        if points:
            self._shard.update(qdrant_edge.UpdateOperation.upsert_points(points))
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._shard.optimize()

    def query(self, text: str) -> BareMs:
        """Milliseconds of each of the three for one query."""
        began = time.perf_counter()
        vector = self._embed(text)
        embedded = time.perf_counter()
        searcher = self._index.searcher()
        parsed, _ = self._index.parse_query_lenient(text, ["text"])
        hits = searcher.search(parsed, CANDIDATES, count=False).hits
        words = [searcher.doc(address)["id"][0] for _, address in hits]
        searched = time.perf_counter()
        nearest = self._shard.query(
            qdrant_edge.QueryRequest(limit=CANDIDATES, query=qdrant_edge.Query.Nearest(vector))
        )
        found = time.perf_counter()
        if not words or not nearest:
            raise ValueError(f"the bare engines find nothing for {text!r}")
        return BareMs((embedded - began) * 1000, (searched - embedded) * 1000, (found - searched) * 1000)

    def close(self) -> None:
        self._shard.close()

    def _embed(self, text: str) -> list[float]:
        pieces = self._tokenizer.encode(text)
        ids, mask = np.array([pieces.ids]), np.array([pieces.attention_mask])
        vector: list[float] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0][
            0
        ].tolist()
        return vector
