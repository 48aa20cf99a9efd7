"""The embedder: texts in, unit vectors out.

Sentence models in ONNX, run by ONNX Runtime and tokenised by `tokenizers`; the
starter model is all-MiniLM-L6-v2 as int8. A model is a folder with
`model.json` (see `ModelCard`), the graph and `tokenizer.json`. Knows no index
and no file but the model's own. Its hard rule: its vendors are
imported when a model is opened and not before, so that the main process serves
its first pages without them.
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from library.errors import IndexUnavailable, InvalidRequest
from search.graphs import open_graph
from search.wordpieces import PieceCounts

if TYPE_CHECKING:
    import numpy as np
    import tokenizers

# Of the starter model. It was trained on 256 word pieces; what is longer is cut off silently.
DIMENSIONS = 384
MAX_TOKENS = 256
# Two of them frame every text: [CLS] and [SEP].
BUDGET_TOKENS = MAX_TOKENS - 2
# Measured: batches of 8 are fastest on CPU; larger ones fall out of the cache.
BATCH = 8

MODEL_FILE = "model.int8.onnx"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "model.json"


class ModelCard(msgspec.Struct, frozen=True):
    """What `model.json` says of an embedding model. Unknown keys are passed over."""

    name: str
    digest: str = ""  # of the weights; another digest is another model
    dimensions: Annotated[int, msgspec.Meta(ge=1)] = DIMENSIONS
    max_tokens: Annotated[int, msgspec.Meta(ge=16)] = MAX_TOKENS
    file: str = MODEL_FILE
    # How the graph's output becomes one vector: "none" when it gives unit
    # vectors already, else the mean of its tokens or the first of them.
    pooling: Literal["none", "mean", "cls"] = "none"
    query_prefix: str = ""  # e.g. "query: "; see the model's own description
    passage_prefix: str = ""

    @property
    def id(self) -> str:
        """Names the model in the record and its index on disk."""
        return re.sub(r"[^A-Za-z0-9.-]+", "-", f"{self.name}-{self.digest[:12]}").strip("-.")


def model_card(model_folder: Path) -> ModelCard:
    """Raises IndexUnavailable when the model is not there, or its card cannot be read."""
    path = model_folder / CARD_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=ModelCard)
    except FileNotFoundError as error:
        raise IndexUnavailable(
            f"The embedding model {model_folder} is missing. Run `make run` to set it up."
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise IndexUnavailable(f"The embedding model's {path} cannot be read: {error}.") from error


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

        `frugal` as in `search.graphs`.
        """
        self.card = model_card(model_folder)
        path = model_folder / self.card.file
        if not path.is_file():
            raise IndexUnavailable(f"The embedding model {path} is missing. Run `make run` to set it up.")
        import numpy as np  # noqa: PLC0415 - the hard rule above

        self._np: Any = np
        self._folder = model_folder
        self._tokenizer = _tokenizer(model_folder)
        self._tokenizer.enable_truncation(self.card.max_tokens)
        try:
            self._session = open_graph(path, threads=threads, frugal=frugal)
        except Exception as error:  # ONNX Runtime raises a dozen classes of its own
            raise IndexUnavailable(
                f"The embedding model {path} cannot be loaded: {error}. Run `make run` again to rebuild it."
            ) from error
        self._inputs = [entry.name for entry in self._session.get_inputs()]

    @functools.cached_property
    def _uncut(self) -> tokenizers.Tokenizer:
        """The tokeniser a second time: whether it cuts is its own state, which other threads rely on."""
        tokenizer = _tokenizer(self._folder)
        tokenizer.no_truncation()
        return tokenizer

    def embed(self, texts: Sequence[str], *, batch: int = BATCH) -> np.ndarray:
        """Unit vectors of passages, float32 [len(texts), card.dimensions], in the order of `texts`.

        Texts are batched with those of like length, since a batch costs as
        much as its longest text in every row.
        """
        return self._embed([self.card.passage_prefix + text for text in texts], batch)

    def embed_query(self, query: str) -> np.ndarray:
        """The unit vector of a query, float32 [card.dimensions]."""
        return self._embed([self.card.query_prefix + query], 1)[0]  # type: ignore[no-any-return]

    def tokens(self, texts: Sequence[str | Sequence[int]]) -> list[list[int]]:
        """Each text as the model reads it: its token ids, framed, and nothing cut off or put before it.

        A text may come as token ids of this model already, without their frame.
        Raises InvalidRequest for an id that is none.
        """
        (known,) = self._uncut.encode_batch_fast(["a"], add_special_tokens=False)
        (framed,) = self._uncut.encode_batch_fast(["a"])
        begins = framed.ids.index(known.ids[0])
        before, after = framed.ids[:begins], framed.ids[begins + len(known.ids) :]
        size = self._uncut.get_vocab_size()
        rows = []
        for at, text in enumerate(texts):
            if isinstance(text, str):
                rows.append(self._uncut.encode_batch_fast([text])[0].ids)
            elif all(0 <= id_ < size for id_ in text):
                rows.append([*before, *text, *after])
            else:
                raise InvalidRequest(f"input[{at}]", f"holds a token id that is not from 0 to {size - 1}.")
        return rows

    def embed_tokens(self, tokens: Sequence[Sequence[int]], *, batch: int = BATCH) -> np.ndarray:
        """Unit vectors, float32 [len(tokens), card.dimensions], of what `tokens` gave; each at most max_tokens."""
        np = self._np
        order = sorted(range(len(tokens)), key=lambda at: len(tokens[at]))
        vectors: Any = np.empty((len(tokens), self.card.dimensions), dtype=np.float32)
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            longest = max(len(tokens[row]) for row in rows)
            ids = np.zeros((len(rows), longest), dtype=np.int64)
            mask = np.zeros((len(rows), longest), dtype=np.int64)
            for at, row in enumerate(rows):
                length = len(tokens[row])
                ids[at, :length] = tokens[row]
                mask[at, :length] = 1
            given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            out = self._session.run(None, {name: given[name] for name in self._inputs})[0]
            vectors[rows] = self._pooled(out, mask)
        return vectors  # type: ignore[no-any-return]  # numpy is not imported at this level

    def _embed(self, texts: list[str], batch: int) -> np.ndarray:
        encoded = self._tokenizer.encode_batch_fast(texts)
        return self.embed_tokens([encoding.ids for encoding in encoded], batch=batch)

    def _pooled(self, out: Any, mask: Any) -> Any:
        """Unit vectors [rows, dimensions] of what the graph gave for a batch."""
        if self.card.pooling == "none":
            return out
        np = self._np
        if self.card.pooling == "cls":
            pooled = out[:, 0]
        else:  # out is [rows, tokens, dimensions], mask [rows, tokens]
            pooled = (out * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None]
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


