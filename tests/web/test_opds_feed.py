"""Feeds, made of documents that nobody would want to have: well-formed, and to the letter of both specifications."""

import json
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from library.holdings import Choice, Group
from library.values import Document, DocumentState
from web.opds import as_atom, as_json
from web.opds.feed import Feed, Kind, Signpost, chosen, facets, identifiers_of, sayable, to

ATOM = "{http://www.w3.org/2005/Atom}"
DC = "{http://purl.org/dc/terms/}"
OPDS = "{http://opds-spec.org/2010/catalog}"
ORIGIN = "http://almanac.lan:8080"
NOW = datetime(2026, 11, 21, 9, 30, 15, 123456, tzinfo=UTC)
HOSTILE = [
    "",
    "   ",
    "a\x00b\x01c\x08d\x0be\x1ff",
    "]]>",
    '<script>alert("1")</script>&amp;',
    "\u202eenil eno",
    "مقدمة ابن خلدون",
    "🜁 🏴\U000e0067\U000e0062",
    "\ufffe\uffff",
    "\ud800 alone",
    "{searchTerms}",
    "x" * 10_000,
    "'; DROP TABLE documents; --",
    "line\u2028line\u2029line\x85line\r\nline",
]


def document(**given: Any) -> Document:
    known: dict[str, Any] = {
        "id": "0d6f3f0c-6f0e-4c3e-9f57-4a4f4a1c9a11",
        "path": "novels/moby.epub",
        "shelf": "novels",
        "title": "Moby-Dick",
        "authors": ("Herman Melville",),
        "language": "en",
        "year": 1851,
        "identifiers": (
            "isbn:9780142437247",
            "urn:uuid:0D6F3F0C-6F0E-4C3E-9F57-4A4F4A1C9A11",
            "code.google 1",
        ),
        "subjects": ("Whaling", "Sea stories"),
        "description": "A voyage.",
        "cover": "images/cover.jpg",
        "format": "epub",
        "size_bytes": 12345,
        "state": DocumentState.FINDABLE,
        "reason": None,
        "chunks": 1,
        "embedded": 1,
        "received_at": NOW,
        "updated_at": NOW,
    }
    return Document(**(known | given))


def listing(*documents: Document, **given: Any) -> Feed:
    known: dict[str, Any] = {
        "title": "All by title",
        "here": "/titles",
        "updated": NOW,
        "kind": Kind.ACQUISITION,
        "documents": documents,
        "total": len(documents),
        "first": "/titles",
    }
    return Feed(**(known | given))


def atom(feed: Feed) -> ET.Element:
    return ET.fromstring(as_atom.feed_document(feed))


def text(element: ET.Element, name: str) -> str:
    found = element.find(name)
    assert found is not None, name
    return found.text or ""


def check_atom(feed: ET.Element) -> None:
    """RFC 4287 and OPDS 1.2, rule by rule."""
    assert feed.tag == f"{ATOM}feed"
    for element in [feed, *feed.iter(f"{ATOM}entry")]:
        for name in ("id", "title", "updated"):
            assert len(element.findall(ATOM + name)) == 1, (element.tag, name)
        assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", text(element, f"{ATOM}id"))
        assert text(element, f"{ATOM}title").strip()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text(element, f"{ATOM}updated"))
    assert feed.find(f"{ATOM}author/{ATOM}name") is not None  # so that an entry may have none
    for author in feed.iter(f"{ATOM}author"):
        assert text(author, f"{ATOM}name")
    for link in feed.iter(f"{ATOM}link"):
        assert {"rel", "href", "type"} <= link.attrib.keys()
        assert link.get("href", "").startswith("/")
    rels = [(link.get("rel"), link.get("href")) for link in feed.findall(f"{ATOM}link")]
    assert len({href for rel, href in rels if rel == "self"}) == 1
    assert len({href for rel, href in rels if rel == "start"}) == 1
    assert ("search", "/opds/opensearch.xml") in rels
    kind = next(link.get("type", "") for link in feed.findall(f"{ATOM}link") if link.get("rel") == "self")
    entries = feed.findall(f"{ATOM}entry")
    ids = [text(entry, f"{ATOM}id") for entry in entries]
    assert len(ids) == len(set(ids))
    for entry in entries:
        links = entry.findall(f"{ATOM}link")
        acquiring = [
            link for link in links if link.get("rel", "").startswith("http://opds-spec.org/acquisition")
        ]
        if "kind=navigation" in kind:
            assert not acquiring
            assert all("profile=opds-catalog;kind=" in link.get("type", "") for link in links)
            content = entry.find(f"{ATOM}content")
            assert content is not None
            assert content.get("type") == "text"
        else:
            assert acquiring
            assert all(int(link.get("length", "")) >= 0 for link in acquiring)
            # Shelfline, for one, opens such a link instead of offering the download.
            assert not [link for link in links if "opds-catalog" in link.get("type", "")]
        for link in links:
            if link.get("rel", "").startswith("http://opds-spec.org/image"):
                assert link.get("type") in ("image/jpeg", "image/png", "image/gif")
        for category in entry.findall(f"{ATOM}category"):
            assert category.get("term")


