"""Passages for tests of answering."""

from datetime import UTC, datetime

from library.values import Document, DocumentState, Excerpt
from search.values import Passage, Side

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def document(name: str = "water") -> Document:
    return Document(
        id=f"00000000-0000-4000-8000-{sum(name.encode()):012d}",
        path=f"{name}/{name}.md",
        shelf=name,
        title=name.title(),
        authors=(),
        language="en",
        year=2026,
        format="markdown",
        size_bytes=100,
        state=DocumentState.FINDABLE,
        reason=None,
        chunks=1,
        embedded=1,
        identifiers=(),
        subjects=(),
        description="",
        cover=None,
        received_at=NOW,
        updated_at=NOW,
    )


def passage(
    text: str, *, similarity: float | None = 0.6, path: tuple[str, ...] = ("Water", "Boiling")
) -> Passage:
    excerpt = Excerpt(
        id=f"10000000-0000-4000-8000-{sum(text.encode()):012d}",
        document=document(),
        ordinal=0,
        section=0,
        heading_path=path,
        anchor="",
        start=0,
        end=len(text),
        text=text,
    )
    return Passage(excerpt, 1.0, similarity, (Side.WORDS, Side.MEANING), text)
