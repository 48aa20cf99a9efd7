"""Values that cross floors: frozen, plain, and free of any vendor's type."""

import enum

import msgspec


class DocumentState(enum.StrEnum):
    """Where a document is on its way from the folder to being found."""

    WAITING = "waiting"  # received; its file has not been read yet
    READING = "reading"  # in the ingest worker's hands
    FINDABLE_WORDS = "findable_words"  # in the lexical index; vectors still to come
    FINDABLE = "findable"  # proven in both indexes
    FAILED = "failed"  # cannot be read; `reason` says why
    MISSING = "missing"  # its file is gone from the folder


class Section(msgspec.Struct, frozen=True):
    """One heading's own text, without that of the headings below it.

    `heading_path` starts with the document's title and ends with this
    section's heading. `anchor` is the place in the file ("ch3.xhtml#fire",
    or "" where the format has none). `text` is blocks (paragraphs, list
    items, table rows, code) separated by one blank line or, inside a list,
    table or poem, by a newline.
    """

    ordinal: int  # 0-based, reading order, unique in the document
    level: int  # 1 for a chapter, 2.. below it
    heading_path: tuple[str, ...]
    anchor: str
    text: str


class Chunk(msgspec.Struct, frozen=True):
    """The indexed unit. Always exactly `section.text[start:end]`."""

    ordinal: int  # 0-based, reading order, unique in the document
    section: int  # ordinal of its section
    start: int  # character offset into the section's text
    end: int
    text: str


class Extracted(msgspec.Struct, frozen=True):
    """What an extractor makes of one file."""

    title: str
    authors: tuple[str, ...]
    language: str | None  # BCP 47, lowercase, as the file declares it
    year: int | None
    sections: tuple[Section, ...]


def indexed_text(heading_path: tuple[str, ...], text: str) -> str:
    """What is embedded and put into the lexical index for a chunk: its path, then its text."""
    return f"{' › '.join(heading_path)}\n{text}"
