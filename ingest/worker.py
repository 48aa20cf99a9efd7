"""The ingest worker: a disposable child that reads untrusted files and computes vectors.

Started by `ingest.link` as `python -m ingest.worker`, with one end of a socket
pair as its only tie to the house. It opens no store and writes nothing; what
it finds it sends back. Its hard rule: whatever a file does to it, the file
after it gets a fresh start, for the parent ends a worker that has crashed,
hung or grown past its limits.
"""

import sys
import time
from itertools import islice
from pathlib import Path

import msgspec

from ingest.child import serve
from ingest.chunking import CountTokens, WordCounts, chunk, fitting_path
from ingest.extract import extract
from ingest.pinned import pinned
from ingest.wire import Broken, Embed, Embedded, Extract, Read, Reply, Request, Unreadable, WorkerOrders
from library.errors import IndexUnavailable, UnreadableFile
from search.embedder import BUDGET_TOKENS, Embedder, TokenCounter


def main(argument: str) -> None:
    """Answer requests until the parent closes its end."""
    orders = msgspec.json.decode(argument, type=WorkerOrders)
    serve(orders, _Hands(orders).answer)


class _Hands:
    """Opens the tokeniser and the model on first use: a worker that only reads never loads the model."""

    def __init__(self, orders: WorkerOrders) -> None:
        self._folder, self._threads = Path(orders.model_folder), orders.threads
        self._limits = orders.limits
        self._library, self._scratch = Path(orders.library), Path(orders.scratch)
        self._count_tokens: CountTokens | None = None
        self._embedder: Embedder | None = None

    def answer(self, request: Request) -> Reply:
        try:
            if isinstance(request, Extract):
                return self._read(request.path)
            if isinstance(request, Embed):
                return self._embed(request)
        except UnreadableFile as error:
            return Unreadable(str(error))
        except IndexUnavailable as error:
            return Broken(str(error))
        except MemoryError:
            return Unreadable(
                "It needs more memory than a single file may take. "
                "Split the file, or raise `ingest.worker_memory_mib`."
            )
        return Broken("This worker reads and embeds, and was asked for something else.")

    def _read(self, relative: str) -> Read:
        if self._count_tokens is None:
            self._count_tokens = WordCounts(TokenCounter(self._folder))
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            with pinned(self._library, relative, self._scratch) as path:
                extracted = extract(path, self._limits)
        except OSError as error:
            reason = error.strerror or "input or output error"
            raise UnreadableFile(
                f"The file cannot be opened ({reason}). Check that it is still there and may be read."
            ) from error
        # A path that would leave a chunk no room in the model's window loses
        # its outer headings once and for all, so that what is shown, indexed
        # and embedded is the same.
        sections = tuple(
            msgspec.structs.replace(
                section, heading_path=fitting_path(section.heading_path, count_tokens=self._count_tokens)
            )
            for section in extracted.sections
        )
        most = self._limits.max_chunks
        cut = chunk(sections, count_tokens=self._count_tokens, budget_tokens=BUDGET_TOKENS)
        chunks = list(islice(cut, most + 1))
        if len(chunks) > most:
            raise UnreadableFile(
                f"It would be cut into more than {most:,} passages, which is more than one document may have. "
                "Split it, or raise `ingest.limits.max_chunks`."
            )
        return Read(msgspec.structs.replace(extracted, sections=sections), chunks)

    def _embed(self, request: Embed) -> Embedded:
        if self._embedder is None:
            self._embedder = Embedder(self._folder, threads=self._threads)
        # Time on the processor stands still while the parent holds this process.
        began = time.process_time()
        vectors = self._embedder.embed(request.texts).tobytes()
        return Embedded(vectors, (time.process_time() - began) / self._threads)


if __name__ == "__main__":
    main(sys.argv[1])
