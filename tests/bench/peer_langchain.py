"""The peer: LangChain's directory loader, splitter and Chroma, in an environment of their own

Run by `tests.bench.bench_peer` as a script; it imports nothing of the house.
The embedding model is the very file that the appliance uses, on the same
number of threads, with the same cut at 256 word pieces. Prints one JSON line.
"""

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
from langchain_chroma import Chroma
from langchain_community.document_loaders import DirectoryLoader, TextLoader
from langchain_core.embeddings import Embeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter
from tokenizers import Tokenizer

MAX_TOKENS = 256
WAYS = {
    # As the tutorials show it: the splitter's own sizes, batches of 32 in the order of the texts.
    "defaults": {"splitter": {}, "batch": 32, "sorted": False},
    # What somebody does who has read up on this model: pieces that fit it, small batches of like length.
    "tuned": {"splitter": {"chunk_size": 1000, "chunk_overlap": 0}, "batch": 8, "sorted": True},
}


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


def main() -> None:
    given = argparse.ArgumentParser()
    given.add_argument("--texts", type=Path, required=True)
    given.add_argument("--model", type=Path, required=True)
    given.add_argument("--store", required=True)
    given.add_argument("--threads", type=int, required=True)
    given.add_argument("--way", choices=sorted(WAYS), required=True)
    asked = given.parse_args()
    way = WAYS[asked.way]
    embeddings = LocalEmbeddings(
        asked.model, threads=asked.threads, batch=way["batch"], by_length=way["sorted"]
    )
    embeddings.embed_query("The first text loads what is loaded lazily.")
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
                "seconds": seconds,
                "versions": {
                    name: version(name)
                    for name in (
                        "langchain-community",
                        "langchain-text-splitters",
                        "langchain-chroma",
                        "chromadb",
                    )
                },
            }
        )
    )


if __name__ == "__main__":
    main()
