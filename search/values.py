"""Values of the search floor."""

import enum

import msgspec

from library.values import Excerpt


class Side(enum.StrEnum):
    """Which of the two indexes found a passage."""

    WORDS = "words"
    MEANING = "meaning"


class Mode(enum.StrEnum):
    LEXICAL = "lexical"
    VECTOR = "vector"
    HYBRID = "hybrid"


class Candidate(msgspec.Struct, frozen=True):
    """A chunk as one index ranks it. Scores of two indexes share no unit."""

    id: str
    score: float


class Passage(msgspec.Struct, frozen=True):
    """A retrieved chunk: where it stands, how well it fits, and a snippet of it."""

    excerpt: Excerpt
    score: float  # 0..1, comparable within one query only
    similarity: float | None  # cosine to the query, where the vector index ranked it
    found_by: tuple[Side, ...]
    snippet: str  # HTML: escaped text with <mark> around matched words


class SearchResult(msgspec.Struct, frozen=True):
    """What a query found, best first, and what could not be asked."""

    passages: tuple[Passage, ...]
    total: int  # passages that could be paged through
    next_offset: int | None
    took_ms: float
    degraded: tuple[str, ...]  # sentences, when a side did not answer