def check_json(feed: dict[str, Any]) -> None:
    """The drafts' JSON schemas of OPDS 2.0, rule by rule."""
    assert feed["metadata"]["title"]
    assert isinstance(feed["links"], list)
    check_own_address(feed)
    assert {"navigation", "publications", "groups"} & feed.keys()
    assert feed["metadata"].get("itemsPerPage", 1) > 0
    assert feed["metadata"].get("currentPage", 1) > 0
    assert feed["metadata"].get("numberOfItems", 0) >= 0
    for link in feed.get("navigation", []):
        assert link["title"]
        assert link["href"]
    for group in feed.get("facets", []):
        assert group["metadata"]["title"]
        assert all(link["href"] and link["title"] for link in group["links"])
    for publication in feed.get("publications", []):
        check_publication(publication)
    search = next(link for link in feed["links"] if link["rel"] == "search")
    assert search["templated"] is True
    assert search["href"].endswith("{?query}")


def check_own_address(told: dict[str, Any]) -> None:
    """A Readium manifest says in full where it is; the older Palace parsers refuse any other."""
    [own] = [link["href"] for link in told["links"] if link["rel"] == "self"]
    assert re.match(r"https?://[^/]+/opds/v2(?=$|[/?])", own), own
    others = [link["href"] for link in told["links"] if link["rel"] != "self"]
    assert all(href.startswith("/") for href in others)


def check_publication(publication: dict[str, Any]) -> None:
    check_own_address(publication)
    metadata = publication["metadata"]
    assert metadata["title"].strip()
    assert re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", metadata["identifier"])
    assert datetime.fromisoformat(metadata["modified"])
    assert datetime.fromisoformat(metadata.get("published", "2000-01-01"))
    rels = [link["rel"] for link in publication["links"]]
    assert "http://opds-spec.org/acquisition/open-access" in rels
    assert any(image["type"] in ("image/jpeg", "image/png", "image/gif") for image in publication["images"])


def test_an_entry_says_all_that_is_known() -> None:
    entry = atom(listing(document())).find(f"{ATOM}entry")
    assert entry is not None
    assert text(entry, f"{ATOM}title") == "Moby-Dick"
    assert text(entry, f"{ATOM}author/{ATOM}name") == "Herman Melville"
    assert text(entry, f"{ATOM}updated") == "2026-11-21T09:30:15Z"
    assert text(entry, f"{ATOM}summary") == "A voyage."
    assert text(entry, f"{DC}language") == "en"
    assert text(entry, f"{DC}issued") == "1851"
    assert text(entry, f"{DC}format") == "application/epub+zip"
    assert [found.text for found in entry.findall(f"{DC}identifier")] == [
        "urn:isbn:9780142437247",
        "urn:uuid:0d6f3f0c-6f0e-4c3e-9f57-4a4f4a1c9a11",
    ]
    assert [found.get("term") for found in entry.findall(f"{ATOM}category")] == ["Whaling", "Sea stories"]
    assert entry.find(f"{ATOM}published") is None  # it would be read as the book's own date
    links = {link.get("rel"): link for link in entry.findall(f"{ATOM}link")}
    acquire = links["http://opds-spec.org/acquisition/open-access"]
    assert acquire.get("href") == "/api/documents/0d6f3f0c-6f0e-4c3e-9f57-4a4f4a1c9a11/file"
    assert (acquire.get("type"), acquire.get("length")) == ("application/epub+zip", "12345")
    assert links["http://opds-spec.org/image"].get("href", "").endswith("/cover")
    assert links["http://opds-spec.org/image/thumbnail"].get("type") == "image/jpeg"


def test_an_entry_by_itself_says_where_it_is() -> None:
    alone = ET.fromstring(as_atom.entry_document(document()))
    [own] = [link for link in alone.findall(f"{ATOM}link") if link.get("rel") == "self"]
    assert own.get("href") == "/opds/documents/0d6f3f0c-6f0e-4c3e-9f57-4a4f4a1c9a11"
    assert own.get("type") == "application/atom+xml;type=entry;profile=opds-catalog"
    [listed] = atom(listing(document())).findall(f"{ATOM}entry")
    told = [element for element in alone if element is not own]
    assert list(map(ET.tostring, told)) == list(map(ET.tostring, listed))  # nothing is told there alone


@pytest.mark.parametrize("cover", [None, "cover.svg", "cover.webp", "cover"])
def test_a_cover_is_linked_only_where_there_is_one_to_show(cover: str | None) -> None:
    feed = listing(document(cover=cover))
    assert b"http://opds-spec.org/image" not in as_atom.feed_document(feed)
    images = json.loads(as_json.feed_document(feed, ORIGIN))["publications"][0]["images"]
    assert images[0]["href"] == "/static/no-cover.png"


