"""The peer: LangChain's directory loader, splitter and Chroma, in an environment of their own

Run by `tests.bench.bench_peer` as a script; it imports nothing of the house.
The embedding model is the very file that the appliance uses, on the same
number of threads, or the published float32 weights run by Chroma's own
embedder or by sentence-transformers, each as it comes; always with the same
cut at 256 word pieces. Prints one JSON line.
"""

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2
from langchain_chroma import Chroma
from langchain_community.document_loaders import DirectoryLoader, TextLoader
from langchain_core.embeddings import Embeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter
from tokenizers import Tokenizer

MAX_TOKENS = 256
# Pieces that fit this model, so that hardly any of the text is cut off and never searched.
FITTING = {"chunk_size": 1000, "chunk_overlap": 0}
WAYS = {
    # As the tutorials show it: the splitter's own sizes, batches of 32 in the order of the texts.
    "defaults": {"embedder": "file", "splitter": {}, "batch": 32, "sorted": False},
    # What somebody does who has read up on this model: pieces that fit it, small batches of like length.
    "tuned": {"embedder": "file", "splitter": FITTING, "batch": 8, "sorted": True},
    # What one gets who asks for this model by its name.
    "chroma": {"embedder": "chroma", "splitter": {}},
    "chroma-fitting": {"embedder": "chroma", "splitter": FITTING},
    "sentence-transformers": {"embedder": "sentence-transformers", "splitter": {}},
    "sentence-transformers-fitting": {"embedder": "sentence-transformers", "splitter": FITTING},
}
_MORE_VERSIONS = {"sentence-transformers": ("sentence-transformers", "torch")}


class LocalEmbeddings(Embeddings):
    def __init__(self, folder: Path, *, threads: int, batch: int, by_length: bool) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.int8.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        self._batch, self._by_length = batch, by_length

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        order = list(range(len(texts)))
        if self._by_length:
            order.sort(key=lambda at: len(texts[at]))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for first in range(0, len(order), self._batch):
            rows = order[first : first + self._batch]
            encoded = self._tokenizer.encode_batch([texts[row] for row in rows])
            ids = np.array([encoding.ids for encoding in encoded], dtype=np.int64)
            mask = np.array([encoding.attention_mask for encoding in encoded], dtype=np.int64)
            vectors[rows] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return vectors.tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class ChromasEmbeddings(Embeddings):
    """Chroma's default: float32 by ONNX Runtime, every text filled up to 256 word pieces, 32 at a time."""

    def __init__(self) -> None:
        self._function = ONNXMiniLM_L6_V2()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [vector.tolist() for vector in self._function(texts)]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def embeddings_for(way: dict[str, Any], asked: argparse.Namespace) -> Embeddings:
    if way["embedder"] == "chroma":
        return ChromasEmbeddings()
    if way["embedder"] == "sentence-transformers":
        from langchain_huggingface import HuggingFaceEmbeddings

        return HuggingFaceEmbeddings(model_name=str(asked.published), model_kwargs={"device": "cpu"})
    return LocalEmbeddings(asked.model, threads=asked.threads, batch=way["batch"], by_length=way["sorted"])


def main() -> None:
    given = argparse.ArgumentParser()
    given.add_argument("--texts", type=Path, required=True)
    given.add_argument("--model", type=Path, required=True)
    given.add_argument("--published", type=Path, required=True)
    given.add_argument("--store", required=True)
    given.add_argument("--threads", type=int, required=True)
    given.add_argument("--way", choices=sorted(WAYS), required=True)
    given.add_argument("--check", nargs="+", required=True, help="texts; their vectors are printed")
    asked = given.parse_args()
    way = WAYS[asked.way]
    embeddings = embeddings_for(way, asked)
    checked = embeddings.embed_documents(asked.check)  # loads what is loaded lazily, too
    store = Chroma("texts", embeddings, persist_directory=asked.store)

    began = time.perf_counter()
    loaded = DirectoryLoader(
        str(asked.texts), glob="**/*.md", loader_cls=TextLoader, loader_kwargs={"encoding": "utf-8"}
    ).load()
    pieces = RecursiveCharacterTextSplitter(**way["splitter"]).split_documents(loaded)
    most = store._client.get_max_batch_size()
    for first in range(0, len(pieces), most):
        store.add_documents(pieces[first : first + most])
    seconds = time.perf_counter() - began

    sample = pieces[len(pieces) // 2]
    nearest = store.similarity_search(sample.page_content, k=3)
    counting = Tokenizer.from_file(str(asked.model / "tokenizer.json"))
    counting.no_truncation()
    counting.no_padding()
    lengths = [len(one) for one in counting.encode_batch([piece.page_content for piece in pieces])]
    cut = sum(length > MAX_TOKENS for length in lengths)
    unseen = sum(max(0, length - MAX_TOKENS) for length in lengths) / sum(lengths)
    print(
        json.dumps(
            {
                "files": len(loaded),
                "chunks": len(pieces),
                "stored": len(store.get(include=[])["ids"]),
                "found": any(one.metadata == sample.metadata for one in nearest),
                "cut": cut,
                "unseen": unseen,
                "vectors": checked,
                "seconds": seconds,
                "versions": {
                    name: version(name)
                    for name in (
                        "langchain-community",
                        "langchain-text-splitters",
                        "langchain-chroma",
                        "chromadb",
                        *_MORE_VERSIONS.get(way["embedder"], ()),
                    )
                },
            }
        )
    )


if __name__ == "__main__":
    main()
