"""The tables of the record, and nothing else.

Knows no query, and one rule: a folded column follows the one it is folded from.
What is derived can be rebuilt from these rows and the folder; these rows cannot
be rebuilt from anything.

    shelves ──< documents ──< sections
                    ├──────< chunks        (a span of one section)
                    └──────< authors       (one name each, to browse by)
    jobs                                   (what the appliance did on its own)
    facts                                  (single values: which index serves, is ingest paused)
"""

from datetime import UTC, datetime
from typing import cast

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    Table,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, validates

from library.folding import fold, lookup, sort_key


class UtcTime(TypeDecorator[datetime]):
    """A point in time, always UTC, whatever the database thinks of time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Refuse a naive time: nobody could say later which zone it meant."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a zone cannot be recorded")
        return value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """SQLite hands times back naive; they were written as UTC."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcTime(), list[str]: JSON()}  # noqa: RUF012 - SQLAlchemy's own name


class ShelfRow(Base):
    """A first-level folder of the library."""

    __tablename__ = "shelves"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class DocumentRow(Base):
    """One file of the folder. Rows in state `waiting` are the durable ingest queue."""

    __tablename__ = "documents"
    __table_args__ = (
        Index(None, "state", "received_at"),
        Index(None, "state", "shelf_id", "chunks", "embedded"),  # all that is counted, for every page
        # A list by title, with all it is filtered by: the rows themselves are read for one page only.
        Index(None, "title_key", "id", "state", "shelf_id", "language", "format"),
        Index(None, "received_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(unique=True)  # relative to the library folder, with /
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("shelves.id"), index=True)
    digest: Mapped[str] = mapped_column(index=True)  # sha256 of the file, hex
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    format: Mapped[str]
    title: Mapped[str]
    authors: Mapped[list[str]]
    language: Mapped[str | None]
    year: Mapped[int | None]
    identifiers: Mapped[list[str]]
    subjects: Mapped[list[str]]
    description: Mapped[str]
    cover: Mapped[str | None]  # name of a picture inside the file
    state: Mapped[str]
    reason: Mapped[str | None]
    chunks: Mapped[int]
    # Chunks 0..embedded-1 have their vector. A watermark and not a flag per
    # chunk: one row is written per batch, and a crash redoes one batch.
    embedded: Mapped[int]
    # The same watermark in a vector index that is being built beside the serving one.
    rebuilt: Mapped[int]
    # The file moved, and both indexes still hold the shelf it stood on before.
    reshelve: Mapped[bool]
    received_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(index=True)  # "what changed since?" is asked every second
    # Folded; see `library.folding`.
    title_key: Mapped[str] = mapped_column(server_default="")  # sorts titles
    path_key: Mapped[str] = mapped_column(server_default="")
    lookup: Mapped[str] = mapped_column(server_default="")  # title, authors and subjects, a line each

    @validates("path")
    def _fold_path(self, _: str, path: str) -> str:
        self.path_key = fold(path)
        return path

    @validates("title")
    def _fold_title(self, _: str, title: str) -> str:
        """A document that nobody has read is known by its title alone; reading brings the rest."""
        self.title_key, self.lookup = sort_key(title), lookup(title)
        return title


class AuthorRow(Base):
    """A document by one of its authors."""

    __tablename__ = "authors"
    __table_args__ = (Index(None, "key", "document_id"),)

    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)  # the name folded: one author, however it is spelt
    name: Mapped[str]


class SectionRow(Base):
    """One heading's own text. See `library.values.Section`."""

    __tablename__ = "sections"
    __table_args__ = (UniqueConstraint("document_id", "ordinal"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    ordinal: Mapped[int]
    level: Mapped[int]
    heading_path: Mapped[list[str]]
    anchor: Mapped[str]
    start: Mapped[int]  # characters into the document's text
    text: Mapped[str]


class ChunkRow(Base):
    """A span of a section. Its text is not stored twice; it is cut from the section."""

    __tablename__ = "chunks"
    __table_args__ = (UniqueConstraint("document_id", "ordinal"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    section: Mapped[int]  # ordinal of the section within the document
    ordinal: Mapped[int]
    start: Mapped[int]  # characters into the section's text
    end: Mapped[int]


class JobRow(Base):
    """Work the appliance did on its own: what, when, and how it ended."""

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "kind", "started_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]  # "scan"
    state: Mapped[str]  # "running", "done", "failed"
    detail: Mapped[str]  # a sentence
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class FactRow(Base):
    """One value that must change in the same transaction as the rows it speaks of."""

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


# The same as plain tables, for statements over many rows at once.
SHELVES = cast("Table", ShelfRow.__table__)
DOCUMENTS = cast("Table", DocumentRow.__table__)
SECTIONS = cast("Table", SectionRow.__table__)
SHELVES = cast("Table", ShelfRow.__table__)
CHUNKS = cast("Table", ChunkRow.__table__)
AUTHORS = cast("Table", AuthorRow.__table__)
