"""Values that cross floors: frozen, plain, and free of any vendor's type."""

import enum
from datetime import datetime

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
    section's heading; ordinals and levels together are the tree, in preorder.
    `anchor` is the place in the file ("ch3.xhtml#fire", "page=12" for a page
    of a PDF, or "" where the format has none). `text` is blocks (paragraphs, list
    items, table rows, code) separated by one blank line or, inside a list,
    table or poem, by a newline.
    """

    ordinal: int  # 0-based, reading order, unique in the document
    level: int  # 1 for a chapter, 2.. below it
    heading_path: tuple[str, ...]
    anchor: str
    text: str
    # Characters into the document's text: its sections in order, a blank line between two.
    start: int = 0


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
    language: str | None  # BCP 47, lowercase, as the file declares it, else as its text shows it
    year: int | None
    sections: tuple[Section, ...]
    identifiers: tuple[str, ...] = ()  # "isbn:9780…", "urn:uuid:…", as the file states them
    subjects: tuple[str, ...] = ()
    description: str = ""  # plain text
    cover: str | None = None  # the name of a picture inside the file


def indexed_text(heading_path: tuple[str, ...], text: str) -> str:
    """What is embedded and put into the lexical index for a chunk: its path, then its text."""
    return f"{' › '.join(heading_path)}\n{text}"


class Document(msgspec.Struct, frozen=True):
    """A file of the library and what has become of it."""

    id: str
    path: str  # relative to the library folder, with /
    shelf: str | None  # first-level folder; None for a file that lies beside the shelves
    title: str
    authors: tuple[str, ...]
    language: str | None
    year: int | None
    identifiers: tuple[str, ...]
    subjects: tuple[str, ...]
    description: str
    cover: str | None  # the name of a picture inside the file
    format: str
    size_bytes: int
    state: DocumentState
    reason: str | None  # a sentence, when failed
    chunks: int
    embedded: int  # how many of the chunks have their vector
    received_at: datetime
    updated_at: datetime

    @property
    def labels(self) -> "Labels":
        return Labels(
            self.shelf, self.title, self.authors, self.language, self.format, self.year, self.subjects
        )


class Amount(msgspec.Struct, frozen=True):
    """How much there is, over all documents that are indexed or on their way."""

    chunks: int  # of the documents that have been read
    embedded: int  # of these, how many have their vector
    read_bytes: int  # size of the files that have been read
    unread_bytes: int  # size of those that wait


class Shelf(msgspec.Struct, frozen=True):
    name: str
    documents: int


class FileSeen(msgspec.Struct, frozen=True):
    """A settled file, as the folder shows it."""

    path: str
    size_bytes: int
    mtime_ns: int
    digest: str  # sha256, hex; "" when the file cannot be read
    format: str

    @property
    def shelf(self) -> str | None:
        first, slash, _ = self.path.partition("/")
        return first if slash else None


class FileKnown(msgspec.Struct, frozen=True):
    """A file, as the record remembers it."""

    size_bytes: int
    mtime_ns: int
    state: DocumentState
    digest: str


class Receipt(enum.Enum):
    """What receiving a file came to."""

    NEW = "new"
    CHANGED = "changed"
    MOVED = "moved"
    SAME = "same"


class Labels(msgspec.Struct, frozen=True):
    """What a document is filtered and counted by; the same for each of its chunks."""

    shelf: str | None = None
    title: str = ""
    authors: tuple[str, ...] = ()
    language: str | None = None  # BCP 47, lowercase
    format: str = ""
    year: int | None = None
    subjects: tuple[str, ...] = ()


class IndexedChunk(msgspec.Struct, frozen=True):
    """A chunk as both indexes take it."""

    id: str
    document_id: str
    ordinal: int
    labels: Labels
    heading_path: tuple[str, ...]
    text: str

    @property
    def indexed_text(self) -> str:
        return indexed_text(self.heading_path, self.text)


class Excerpt(msgspec.Struct, frozen=True):
    """A chunk with what a reader needs to know about where it stands."""

    id: str
    document: Document
    ordinal: int
    section: int
    heading_path: tuple[str, ...]
    anchor: str
    start: int
    end: int
    text: str
    # Where it was asked for: the section's text on either side.
    before: str = ""
    after: str = ""


class Origin(msgspec.Struct, frozen=True):
    """As much of a chunk's document as results are sorted, grouped and counted by."""

    document_id: str
    labels: Labels
    received_at: datetime


class Job(msgspec.Struct, frozen=True):
    id: str
    kind: str
    state: str
    detail: str
    started_at: datetime
    finished_at: datetime | None


class Page(msgspec.Struct, frozen=True):
    """A page of documents; `next` is the cursor of the page behind it."""

    items: tuple[Document, ...]
    total: int
    next: str | None
