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


class Sort(enum.StrEnum):
    """In which order results are shown. Whatever the order, equals keep that of relevance."""

    RELEVANCE = "relevance"
    DATE = "date"  # the document's year, newest first, unknown last; then when it was received
    TITLE = "title"


class Candidate(msgspec.Struct, frozen=True):
    """A chunk as one index ranks it. Scores of two indexes share no unit."""

    id: str
    score: float


class Context(msgspec.Struct, frozen=True):
    """A passage as it is shown: the chunk, those it was joined with, and what stands around them.

    Always exactly `section.text[start:end]` of the chunk's own section.
    """

    start: int
    end: int
    text: str


class Passage(msgspec.Struct, frozen=True):
    """A retrieved chunk: where it stands, how well it fits, and a snippet of it."""

    excerpt: Excerpt
    score: float  # 0..1, comparable within one query only
    similarity: float | None  # cosine to the query, where the vector index ranked it
    found_by: tuple[Side, ...]
    snippet: str  # HTML: escaped text with <mark> around matched words
    # Where results are grouped: further passages of the same document, the best of them, and how many there are.
    others: tuple["Passage", ...] = ()
    others_total: int = 0
    context: Context | None = None  # where it was found by a search
    copies: tuple[str, ...] = ()  # ids of passages that say the same and are not shown for it


class FacetValue(msgspec.Struct, frozen=True):
    value: str
    count: int  # documents


class Facets(msgspec.Struct, frozen=True):
    """What the documents found are like. A document counts once for each value it has."""

    shelf: tuple[FacetValue, ...] = ()
    author: tuple[FacetValue, ...] = ()
    language: tuple[FacetValue, ...] = ()
    format: tuple[FacetValue, ...] = ()
    year: tuple[FacetValue, ...] = ()  # "1994", or "1990s" where there are many; newest first
    tag: tuple[FacetValue, ...] = ()


class SearchResult(msgspec.Struct, frozen=True):
    """What a query found, best first, and what could not be asked."""

    passages: tuple[Passage, ...]
    total: int  # passages, or groups of them, that could be paged through
    next_offset: int | None
    took_ms: float
    degraded: tuple[str, ...]  # sentences, when a side did not answer
    notices: tuple[str, ...] = ()  # sentences: what of the query was not understood, or cannot be
    did_you_mean: str | None = None  # another spelling of the query that would find more
    facets: Facets | None = None  # where they were asked for
