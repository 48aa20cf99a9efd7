"""Holdings: the documents whose file is there, listed for somebody who browses.

Also those that could not be read: a scan or a comic that Almanac finds no words
in is a book all the same to whoever opens it elsewhere. Reads only; knows no
feed and no page. Its hard rule: a list is walked by keys and never by counting
from its beginning, so its thousandth page costs what its first does.
"""

import base64
import binascii
import enum
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from library.catalogue import document_of, holding
from library.errors import DocumentNotFound, FileGone, InvalidRequest
from library.folding import fold, initial, sort_key
from library.models import AuthorRow, DocumentRow, ShelfRow
from library.record import Record, batches
from library.values import Document, DocumentState, FileSeen

_THERE = DocumentRow.state != DocumentState.MISSING


class Order(enum.StrEnum):
    TITLE = "title"
    NEWEST = "newest"


class Choice(msgspec.Struct, frozen=True):
    """Which documents are wanted; what is None asks for nothing."""

    shelf: str | None = None
    author: str | None = None  # however it is spelt
    language: str | None = None  # "en" also takes "en-gb"
    format: str | None = None
    letter: str | None = None  # that titles begin with, folded; "#" for what begins with none


class Listed(msgspec.Struct, frozen=True):
    """A page of a list. `next` and `previous` are cursors."""

    documents: tuple[Document, ...]
    total: int
    start: int  # place of the first in the whole list, from 1; a hint while the library changes
    next: str | None
    previous: str | None


class Group(msgspec.Struct, frozen=True):
    """Documents that have something in common, by its name."""

    name: str
    documents: int


