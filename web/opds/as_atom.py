"""OPDS 1.2: a feed as Atom, and the OpenSearch description. Pure; bytes out.

Built as a tree, never pasted together. Element names carry their prefixes as
they are, declared once at the top: some reading devices know `dc:language` by
these very letters.
"""

import xml.etree.ElementTree as ET

from library.values import Document
from web.opds.feed import (
    ATOM_ROOT,
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

NAVIGATION = "application/atom+xml;profile=opds-catalog;kind=navigation"
ACQUISITION = "application/atom+xml;profile=opds-catalog;kind=acquisition"
ENTRY = "application/atom+xml;type=entry;profile=opds-catalog"
DESCRIPTION = "application/opensearchdescription+xml"
_TYPES = {Kind.NAVIGATION: NAVIGATION, Kind.ACQUISITION: ACQUISITION}
_NAMESPACES = {
    "xmlns": "http://www.w3.org/2005/Atom",
    "xmlns:dc": "http://purl.org/dc/terms/",
    "xmlns:opds": "http://opds-spec.org/2010/catalog",
    "xmlns:opensearch": "http://a9.com/-/spec/opensearch/1.1/",
    "xmlns:thr": "http://purl.org/syndication/thread/1.0",
}
_OPENSEARCH = "http://a9.com/-/spec/opensearch/1.1/"


def media_type_of(feed: Feed) -> str:
    return _TYPES[feed.kind]


def feed_document(feed: Feed) -> bytes:
    top = ET.Element("feed", _NAMESPACES)
    _text(top, "id", feed_id(feed.here))
    _text(top, "title", sayable(feed.title))
    _text(top, "updated", moment(feed.updated))
    _text(ET.SubElement(top, "author"), "name", TITLE)
    _text(top, "icon", "/static/favicon.svg")
    _link(top, "self", ATOM_ROOT + feed.here, media_type_of(feed))
    _link(top, "start", ATOM_ROOT, NAVIGATION, title=TITLE)
    if feed.up is not None:
        _link(top, "up", ATOM_ROOT + feed.up, NAVIGATION)
    _link(top, "search", f"{ATOM_ROOT}/opensearch.xml", DESCRIPTION, title="Search the library")
    # Older clients do not fetch the description; they look for the braces in the link itself.
    _link(top, "search", f"{ATOM_ROOT}/search?q={{searchTerms}}", "application/atom+xml")
    for rel, address in (("first", feed.first), ("previous", feed.previous), ("next", feed.next)):
        if address is not None:
            _link(top, rel, ATOM_ROOT + address, media_type_of(feed))
    if feed.total is not None:
        _text(top, "opensearch:totalResults", str(feed.total))
        _text(top, "opensearch:itemsPerPage", str(feed.per_page))
        _text(top, "opensearch:startIndex", str(feed.start))
    if feed.query is not None:
        terms = sayable(feed.query, 500)
        ET.SubElement(top, "opensearch:Query", {"role": "request", "searchTerms": terms})
    for facet in feed.facets:
        told = {"opds:facetGroup": facet.group, "thr:count": str(facet.documents)}
        if facet.active:
            told["opds:activeFacet"] = "true"
        _link(
            top,
            "http://opds-spec.org/facet",
            ATOM_ROOT + facet.to,
            ACQUISITION,
            title=sayable(facet.title),
            **told,
        )
    for signpost in feed.signposts:
        entry = ET.SubElement(top, "entry")
        _text(entry, "title", sayable(signpost.title))
        _text(entry, "id", feed_id(signpost.to))
        _text(entry, "updated", moment(feed.updated))
        _text(entry, "content", sayable(signpost.says), type="text")
        counted = {} if signpost.documents is None else {"thr:count": str(signpost.documents)}
        _link(entry, signpost.rel, ATOM_ROOT + signpost.to, _TYPES[signpost.kind], **counted)
    for document in feed.documents:
        _described(ET.SubElement(top, "entry"), document)
    return _bytes(top)


def entry_document(document: Document) -> bytes:
    """One document alone."""
    entry = ET.Element("entry", _NAMESPACES)
    _described(entry, document)
    _link(entry, "self", f"{ATOM_ROOT}/documents/{document.id}", ENTRY)
    if not authors_of(document):  # Atom wants somebody named, here or in the feed around
        _text(ET.SubElement(entry, "author"), "name", "Unknown")
    return _bytes(entry)


def search_description(origin: str) -> bytes:
    """The OpenSearch description. `origin` is the asker's own way here: a template is resolved against nothing."""
    top = ET.Element("OpenSearchDescription", {"xmlns": _OPENSEARCH})
    _text(top, "ShortName", TITLE)
    _text(top, "Description", "Search the library by words and by meaning.")
    template = f"{origin}{ATOM_ROOT}/search?q={{searchTerms}}"
    ET.SubElement(top, "Url", {"type": ACQUISITION, "template": template})
    _text(top, "InputEncoding", "UTF-8")
    _text(top, "OutputEncoding", "UTF-8")
    return _bytes(top)


def _described(entry: ET.Element, document: Document) -> None:
    """What is known of a document. The order is that of the specification's examples.

    All of it stands in a list too, so no entry there links to a fuller one: some clients take
    any link of the catalogue's type for the way to a list, and then cannot download the book.
    """
    _text(entry, "title", title_of(document))
    _text(entry, "id", document_id(document))
    _text(entry, "updated", moment(document.updated_at))
    # No atom:published, the day it came here: Readium takes that for the day the book came out.
    for name in authors_of(document):
        _text(ET.SubElement(entry, "author"), "name", name)
    for identifier in identifiers_of(document):
        _text(entry, "dc:identifier", identifier)
    if language := language_of(document):
        _text(entry, "dc:language", language)
    if year := year_of(document):
        _text(entry, "dc:issued", year)
    _text(entry, "dc:format", file_type(document))
    for subject in subjects_of(document):
        ET.SubElement(entry, "category", {"term": subject, "label": subject})
    if description := description_of(document):
        _text(entry, "summary", description, type="text")
    if cover := cover_type(document):
        for rel in ("http://opds-spec.org/image", "http://opds-spec.org/image/thumbnail"):
            _link(entry, rel, cover_href(document), cover)
    _link(
        entry,
        "http://opds-spec.org/acquisition/open-access",
        file_href(document),
        file_type(document),
        length=str(document.size_bytes),
    )


def _text(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = text


def _link(parent: ET.Element, rel: str, href: str, type_: str, **more: str) -> None:
    ET.SubElement(parent, "link", {"rel": rel, "href": href, "type": type_} | more)


def _bytes(top: ET.Element) -> bytes:
    written: bytes = ET.tostring(top, encoding="utf-8", xml_declaration=True)
    return written