class LazyEmbedder:
    """The query embedder: opened once, in the background, and shared by all searches."""

    def __init__(self, model_folder: Path, *, threads: int) -> None:
        self.folder, self._threads = model_folder, threads
        self.card: ModelCard | None = None
        with contextlib.suppress(IndexUnavailable):  # there is no model; `open` will say so
            self.card = model_card(model_folder)
        self.dimensions = self.card.dimensions if self.card else DIMENSIONS
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
                    self._embedder = Embedder(self.folder, threads=self._threads, frugal=True)
                    self.error = None
                except IndexUnavailable as error:
                    self.error = str(error)
                    raise

    def embed_passages(self, passages: Sequence[str]) -> list[list[float]]:
        """A unit vector of each passage. Raises IndexUnavailable while there is no model."""
        vectors: list[list[float]] = self._opened().embed(passages).tolist()
        return vectors

    def embed_query(self, query: str) -> list[float]:
        """One unit vector of `dimensions` numbers. Raises IndexUnavailable while there is no model."""
        vector: list[float] = self._opened().embed_query(query).tolist()
        return vector

    def tokens(self, texts: Sequence[str | Sequence[int]]) -> list[list[int]]:
        """As `Embedder.tokens`. Raises IndexUnavailable while there is no model."""
        return self._opened().tokens(texts)

    def embed_tokens(self, tokens: Sequence[Sequence[int]]) -> list[list[float]]:
        """As `Embedder.embed_tokens`. Raises IndexUnavailable while there is no model."""
        vectors: list[list[float]] = self._opened().embed_tokens(tokens).tolist()
        return vectors

    def _opened(self) -> Embedder:
        if self._embedder is None:
            raise IndexUnavailable(self.error or "The embedding model is still being loaded.")
        return self._embedder


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
