"""Words: figures of ingest as a reader is told them. Pure."""

from ingest.progress import IngestProgress
from library.values import DocumentState

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def duration(seconds: float) -> str:
    """An estimate in words: "less than a minute", "about 4 minutes", "about 2 hours"; never more exact than it is."""
    if seconds < 50:
        return "less than a minute"
    for longest, unit_s, one, many in (
        (55 * _MINUTE_S, _MINUTE_S, "a minute", "minutes"),
        (22 * _HOUR_S, _HOUR_S, "an hour", "hours"),
        (float("inf"), _DAY_S, "a day", "days"),
    ):
        if seconds < longest:
            count = max(1, round(seconds / unit_s))
            return f"about {one}" if count == 1 else f"about {count:,} {many}"
    raise AssertionError("infinity is the last bound")


def share_done(progress: IngestProgress) -> float:
    """How far all documents whose file is there have come, 0..1.

    Vectors take the time, so chunks are what is counted; documents that nobody
    has read yet are taken to have as many as the others.
    """
    documents = sum(progress.documents.values()) - progress.documents[DocumentState.MISSING]
    if not documents:
        return 1.0
    read = (documents - progress.to_read) / documents
    embedded = progress.embedded / progress.chunks if progress.chunks else 1.0
    return min(1.0, round(read * embedded, 4))


def summary(progress: IngestProgress, noticed: int) -> str:
    """What ingest is at, in one or two sentences."""
    to_read, to_embed = progress.to_read + noticed, progress.to_embed
    if not to_read and not to_embed:
        return (
            "Everything has been read."
            if any(progress.documents.values())
            else "There is nothing to read yet."
        )
    parts = []
    if to_read:
        parts.append(f"{counted(to_read)} still to be read")
    if to_embed:
        when = "after the pause" if progress.paused else "soon"
        parts.append(f"{counted(to_embed)} findable by words, by meaning {when}")
    told = f"{'; '.join(parts)}."
    if progress.paused:
        return f"Paused. {told}"
    pace = []
    if progress.chunks_per_s:
        pace.append(f"{progress.chunks_per_s:,.0f} passages a second")
    if progress.remaining_s is not None:
        pace.append(f"{duration(progress.remaining_s)} left")
    return f"{told} {_capital(', '.join(pace))}." if pace else told


def done(counts: dict[DocumentState, int]) -> str:
    """What a reader can rely on, in a sentence, which names every document that is not among the found."""
    gone, failed = counts[DocumentState.MISSING], counts[DocumentState.FAILED]
    there = sum(counts.values()) - gone
    parts = []
    if there:
        parts.append(
            f"{counts[DocumentState.FINDABLE]:,} of {counted(there)} can be found by words and meaning"
        )
    if failed:
        parts.append(f"{failed:,} could not be read")
    if gone:
        parts.append(
            f"the {'file' if gone == 1 else 'files'} of {counted(gone)} {'is' if gone == 1 else 'are'} gone"
        )
    return f"{_capital('; '.join(parts))}." if parts else ""


def counted(documents: int) -> str:
    """As in "1 document" and "30,000 documents"."""
    return f"{documents:,} {'document' if documents == 1 else 'documents'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
