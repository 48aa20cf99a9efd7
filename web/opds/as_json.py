"""OPDS 2.0: a feed as JSON, and a document as a publication. Pure; bytes out.

`origin` is the asker's own way here. A feed and a publication say in full where
they are: that is a rule of the Readium manifest beneath, and strict parsers
refuse what does not keep it. Every other address is relative to the host.
"""

from itertools import groupby
from typing import Any

import msgspec

from library.values import Document
from web.opds.feed import (
    JSON_ROOT,
    TITLE,
    Feed,
    Kind,
    authors_of,
    cover_href,
    cover_type,
    description_of,
    document_id,
    feed_id,
    file_href,
    file_type,
    identifiers_of,
    language_of,
    moment,
    sayable,
    subjects_of,
    title_of,
    year_of,
)

FEED = "application/opds+json"
PUBLICATION = "application/opds-publication+json"
# Every publication must have a picture, says the specification; a book without a cover has this one.
_STAND_IN = {"href": "/static/no-cover.png", "type": "image/png", "width": 300, "height": 400}


def feed_document(feed: Feed, origin: str) -> bytes:
    metadata: dict[str, Any] = {
        "identifier": feed_id(feed.here),
        "title": sayable(feed.title),
        "modified": moment(feed.updated),
    }
    if feed.total is not None:
        metadata["numberOfItems"] = feed.total
        metadata["itemsPerPage"] = feed.per_page
        metadata["currentPage"] = (feed.start - 1) // feed.per_page + 1
    links = [
        _link("self", origin + JSON_ROOT + feed.here, FEED),
        _link("start", JSON_ROOT, FEED, title=TITLE),
        _link("search", f"{JSON_ROOT}/search{{?query}}", FEED, templated=True, title="Search the library"),
    ]
    for rel, address in (
        ("up", feed.up),
        ("first", feed.first),
        ("previous", feed.previous),
        ("next", feed.next),
    ):
        if address is not None:
            links.append(_link(rel, JSON_ROOT + address, FEED))
    told: dict[str, Any] = {"metadata": metadata, "links": links}
    if feed.kind is Kind.NAVIGATION:
        told["navigation"] = [
            _link(
                signpost.rel,
                JSON_ROOT + signpost.to,
                FEED,
                title=sayable(signpost.title),
                **_counting(signpost.documents),
            )
            for signpost in feed.signposts
        ]
    else:
        told["publications"] = [publication(document, origin) for document in feed.documents]
    if feed.facets:
        told["facets"] = [
            {
                "metadata": {"title": group},
                "links": [
                    _link(
                        "self" if facet.active else "http://opds-spec.org/facet",
                        JSON_ROOT + facet.to,
                        FEED,
                        title=sayable(facet.title),
                        **_counting(facet.documents),
                    )
                    for facet in facets
                ],
            }
            for group, facets in groupby(feed.facets, key=lambda facet: facet.group)
        ]
    return msgspec.json.encode(told)


def publication_document(document: Document, origin: str) -> bytes:
    """One document alone."""
    return msgspec.json.encode(publication(document, origin))


def publication(document: Document, origin: str) -> dict[str, Any]:
    stated = identifiers_of(document)
    metadata: dict[str, Any] = {
        "@type": "http://schema.org/Book",
        "title": title_of(document),
        "identifier": stated[0] if stated else document_id(document),
        "modified": moment(document.updated_at),
    }
    for name, known in (
        ("altIdentifier", stated[1:]),
        ("author", [{"name": name} for name in authors_of(document)]),
        ("language", language_of(document)),
        ("published", year and f"{year}-01-01" if (year := year_of(document)) else None),
        ("description", description_of(document)),
        ("subject", [{"name": name} for name in subjects_of(document)]),
    ):
        if known:
            metadata[name] = known
    images = []
    if cover := cover_type(document):
        images = [{"href": cover_href(document), "type": cover}]
    return {
        "metadata": metadata,
        "links": [
            _link("self", f"{origin}{JSON_ROOT}/documents/{document.id}", PUBLICATION),
            _link(
                "http://opds-spec.org/acquisition/open-access",
                file_href(document),
                file_type(document),
                size=document.size_bytes,
            ),
        ],
        "images": images or [_STAND_IN],
    }


def _link(rel: str, href: str, type_: str, **more: Any) -> dict[str, Any]:
    return {"rel": rel, "href": href, "type": type_} | more


def _counting(documents: int | None) -> dict[str, Any]:
    return {} if documents is None else {"properties": {"numberOfItems": documents}}
