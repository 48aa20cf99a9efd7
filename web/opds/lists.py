"""The lists of the catalogue: for each address below its root, the feed that is there.

Asks the record and the retriever, and knows neither Atom nor JSON. Its hard
rule: everything that is there can be reached by following links, by a client
that knows no facet, no search and no number of pages.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from library.errors import IndexUnavailable, InvalidRequest
from library.holdings import Choice, Group, Groups, Listed, Order, merged, primary
from library.values import Document, DocumentState, Shelf
from search.query import parse
from web.house import House
from web.opds.feed import (
    LIST_LIMIT,
    TITLE,
    Feed,
    Kind,
    Signpost,
    chosen,
    facets,
    language_name,
    sayable,
    to,
)
from web.words import counted

_MOST_NAMED = 200
_PASSAGES_AT_ONCE = 100  # what one search gives at most


class Asked(msgspec.Struct, frozen=True):
    """What an address asks for besides its path."""

    choice: Choice = Choice()
    query: str = ""
    cursor: str | None = None


def root(house: House, _: Asked) -> Feed:
    """The way in."""
    counts = house.catalogue.counts()
    there = sum(counts.values()) - counts[DocumentState.MISSING]
    return Feed(
        title=TITLE,
        here="",
        updated=_updated(house),
        kind=Kind.NAVIGATION,
        up=None,
        signposts=(
            Signpost(
                "New",
                "What came to the library last.",
                "/new",
                rel="http://opds-spec.org/sort/new",
                documents=there,
            ),
            Signpost("All by title", f"All of it: {counted(there)}.", "/titles", documents=there),
            Signpost("By first letter", "Titles from A to Z.", "/letters", Kind.NAVIGATION),
            Signpost("Shelves", "The folders of the library.", "/shelves", Kind.NAVIGATION),
            Signpost("Authors", "Everybody who has written something here.", "/authors", Kind.NAVIGATION),
            Signpost("Languages", "What is here in which language.", "/languages", Kind.NAVIGATION),
        ),
    )


def titles(house: House, asked: Asked) -> Feed:
    """Documents by title: all of them, or those chosen."""
    return _documents(house, asked, "/titles", Order.TITLE, _title_of(asked.choice))


def new(house: House, asked: Asked) -> Feed:
    """Documents, those that came last first."""
    return _documents(house, asked, "/new", Order.NEWEST, "New")


def letters(house: House, _: Asked) -> Feed:
    """A signpost for each letter that titles begin with."""
    named = {"#": "0–9 and others"}
    groups = [(group, named.get(group.name, group.name.upper())) for group in house.holdings.letters()]
    return _signposts(house, "By first letter", "/letters", _leading("letter", groups))


def shelves(house: House, _: Asked) -> Feed:
    """A signpost for each shelf."""
    groups = [(shelf, shelf.name) for shelf in house.catalogue.shelves()]
    return _signposts(house, "Shelves", "/shelves", _leading("shelf", groups))


def languages(house: House, _: Asked) -> Feed:
    """A signpost for each language, the commonest first."""
    groups = [(group, language_name(group.name)) for group in house.holdings.counted(Choice())["language"]]
    return _signposts(house, "Languages", "/languages", _leading("language", groups))


def authors(house: House, asked: Asked) -> Feed:
    """A signpost for each author, a page at a time."""
    page = house.holdings.authors(limit=LIST_LIMIT, cursor=asked.cursor)
    signposts = _leading("author", [(group, group.name) for group in page.groups])
    feed = _signposts(house, "Authors", "/authors", signposts)
    return _paged(feed, "/authors", {}, page, asked.cursor)


def search(house: House, asked: Asked) -> Feed:
    """What a query finds: documents named so, then those whose passages fit it, best first."""
    query = " ".join(asked.query.split())
    here = {"q": query, **chosen(asked.choice)}
    found = [document for document in _found(house, query) if _is_chosen(document, asked.choice)]
    start = _offset(asked.cursor)
    following = start + LIST_LIMIT
    before = None if not start else to("/search", here | {"cursor": str(max(0, start - LIST_LIMIT) or "")})
    return Feed(
        title=f"Search: {sayable(query, 100)}" if query else "Search",
        here=to("/search", here | {"cursor": asked.cursor}),
        updated=_updated(house),
        kind=Kind.ACQUISITION,
        documents=found[start:following],
        facets=() if start else facets("/search", here, _counted(found)),
        total=len(found),
        start=start + 1,
        first=to("/search", here),
        next=to("/search", here | {"cursor": str(following)}) if following < len(found) else None,
        previous=before,
        query=query,
    )


LISTS: dict[str, Callable[[House, Asked], Feed]] = {
    "new": new,
    "titles": titles,
    "letters": letters,
    "shelves": shelves,
    "authors": authors,
    "languages": languages,
    "search": search,
}


def _documents(house: House, asked: Asked, path: str, order: Order, title: str) -> Feed:
    page = house.holdings.listed(asked.choice, order, limit=LIST_LIMIT, cursor=asked.cursor)
    narrowed = chosen(asked.choice)
    feed = Feed(
        title=title,
        here="",
        updated=_updated(house),
        kind=Kind.ACQUISITION,
        documents=page.documents,
        # Once a list: they are the same on each of its pages.
        facets=() if asked.cursor else facets(path, narrowed, house.holdings.counted(asked.choice)),
    )
    return _paged(feed, path, narrowed, page, asked.cursor)


def _leading(kind: str, groups: Iterable[tuple[Group | Shelf, str]]) -> list[Signpost]:
    """To the documents of each group, under the title given beside it."""
    return [
        Signpost(
            title,
            f"{counted(group.documents)}.",
            to("/titles", {kind: group.name}),
            documents=group.documents,
        )
        for group, title in groups
    ]


def _signposts(house: House, title: str, here: str, signposts: Sequence[Signpost]) -> Feed:
    return Feed(title=title, here=here, updated=_updated(house), kind=Kind.NAVIGATION, signposts=signposts)


def _paged(
    feed: Feed, path: str, parameters: dict[str, str | None], page: Listed | Groups, cursor: str | None
) -> Feed:
    def at(place: str | None) -> str | None:
        return None if place is None else to(path, parameters | {"cursor": place})

    return msgspec.structs.replace(
        feed,
        here=to(path, parameters | {"cursor": cursor}),
        total=page.total,
        start=page.start,
        first=to(path, parameters),
        next=at(page.next),
        previous=at(page.previous),
    )


def _title_of(choice: Choice) -> str:
    language = language_name(choice.language) if choice.language else None
    letter = choice.letter.upper() if choice.letter else None
    told = [part for part in (choice.shelf, choice.author, language, choice.format, letter) if part]
    return sayable(" · ".join(told), 200) or "All by title"


def _updated(house: House) -> datetime:
    return house.holdings.latest() or house.started_at


def _found(house: House, query: str) -> list[Document]:
    """Every document that a query finds, each once.

    A query with operators says exactly where its words must stand, so only the
    retriever, which knows them, is asked.
    """
    if not query:
        return []
    parsed = parse(query)
    is_plain = not any(clause.required or clause.excluded for clause in parsed.clauses)
    named = house.holdings.named(query, limit=_MOST_NAMED) if is_plain else []
    found = {document.id: document for document in named}
    try:
        offset: int | None = 0
        while offset is not None:
            result = house.retriever.search(query, limit=_PASSAGES_AT_ONCE, offset=offset)
            for passage in result.passages:
                found.setdefault(passage.excerpt.document.id, passage.excerpt.document)
            offset = result.next_offset
    except IndexUnavailable:
        if not found:
            raise
    return list(found.values())


def _is_chosen(document: Document, choice: Choice) -> bool:
    return (
        choice.shelf in (None, document.shelf)
        and choice.format in (None, document.format)
        and (choice.language is None or choice.language in (document.language, _language(document)))
    )


def _counted(found: Sequence[Document]) -> dict[str, list[Group]]:
    return {
        "shelf": merged((document.shelf, 1) for document in found if document.shelf),
        "language": merged((language, 1) for document in found if (language := _language(document))),
        "format": merged((document.format, 1) for document in found),
    }


def _language(document: Document) -> str | None:
    return primary(document.language) if document.language else None


def _offset(cursor: str | None) -> int:
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 6):
        raise InvalidRequest("cursor", "is not one that a page has given; leave it out to start again.")
    return int(cursor)