class Groups(msgspec.Struct, frozen=True):
    groups: tuple[Group, ...]
    total: int
    start: int
    next: str | None
    previous: str | None


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins, or with `backward` ends: behind or before a key, which is not on it."""

    key: str
    id: str
    start: int
    backward: bool = False


class Holdings:
    def __init__(self, record: Record) -> None:
        self._record = record

    def listed(
        self, choice: Choice, order: Order = Order.TITLE, *, limit: int = 50, cursor: str | None = None
    ) -> Listed:
        """A page of the chosen documents. Raises InvalidRequest for a cursor that no page has given."""
        at = _read(cursor) if cursor else None
        key = _sorted_by(order)
        descending = order is Order.NEWEST
        with self._record.reading() as session:
            wanted = self._wanted(session, choice)
            total = session.scalar(select(func.count()).select_from(DocumentRow).where(*wanted)) or 0
            from_here = [_beyond(at, key, descending=descending)] if at else []
            backward = at is not None and at.backward
            keys = [key, DocumentRow.id]
            rows: list[Any] = list(
                session.execute(
                    select(key, DocumentRow.id)
                    .where(*wanted, *from_here)
                    .order_by(*(part.desc() if descending != backward else part for part in keys))
                    .limit(limit + 1)
                )
            )
            if backward and len(rows) <= limit:  # the beginning was met: the first page, whole
                return self.listed(choice, order, limit=limit)
            more, rows = len(rows) > limit, rows[:limit]
            if backward:
                rows.reverse()
            documents = _documents(session, [id_ for _, id_ in rows])
        start = _start(at, len(rows))
        following = earlier = None
        if rows and (more or backward):
            following = _written(_Cursor(_text(rows[-1][0]), rows[-1][1], start + len(rows)))
        if rows and at is not None:
            earlier = _written(_Cursor(_text(rows[0][0]), rows[0][1], start, backward=True))
        return Listed(tuple(documents), total, start, following, earlier)

    def authors(self, *, limit: int = 50, cursor: str | None = None) -> Groups:
        """Authors by name, and how many documents each has. Raises InvalidRequest for a foreign cursor."""
        at = _read(cursor) if cursor else None
        with self._record.reading() as session:
            total = _authors_there(session)
            backward = at is not None and at.backward
            query = (
                select(AuthorRow.key, func.min(AuthorRow.name), func.count())
                .where(_written_there(AuthorRow))
                .group_by(AuthorRow.key)
                .order_by(AuthorRow.key.desc() if backward else AuthorRow.key)
                .limit(limit + 1)
            )
            if at is not None:
                query = query.where(AuthorRow.key < at.key if backward else AuthorRow.key > at.key)
            rows = session.execute(query).all()
        if backward and len(rows) <= limit:
            return self.authors(limit=limit)
        more, rows = len(rows) > limit, rows[:limit]
        if backward:
            rows = rows[::-1]
        start = _start(at, len(rows))
        return Groups(
            tuple(Group(name, count) for _, name, count in rows),
            total,
            start,
            _written(_Cursor(rows[-1][0], "", start + len(rows))) if rows and (more or backward) else None,
            _written(_Cursor(rows[0][0], "", start, backward=True)) if rows and at is not None else None,
        )

    def letters(self) -> list[Group]:
        """The letters that titles begin with, "#" for the others at the end."""
        first = func.substr(DocumentRow.title_key, 1, 1)
        counts: dict[str, int] = {}
        with self._record.reading() as session:
            for sign, count in session.execute(select(first, func.count()).where(_THERE).group_by(first)):
                counts[initial(sign)] = counts.get(initial(sign), 0) + count
        letters = sorted(counts, key=lambda letter: (letter == "#", letter))
        return [Group(letter, counts[letter]) for letter in letters]

    def counted(self, choice: Choice) -> dict[str, list[Group]]:
        """By shelf, language and format: how many of the documents chosen by all else stand under each name."""
        columns = (DocumentRow.shelf_id, DocumentRow.language, DocumentRow.format)
        free = msgspec.structs.replace(choice, shelf=None, language=None, format=None)
        with self._record.reading() as session:
            names = {id_: name for id_, name in session.execute(select(ShelfRow.id, ShelfRow.name))}  # noqa: C416 - as in Catalogue.counts
            # One look at the index for all three; there are few kinds of documents, however many documents.
            rows = session.execute(
                select(*columns, func.count()).where(*self._wanted(session, free)).group_by(*columns)
            ).all()
        found: dict[str, list[tuple[str, int]]] = {"shelf": [], "language": [], "format": []}
        for shelf_id, tag, format_, count in rows:
            known = {
                "shelf": shelf_id and names.get(shelf_id),
                "language": tag and primary(tag),
                "format": format_,
            }
            fits = {
                "shelf": choice.shelf in (None, known["shelf"]),
                "language": choice.language in (None, tag, known["language"]),
                "format": choice.format in (None, format_),
            }
            for group, name in known.items():
                if name and all(fits[other] for other in fits if other != group):
                    found[group].append((name, count))
        return {group: merged(counts) for group, counts in found.items()}

    def named(self, query: str, *, limit: int) -> list[Document]:
        """Documents whose title, authors or subjects hold all the words of a query.

        Those with all of them in the title come first, then by title. A query
        without a word finds nothing.
        """
        held = holding(query, DocumentRow.lookup)
        if not held:
            return []
        in_title = and_(*holding(query, DocumentRow.title_key))
        with self._record.reading() as session:
            ids = session.scalars(
                select(DocumentRow.id)
                .where(_THERE, *held)
                .order_by(in_title.desc(), DocumentRow.title_key, DocumentRow.id)
                .limit(limit)
            ).all()
            return _documents(session, ids)

    def latest(self) -> datetime | None:
        """When anything in the library changed last."""
        with self._record.reading() as session:
            return session.scalar(select(func.max(DocumentRow.updated_at)))

    def file(self, document_id: str) -> FileSeen:
        """A document's file, as the record remembers it. Raises DocumentNotFound and FileGone."""
        with self._record.reading() as session:
            row = session.get(DocumentRow, document_id)
        if row is None:
            raise DocumentNotFound(document_id)
        if row.state == DocumentState.MISSING:
            raise FileGone(row.path)
        return FileSeen(row.path, row.size_bytes, row.mtime_ns, row.digest, row.format)

    def _wanted(self, session: Session, choice: Choice) -> list[ColumnElement[bool]]:
        wanted = [_THERE]
        if choice.shelf is not None:
            shelf_id = session.scalar(select(ShelfRow.id).where(ShelfRow.name == choice.shelf))
            # "+ 0" keeps SQLite on the index by title: sorting a shelf of 30,000 for each of its pages takes longer.
            wanted.append(DocumentRow.shelf_id + 0 == (-1 if shelf_id is None else shelf_id))
        if choice.author is not None:
            written = select(AuthorRow.document_id).where(AuthorRow.key == sort_key(choice.author))
            wanted.append(DocumentRow.id.in_(written))
        if choice.language is not None:
            language = choice.language.lower()
            wanted.append(
                or_(
                    DocumentRow.language == language,
                    DocumentRow.language.startswith(f"{language}-", autoescape=True),
                )
            )
        if choice.format is not None:
            wanted.append(DocumentRow.format == choice.format)
        if choice.letter is not None:
            wanted.append(self._under(choice.letter))
        return wanted

    def _under(self, letter: str) -> ColumnElement[bool]:
        key = DocumentRow.title_key
        if letter == "#":
            first = func.substr(key, 1, 1)
            with self._record.reading() as session:
                signs = session.scalars(select(first).distinct()).all()
            return first.in_([sign for sign in signs if initial(sign) == "#"])
        letter = fold(letter)
        if len(letter) != 1:
            raise InvalidRequest("letter", 'must be one letter, or "#" for titles that begin with none.')
        return (
            and_(key >= letter, key < chr(ord(letter) + 1))
            if ord(letter) not in (0xD7FF, 0x10FFFF)
            else key == ""
        )


