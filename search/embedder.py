"""The embedder: texts in, unit vectors out.

all-MiniLM-L6-v2 as int8 ONNX, run by ONNX Runtime; tokenised by `tokenizers`.
Knows no index and no file but the model's own. Its hard rule: its vendors are
imported when a model is opened and not before, so that the main process serves
its first pages without them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from library.errors import IndexUnavailable
from search.wordpieces import PieceCounts

if TYPE_CHECKING:
    import numpy as np
    import tokenizers

DIMENSIONS = 384
# The model was trained on 256 word pieces; what is longer is cut off silently.
MAX_TOKENS = 256
# Two of them frame every text: [CLS] and [SEP].
BUDGET_TOKENS = MAX_TOKENS - 2
# Measured: batches of 8 are fastest on CPU; larger ones fall out of the cache.
BATCH = 8

MODEL_FILE = "model.int8.onnx"
TOKENIZER_FILE = "tokenizer.json"


class TokenCounter:
    """Counts the embedding model's word pieces, without the two that frame a text."""

    def __init__(self, model_folder: Path) -> None:
        """Raises IndexUnavailable when the tokeniser's file is missing or damaged."""
        tokenizer = _tokenizer(model_folder)
        tokenizer.no_truncation()
        self._count = PieceCounts(tokenizer)

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return self._count(texts)


class Embedder:
    """An open model. `embed` may be called from several threads at once."""

    def __init__(self, model_folder: Path, *, threads: int, frugal: bool = False) -> None:
        """Load the model. Raises IndexUnavailable when its files are missing or damaged.

        `frugal` gives memory back after every call, which costs an eighth of
        the speed: right for a process that embeds a query now and then.
        """
        path = model_folder / MODEL_FILE
        if not path.is_file():
            raise IndexUnavailable(f"The embedding model {path} is missing. Run `make run` to set it up.")
        import numpy as np  # noqa: PLC0415 - the hard rule above
        import onnxruntime  # noqa: PLC0415

        onnxruntime.disable_telemetry_events()
        self._np: Any = np
        self._tokenizer = _tokenizer(model_folder)
        self._tokenizer.enable_truncation(MAX_TOKENS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # The arena keeps the memory of the largest batch ever seen for ever.
        options.enable_cpu_mem_arena = not frugal
        if frugal:
            # Between queries nobody needs threads that wait by turning in circles.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises a dozen classes of its own
            raise IndexUnavailable(
                f"The embedding model {path} cannot be loaded: {error}. Run `make run` again to rebuild it."
            ) from error
        self._inputs = [entry.name for entry in self._session.get_inputs()]

    def embed(self, texts: Sequence[str], *, batch: int = BATCH) -> np.ndarray:
        """Unit vectors, float32 [len(texts), 384], in the order of `texts`.

        Texts are batched with those of like length, since a batch costs as
        much as its longest text in every row.
        """
        np = self._np
        encoded = self._tokenizer.encode_batch_fast(list(texts))
        order = sorted(range(len(encoded)), key=lambda at: len(encoded[at]))
        vectors: Any = np.empty((len(encoded), DIMENSIONS), dtype=np.float32)
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            longest = max(len(encoded[row]) for row in rows)
            ids = np.zeros((len(rows), longest), dtype=np.int64)
            mask = np.zeros((len(rows), longest), dtype=np.int64)
            for at, row in enumerate(rows):
                length = len(encoded[row])
                ids[at, :length] = encoded[row].ids
                mask[at, :length] = 1
            vectors[rows] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return vectors  # type: ignore[no-any-return]  # numpy is not imported at this level


class LazyEmbedder:
    """The query embedder: opened once, in the background, and shared by all searches."""

    def __init__(self, model_folder: Path, *, threads: int) -> None:
        self._folder, self._threads = model_folder, threads
        self._opening = threading.Lock()
        self._embedder: Embedder | None = None
        self.error: str | None = None

    @property
    def ready(self) -> bool:
        return self._embedder is not None

    def open(self) -> None:
        """Load the model unless it is loaded. A failure is kept in `error`, and raised."""
        with self._opening:
            if self._embedder is None:
                try:
                    self._embedder = Embedder(self._folder, threads=self._threads, frugal=True)
                    self.error = None
                except IndexUnavailable as error:
                    self.error = str(error)
                    raise

    def embed_query(self, query: str) -> list[float]:
        """One unit vector of 384 numbers. Raises IndexUnavailable while there is no model."""
        if self._embedder is None:
            raise IndexUnavailable(self.error or "The embedding model is still being loaded.")
        vector: list[float] = self._embedder.embed([query])[0].tolist()
        return vector


def _tokenizer(model_folder: Path) -> tokenizers.Tokenizer:
    import tokenizers  # noqa: PLC0415 - the hard rule above

    path = model_folder / TOKENIZER_FILE
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception
        raise IndexUnavailable(
            f"The embedding model's tokeniser {path} cannot be read: {error}. Run `make run` again."
        ) from error
    tokenizer.no_padding()
    return tokenizer
