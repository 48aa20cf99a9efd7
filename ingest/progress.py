"""Progress: how far ingest is, how fast it goes, and when it will be done."""

import msgspec

from library.values import Amount, DocumentState


class IngestProgress(msgspec.Struct, frozen=True):
    """What a reader may be told while documents are on their way."""

    paused: bool  # by a reader, until resumed
    trouble: str | None  # a sentence, while ingest stands still for another reason
    reading: tuple[str, ...]  # paths of the files in the reading workers' hands
    embedding: tuple[str, ...]  # paths of the documents that vectors are computed for
    documents: dict[DocumentState, int]  # every state is named
    chunks: int  # of all indexed documents
    embedded: int  # of these, how many have their vector
    embedded_since_start: int  # vectors that this process has added
    chunks_per_s: float | None  # vectors over the last half minute; None while none are computed
    remaining_s: float | None  # an estimate over all that is left; None where none can be made
    rebuilding: float | None  # 0..1, while an index of vectors is built beside the one that serves

    @property
    def to_read(self) -> int:
        """Documents waiting or being read."""
        return self.documents[DocumentState.WAITING] + self.documents[DocumentState.READING]

    @property
    def to_embed(self) -> int:
        """Documents findable by words only."""
        return self.documents[DocumentState.FINDABLE_WORDS]


def remaining_s(amount: Amount, chunks_per_s: float | None) -> float | None:
    """Seconds until every chunk has its vector; chunks of unread files are estimated by their size."""
    if not chunks_per_s:
        return None
    chunks = amount.chunks - amount.embedded
    if amount.unread_bytes:
        if not amount.read_bytes:
            return None
        chunks += int(amount.unread_bytes * amount.chunks / amount.read_bytes)
    return round(chunks / chunks_per_s, 1) if chunks else None
