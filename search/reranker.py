"""The reranker: a cross-encoder, which reads query and passage together and says how well the one answers the other.

Optional: there is one where its reader has put one. It is asked about the head
of a ranking only, since every passage costs it some 30 ms of a CPU. A model is
a folder as it is published, with a graph in ONNX and `tokenizer.json`; the
graph gives one number for a pair. Knows no index. Its hard rule: its vendors
are imported when the model is opened and not before.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from library.errors import IndexUnavailable
from search.graphs import open_graph
from search.values import Candidate

if TYPE_CHECKING:
    import tokenizers

# Its part in the order of the head; the rest is the fused score's. See docs/experiments.md.
SHARE = 0.5
# As these models were trained; of what is longer, the longer of the two is cut.
_MAX_TOKENS = 512
MAX_QUERY_CHARACTERS = 1000
_TOKENIZER = "tokenizer.json"
# Names under which graphs are published, the quicker before the exact.
_GRAPHS = tuple(
    f"{folder}{name}.onnx"
    for name in ("model_quantized", "model_int8", "model.int8", "model_optimized", "model")
    for folder in ("", "onnx/")
)


class Reranker:
    """Opened when it is first asked. A failure stays in `error` and is raised each time."""

    def __init__(self, model_folder: Path, *, threads: int) -> None:
        self.folder, self._threads = model_folder, threads
        self.error: str | None = None
        self._opening = threading.Lock()
        self._opened: tuple[tokenizers.Tokenizer, Any, list[str]] | None = None

    def open(self) -> None:
        """Load the model unless it is loaded. Raises IndexUnavailable."""
        with self._opening:
            if self._opened is not None:
                return
            if self.error is not None:
                raise IndexUnavailable(self.error)
            try:
                self._opened = self._load()
                self._score("a query", "a passage")  # a graph of another kind shows itself here
            except Exception as error:  # the vendors raise a dozen classes of their own
                self._opened = None
                self.error = (
                    f"The reranker {self.folder} cannot be used: {error}. It must hold {_TOKENIZER} and a "
                    "cross-encoder's graph, such as model.onnx; then start Almanac again."
                )
                raise IndexUnavailable(self.error) from error

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        """How well each passage answers the query; higher is better, without unit or bounds.

        Raises IndexUnavailable. One pair at a time: a quantised graph scales
        its numbers by all that it is given together, so that a pair's score
        would depend on the others.
        """
        self.open()
        try:
            return [self._score(query[:MAX_QUERY_CHARACTERS], passage) for passage in passages]
        except Exception as error:  # as above
            raise IndexUnavailable(f"The reranker {self.folder} failed: {error}.") from error

    def count_tokens(self, query: str, passages: Sequence[str]) -> int:
        """What `scores` reads of these pairs, in the model's own tokens. Raises IndexUnavailable."""
        self.open()
        tokenizer = self._parts()[0]
        return sum(len(tokenizer.encode(query[:MAX_QUERY_CHARACTERS], passage).ids) for passage in passages)

    def _parts(self) -> tuple[tokenizers.Tokenizer, Any, list[str]]:
        if self._opened is None:
            raise IndexUnavailable(f"The reranker {self.folder} is not open.")
        return self._opened

    def _load(self) -> tuple[tokenizers.Tokenizer, Any, list[str]]:
        graph = next((self.folder / name for name in _GRAPHS if (self.folder / name).is_file()), None)
        if graph is None:
            raise FileNotFoundError("there is no graph in it")
        import tokenizers  # noqa: PLC0415 - the hard rule above

        tokenizer = tokenizers.Tokenizer.from_file(str(self.folder / _TOKENIZER))
        tokenizer.no_padding()
        tokenizer.enable_truncation(_MAX_TOKENS, strategy="longest_first")
        session = open_graph(graph, threads=self._threads, frugal=True)
        return tokenizer, session, [entry.name for entry in session.get_inputs()]

    def _score(self, query: str, passage: str) -> float:
        import numpy as np  # noqa: PLC0415 - the hard rule above

        tokenizer, session, inputs = self._parts()
        pair = tokenizer.encode(query, passage)
        given = {
            "input_ids": pair.ids,
            "attention_mask": pair.attention_mask,
            "token_type_ids": pair.type_ids,
        }
        out: Any = session.run(None, {name: np.array([given[name]], dtype=np.int64) for name in inputs})[0]
        return float(out.reshape(-1)[0]) if out.size == 1 else _refuse(out.size)


def reordered(
    head: Sequence[Candidate], answering: Sequence[float], *, share: float = SHARE
) -> list[Candidate]:
    """The head in the order of both, its own scores and how well each answers; the places keep their scores."""
    fused, read = _standard([one.score for one in head]), _standard(answering)
    both = [(1 - share) * a + share * b for a, b in zip(fused, read, strict=True)]
    order = sorted(range(len(head)), key=lambda at: (-both[at], at))
    return [Candidate(head[at].id, place.score) for at, place in zip(order, head, strict=True)]


def _standard(scores: Sequence[float]) -> list[float]:
    mean, deviation = statistics.fmean(scores), statistics.pstdev(scores)
    return [(score - mean) / deviation if deviation else 0.0 for score in scores]


def _refuse(numbers: int) -> float:
    raise ValueError(f"its graph gives {numbers} numbers for a pair and not one")
