"""The query: what a reader typed, taken apart.

Values only at the top; `parse` turns text into them and never fails: what it
cannot make sense of is searched as plain words, and `notices` say so. Knows
neither index.
"""

import enum

import msgspec


class Field(enum.StrEnum):
    """Where a term has to stand."""

    ANY = "any"  # text, headings or title
    TITLE = "title"
    AUTHOR = "author"


class Term(msgspec.Struct, frozen=True):
    """One word or phrase, as it was typed; each index analyses it itself."""

    text: str
    field: Field = Field.ANY
    phrase: bool = False  # its words in this order, side by side
    prefix: bool = False  # every word that begins so


class Clause(msgspec.Struct, frozen=True):
    """Terms of which any one will do. Neither required nor excluded: it only adds to the score."""

    any_of: tuple[Term, ...]
    required: bool = False
    excluded: bool = False


class Filters(msgspec.Struct, frozen=True):
    """What a document has to be. Within a tuple any one will do; an empty tuple asks for nothing."""

    shelves: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()  # "en" also takes "en-gb"
    formats: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    after: int | None = None  # the year, itself included
    before: int | None = None  # the year, itself included


class Query(msgspec.Struct, frozen=True):
    text: str  # what is embedded: the words that are wanted, without operators
    clauses: tuple[Clause, ...] = ()
    filters: Filters = Filters()
    notices: tuple[str, ...] = ()  # sentences: what was not understood


def parse(typed: str) -> Query:
    """Take a query apart. Never raises."""
    words = typed.split()
    return Query(" ".join(words), tuple(Clause((Term(word),)) for word in words))