def primary(language: str) -> str:
    """The language without its region or script: "en" of "en-gb"."""
    return language.partition("-")[0]


def merged(counts: Iterable[tuple[str, int]]) -> list[Group]:
    """Names with their counts added up, the greatest first."""
    total: dict[str, int] = {}
    for name, count in counts:
        total[name] = total.get(name, 0) + count
    return [Group(name, total[name]) for name in sorted(total, key=lambda name: (-total[name], name))]


def _documents(session: Session, ids: Sequence[str]) -> list[Document]:
    """The documents of these ids, in their order."""
    found: dict[str, Document] = {}
    for some in batches(ids):
        rows = session.execute(
            select(DocumentRow, ShelfRow.name)
            .outerjoin(ShelfRow, DocumentRow.shelf_id == ShelfRow.id)
            .where(DocumentRow.id.in_(some))
        )
        found |= {row.id: document_of(row, shelf) for row, shelf in rows}
    return [found[id_] for id_ in ids if id_ in found]


def _written_there(author: Any) -> ColumnElement[bool]:
    """That the author's document is there. Asked of each row: for a join, SQLite would begin at the documents."""
    return select(DocumentRow.id).where(DocumentRow.id == author.document_id, _THERE).exists()


def _authors_there(session: Session) -> int:
    """How many authors there are, without those whose documents have all gone."""
    everyone = session.scalar(select(func.count(AuthorRow.key.distinct()))) or 0
    other = aliased(AuthorRow)
    elsewhere = select(other.key).where(other.key == AuthorRow.key, _written_there(other)).exists()
    gone = session.scalar(
        select(func.count(AuthorRow.key.distinct()))
        .join(DocumentRow)
        .where(DocumentRow.state == DocumentState.MISSING, ~elsewhere)
    )
    return everyone - (gone or 0)


def _sorted_by(order: Order) -> Any:
    return DocumentRow.title_key if order is Order.TITLE else DocumentRow.received_at


def _beyond(at: _Cursor, key: Any, *, descending: bool) -> ColumnElement[bool]:
    value: Any = at.key
    if key is DocumentRow.received_at:
        try:
            value = datetime.fromisoformat(at.key)
        except ValueError as error:
            raise _foreign() from error
        if value.tzinfo is None:
            raise _foreign()
    here, there = tuple_(key, DocumentRow.id), tuple_(value, at.id)
    return here < there if descending != at.backward else here > there


def _start(at: _Cursor | None, found: int) -> int:
    if at is None:
        return 1
    return max(1, at.start - found) if at.backward else at.start


def _text(key: str | datetime) -> str:
    return key.isoformat() if isinstance(key, datetime) else key


def _written(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def _read(cursor: str) -> _Cursor:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=_Cursor)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise _foreign() from error
    if not 1 <= found.start <= 2**31:
        raise _foreign()
    return found


def _foreign() -> InvalidRequest:
    return InvalidRequest("cursor", "is not one that a page has given; leave it out to start again.")