@pytest.mark.parametrize("words", HOSTILE)
def test_no_text_of_a_book_breaks_a_feed(words: str) -> None:
    hostile = document(
        title=words,
        authors=(words, words),
        subjects=(words,),
        description=words,
        identifiers=(words, f"isbn:{words}"),
        language=words,
        cover=words,
        path=f"{words}/x.epub",
    )
    feed = listing(hostile, title=words or "x", query=words)
    read = atom(feed)
    told = json.loads(as_json.feed_document(feed, ORIGIN))
    assert len(text(read, f"{ATOM}entry/{ATOM}title")) <= 500
    assert ET.fromstring(as_atom.entry_document(hostile)).find(f"{ATOM}author/{ATOM}name") is not None
    if words.strip():
        check_atom(read)
        check_json(told)


@given(st.text(max_size=200), st.lists(st.text(max_size=40), max_size=4))
def test_any_text_at_all_makes_a_feed_that_can_be_read(words: str, names: list[str]) -> None:
    feed = listing(document(title=words, authors=tuple(names), subjects=tuple(names), description=words))
    read = atom(feed)
    assert len(read.findall(f"{ATOM}entry")) == 1
    json.loads(as_json.feed_document(feed, ORIGIN))
    assert sayable(words) == sayable(sayable(words))


def test_navigation_keeps_to_the_rules_in_both_versions() -> None:
    feed = Feed(
        title="Shelves",
        here="/shelves",
        updated=NOW,
        kind=Kind.NAVIGATION,
        signposts=[Signpost("A & B", "2 documents.", to("/titles", {"shelf": "A & B"}), documents=2)],
    )
    read = atom(feed)
    check_atom(read)
    link = read.find(f"{ATOM}entry/{ATOM}link")
    assert link is not None
    assert link.get("href") == "/opds/titles?shelf=A%20%26%20B"
    told = json.loads(as_json.feed_document(feed, ORIGIN))
    check_json(told)
    assert told["navigation"][0]["properties"] == {"numberOfItems": 2}
    assert told["navigation"][0]["href"] == "/opds/v2/titles?shelf=A%20%26%20B"


def test_facets_narrow_the_list_and_lead_back() -> None:
    counted = {
        "shelf": [Group("sea", 3), Group("land", 1)],
        "language": [Group("en", 4)],
        "format": [Group("epub", 4)],
    }
    free = facets("/titles", chosen(Choice()), counted)
    assert [(facet.group, facet.title, facet.to) for facet in free] == [
        ("Shelf", "sea", "/titles?shelf=sea"),
        ("Shelf", "land", "/titles?shelf=land"),
    ]
    narrowed = facets("/titles", chosen(Choice(shelf="sea", language="en")), counted)
    assert [(facet.title, facet.to, facet.active) for facet in narrowed] == [
        ("All", "/titles?language=en", False),
        ("sea", "/titles?shelf=sea&language=en", True),
        ("land", "/titles?shelf=land&language=en", False),
        ("All", "/titles?shelf=sea", False),
        ("English", "/titles?shelf=sea&language=en", True),
    ]
    feed = listing(document(), facets=narrowed)
    links = [link for link in atom(feed).findall(f"{ATOM}link") if "facet" in link.get("rel", "")]
    assert {link.get(f"{OPDS}facetGroup") for link in links} == {"Shelf", "Language"}
    assert [link.get("title") for link in links if link.get(f"{OPDS}activeFacet") == "true"] == [
        "sea",
        "English",
    ]
    told = json.loads(as_json.feed_document(feed, ORIGIN))
    check_json(told)
    assert [group["metadata"]["title"] for group in told["facets"]] == ["Shelf", "Language"]


def test_only_what_other_programs_know_as_an_identifier_is_one() -> None:
    stated = ("isbn:9780142437247", "uuid:nothing", "https://example.org/x", "call number 7", "urn:oclc:1")
    assert identifiers_of(document(identifiers=stated)) == [
        "urn:isbn:9780142437247",
        "https://example.org/x",
        "urn:oclc:1",
    ]


def test_the_search_description_holds_an_address_to_fill_in() -> None:
    read = ET.fromstring(as_atom.search_description("http://almanac.lan:8080"))
    name = "{http://a9.com/-/spec/opensearch/1.1/}"
    assert read.tag == f"{name}OpenSearchDescription"
    assert text(read, f"{name}ShortName") == "Almanac"
    assert 0 < len(text(read, f"{name}Description")) <= 1024
    url = read.find(f"{name}Url")
    assert url is not None
    assert url.get("type") == "application/atom+xml;profile=opds-catalog;kind=acquisition"
    assert url.get("template") == "http://almanac.lan:8080/opds/search?q={searchTerms}"
