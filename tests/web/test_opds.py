"""The catalogue, walked by clients over a running appliance: listed, searched, and a book downloaded."""

import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import feedparser
import pytest

from tests.ingest.books import write_epub, xhtml
from tests.places import embedding_model
from tests.running import Appliance, running
from tests.web.test_opds_feed import ATOM, check_atom, check_json, check_publication

pytestmark = pytest.mark.models

OPENSEARCH = "{http://a9.com/-/spec/opensearch/1.1/}"
PLENTY = 120  # of notes, for pages to turn
READ = ("findable_words", "findable")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Appliance]:
    """A library of a novel, a poem with a hostile title, a file that cannot be read, and plenty of notes."""
    embedding_model()
    folder = tmp_path_factory.mktemp("opds")
    (folder / "data").mkdir()
    (folder / "data" / ".furnished").touch()
    settings = (
        '[ingest]\nsettle_s = 0.2\n[llm]\nenabled = false\n[server]\nhost_names = ["books.example.org"]\n'
    )
    library = folder / "library"
    (library / "novels").mkdir(parents=True)
    metadata = (
        "<dc:title>The Whale</dc:title><dc:creator>Herman Melville</dc:creator><dc:language>en</dc:language>"
        "<dc:identifier>urn:isbn:9780142437247</dc:identifier><dc:date>1851</dc:date>"
        "<dc:subject>Whaling</dc:subject><dc:description>A voyage.</dc:description>"
    )
    pages = {
        "one.xhtml": xhtml("<h1>Loomings</h1><p>Call me Ishmael. The harpooneer was called Queequeg.</p>")
    }
    write_epub(library / "novels" / "whale.epub", pages, metadata=metadata)
    (library / "poems").mkdir()
    hostile = (
        '---\ntitle: "]]> <b>\\"Ünion\\"</b> & \\u202eevil"\n---\n\n# One\n\nA poem about an albatross.\n'
    )
    (library / "poems" / "hostile.md").write_text(hostile)
    (library / "comic.cbz").write_bytes(b"PK no comic at all")
    (library / "notes").mkdir()
    for n in range(PLENTY):
        (library / "notes" / f"note-{n:03}.md").write_text(f"# Note {n:03}\n\nWater was carried {n} times.\n")
    with running(folder, settings=settings, ready=False) as house:
        house.until(
            lambda: sum(house.get("/status")[1]["documents"][state] for state in READ) == PLENTY + 2, 120
        )
        house.until_state("comic.cbz", "failed")
        house.until(lambda: house.get("/status")[1]["documents"]["findable"] == PLENTY + 2, 240)
        yield house


def raw(house: Appliance, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
    status, given, body = house.request(method, path, None, headers)
    return status, {name.lower(): value for name, value in given.items()}, body


def atom(house: Appliance, path: str) -> ET.Element:
    """A feed that keeps the rules of OPDS 1.2."""
    status, headers, body = raw(house, path)
    assert status == 200, body
    feed = ET.fromstring(body)
    check_atom(feed)
    [declared] = {link.get("type") for link in feed.findall(f"{ATOM}link") if link.get("rel") == "self"}
    assert headers["content-type"] == declared
    return feed


def told(house: Appliance, path: str) -> dict[str, Any]:
    """A feed that keeps the rules of OPDS 2.0."""
    status, headers, body = raw(house, path)
    assert status == 200, body
    assert headers["content-type"] == "application/opds+json"
    feed: dict[str, Any] = json.loads(body)
    check_json(feed)
    return feed


def link(feed: ET.Element, rel: str) -> str | None:
    return next((one.get("href") for one in feed.findall(f"{ATOM}link") if one.get("rel") == rel), None)


def titles(feed: ET.Element) -> list[str]:
    return [entry.findtext(f"{ATOM}title", "") for entry in feed.findall(f"{ATOM}entry")]


def test_a_client_that_knows_only_atom_finds_and_downloads_a_book(house: Appliance) -> None:
    """feedparser, which has never heard of OPDS: the root, the shelf, the entry, the file."""

    def parsed(href: str) -> Any:
        _, headers, body = raw(house, urlsplit(href).path + ("?" + urlsplit(href).query).rstrip("?"))
        feed = feedparser.parse(body, response_headers={**headers, "content-location": href})
        assert not feed.bozo, feed.get("bozo_exception")
        return feed

    root = parsed(f"{house.url}/opds")
    assert root.version == "atom10"
    shelves = next(entry for entry in root.entries if entry.title == "Shelves")
    novels = next(entry for entry in parsed(shelves.links[0].href).entries if entry.title == "novels")
    [book] = parsed(novels.links[0].href).entries
    assert (book.title, book.author, book.summary) == ("The Whale", "Herman Melville", "A voyage.")
    assert [tag.term for tag in book.tags] == ["Whaling"]
    acquire = next(one for one in book.links if one.rel.startswith("http://opds-spec.org/acquisition"))
    assert acquire.type == "application/epub+zip"
    status, headers, body = raw(house, urlsplit(acquire.href).path)
    original = (house.library / "novels" / "whale.epub").read_bytes()
    assert (status, body) == (200, original)
    assert int(acquire.length) == len(original)
    assert headers["etag"] == f'"{hashlib.sha256(original).hexdigest()}"'


def test_everything_is_reached_by_turning_pages_and_turning_back(house: Appliance) -> None:
    there = {item["id"] for item in house.get("/api/documents", limit=500)[1]["items"]}
    for path in ("/opds/titles", "/opds/new"):
        seen: list[str] = []
        href: str | None = path
        while href:
            feed = atom(house, href)
            assert feed.findtext(f"{OPENSEARCH}totalResults") == str(len(there))
            assert feed.findtext(f"{OPENSEARCH}startIndex") == str(len(seen) + 1)
            seen += [entry.findtext(f"{ATOM}id", "")[9:] for entry in feed.findall(f"{ATOM}entry")]
            last, href = feed, link(feed, "next")
        assert len(seen) == len(set(seen))
        assert set(seen) == there
        turns = 0
        while (before := link(last, "previous")) is not None:
            last, turns = atom(house, before), turns + 1
        assert turns == 2
        assert last.findtext(f"{OPENSEARCH}startIndex") == "1"


def test_both_versions_hold_the_same(house: Appliance) -> None:
    for path in ("", "/new", "/titles", "/letters", "/shelves", "/authors", "/languages", "/search?q=water"):
        old, new = atom(house, f"/opds{path}"), told(house, f"/opds/v2{path}")
        entries = new.get("navigation") or [one["metadata"] for one in new["publications"]]
        assert titles(old) == [entry["title"] for entry in entries], path
        total = old.findtext(f"{OPENSEARCH}totalResults")
        assert total == (
            str(new["metadata"]["numberOfItems"]) if "numberOfItems" in new["metadata"] else None
        )


def test_every_link_of_every_feed_leads_somewhere(house: Appliance) -> None:
    for start in ("/opds", "/opds/v2"):
        ahead, seen = [start], {start}
        while ahead:
            _, headers, body = raw(house, ahead.pop())
            if "json" in headers["content-type"]:
                found = re.findall(r'"href":"([^"{]+)"', body.decode())
            else:
                found = [one.get("href", "") for one in ET.fromstring(body).iter(f"{ATOM}link")]
            for href in found:
                href = href.removeprefix(house.url)  # noqa: PLW2901 - one way to say it is enough
                is_feed = href.startswith("/opds") and "{" not in href
                is_many = "/documents/" in href or "note" in href
                if href in seen or "{" in href or (is_many and len(seen) > 150):
                    continue
                seen.add(href)
                assert raw(house, href, method="HEAD")[0] == 200, href
                if is_feed and "/documents/" not in href and not href.endswith(".xml"):
                    ahead.append(href)
        assert any("shelf=notes" in href for href in seen)
        assert any(href.endswith("/file") for href in seen)


def test_a_search_finds_by_name_first_and_then_by_what_is_in_the_books(house: Appliance) -> None:
    description = ET.fromstring(raw(house, "/opds/opensearch.xml")[2])
    url = description.find(f"{OPENSEARCH}Url")
    assert url is not None
    template = url.get("template", "")
    assert template.startswith(f"{house.url}/opds/")

    def found(words: str) -> list[str]:
        return titles(atom(house, template.removeprefix(house.url).replace("{searchTerms}", quote(words))))

    assert found("whale")[0] == "The Whale"
    assert found("melville")[0] == "The Whale"  # by its author
    assert found("WHALING")[0] == "The Whale"  # by its subject
    assert found("Queequeg harpooneer")[0] == "The Whale"  # by its text
    assert found("albatross")[0].startswith("]]>")
    assert found("note 007")[0] == "Note 007"
    assert len(found("Note 007")) == len(set(found("Note 007")))
    assert found("") == []


def test_a_search_is_paged_and_each_document_comes_once(house: Appliance) -> None:
    seen: list[str] = []
    href: str | None = "/opds/search?q=note"
    while href:
        feed = atom(house, href)
        seen += titles(feed)
        last, href = feed, link(feed, "next")
    assert len(seen) == len(set(seen)) >= PLENTY
    assert last.findtext(f"{OPENSEARCH}totalResults") == str(len(seen))
    assert link(last, "previous") == "/opds/search?q=note&cursor=50"


def test_the_second_version_is_searched_by_its_template(house: Appliance) -> None:
    search = next(one for one in told(house, "/opds/v2")["links"] if one["rel"] == "search")
    href = search["href"].replace("{?query}", "?query=queequeg")
    feed = told(house, href)
    assert feed["publications"][0]["metadata"]["title"] == "The Whale"
    own = next(one["href"] for one in feed["publications"][0]["links"] if one["rel"] == "self")
    assert own.startswith(f"{house.url}/opds/v2/documents/")
    status, headers, body = raw(house, own.removeprefix(house.url))
    assert (status, headers["content-type"]) == (200, "application/opds-publication+json")
    publication = json.loads(body)
    check_publication(publication)
    assert publication == feed["publications"][0]
    assert publication["metadata"]["identifier"] == "urn:isbn:9780142437247"
    assert publication["metadata"]["published"].startswith("1851")


def test_a_client_of_the_second_version_finds_and_downloads_a_book(house: Appliance) -> None:
    """As one that was told the root alone: each address is taken from a feed, and resolved against its own."""

    def parsed(href: str) -> dict[str, Any]:
        assert href.startswith(f"{house.url}/")
        return told(house, href.removeprefix(house.url))

    def follow(feed: dict[str, Any], links: list[dict[str, Any]], **wanted: str) -> str | None:
        """Where the link leads that has these properties."""
        base = next(link["href"] for link in feed["links"] if link["rel"] == "self")
        found = (link["href"] for link in links if wanted.items() <= link.items())
        return next((urljoin(base, href) for href in found), None)

    root = parsed(f"{house.url}/opds/v2")
    ahead = follow(root, root["navigation"], title="All by title")
    listed: list[str] = []
    pages = 0
    while ahead:
        page = parsed(ahead)
        pages += 1
        assert page["metadata"]["currentPage"] == pages
        listed += [one["metadata"]["title"] for one in page["publications"]]
        ahead = follow(page, page["links"], rel="next")
    assert pages == 3
    assert len(listed) == page["metadata"]["numberOfItems"] == PLENTY + 3
    assert "The Whale" in listed

    template = follow(root, root["links"], rel="search")
    assert template
    found = parsed(template.replace("{?query}", f"?query={quote('the whale & queequeg')}"))
    book = found["publications"][0]
    assert book["metadata"]["author"] == [{"name": "Herman Melville"}]
    wanted = follow(book, book["links"], rel="http://opds-spec.org/acquisition/open-access")
    assert wanted
    status, headers, body = raw(house, wanted.removeprefix(house.url))
    assert (status, headers["content-type"]) == (200, "application/epub+zip")
    assert body == (house.library / "novels" / "whale.epub").read_bytes()


def test_a_list_is_narrowed_by_facets(house: Appliance) -> None:
    facets = {
        (one.get("{http://opds-spec.org/2010/catalog}facetGroup"), one.get("title")): one.get("href", "")
        for one in atom(house, "/opds/titles").findall(f"{ATOM}link")
        if one.get("rel") == "http://opds-spec.org/facet"
    }
    assert titles(atom(house, facets["Shelf", "novels"])) == ["The Whale"]
    assert titles(atom(house, facets["Format", "cbz"])) == ["comic.cbz"]
    assert titles(atom(house, "/opds/search?q=whale"))[0] == "The Whale"
    narrowed = titles(atom(house, "/opds/search?q=whale&shelf=notes"))
    assert narrowed
    assert all(title.startswith("Note") for title in narrowed)


def test_one_document_is_an_entry_of_its_own(house: Appliance) -> None:
    document = house.document("novels/whale.epub")
    assert document
    status, headers, body = raw(house, f"/opds/documents/{document['id']}")
    assert (status, headers["content-type"]) == (200, "application/atom+xml;type=entry;profile=opds-catalog")
    assert ET.fromstring(body).findtext(f"{ATOM}title") == "The Whale"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/opds/nothing", 404),
        ("/opds/v2/nothing", 404),
        ("/opds/../etc/passwd", 404),
        ("/opds/%2e%2e%2fetc", 404),
        ("/opds/documents/nobody", 404),
        ("/opds/v2/documents/nobody", 404),
        ("/opds/titles?cursor=x", 400),
        ("/opds/v2/new?cursor=%00", 400),
        ("/opds/authors?cursor=WzEsMiwzXQ", 400),
        ("/opds/search?q=water&cursor=-1", 400),
        ("/opds/search?q=water&cursor=%D9%A1", 400),
        ("/opds/titles?letter=ab", 400),
    ],
)
def test_a_wrong_address_is_answered_in_words(house: Appliance, path: str, status: int) -> None:
    got, headers, body = raw(house, path)
    assert got == status
    assert headers["content-type"].startswith("application/problem+json")
    assert json.loads(body)["detail"].endswith(".")


@pytest.mark.parametrize(
    "parameters",
    [
        "q=%00%01%ff%fe",
        "q=" + "x" * 20_000,
        "q=%22unbalanced",
        "q=" + quote("'; DROP TABLE documents; -- ]]> <b> \u202e 🜁 % _ \\ {searchTerms}"),
        "shelf=" + quote("../../etc"),
        "author=%00",
        "language=%25",
        "format=%27%20OR%201=1",
        "letter=%F0%9F%9C%81",
        "letter=%ED%9F%BF",
        "letter=%F4%8F%BF%BF",
        "cursor=",
        "q=a&q=b&shelf=c&shelf=d",
        "q=whale&cursor=999999",
    ],
)
def test_no_question_breaks_a_feed(house: Appliance, parameters: str) -> None:
    for page in ("titles", "search"):
        for root in ("/opds", "/opds/v2"):
            status, _, body = raw(house, f"{root}/{page}?{parameters}")
            assert status in (200, 400), (page, parameters, body)
            if status == 200 and root == "/opds":
                check_atom(ET.fromstring(body))


@pytest.mark.parametrize(
    "accept", ["", "*/*", "text/html", "application/opds+json", "image/png", "x" * 8000, ";;;"]
)
def test_what_a_client_says_it_accepts_changes_nothing(house: Appliance, accept: str) -> None:
    status, headers, _ = raw(house, "/opds", {"accept": accept})
    assert status == 200
    assert headers["content-type"] == "application/atom+xml;profile=opds-catalog;kind=navigation"


def test_a_feed_that_is_known_is_not_sent_again(house: Appliance) -> None:
    for path in ("/opds", "/opds/v2/titles", "/opds/opensearch.xml"):
        _, headers, body = raw(house, path)
        status, again, nothing = raw(house, path, {"if-none-match": headers["etag"]})
        assert (status, nothing, again["etag"]) == (304, b"", headers["etag"])
        status, head, nothing = raw(house, path, method="HEAD")
        assert (status, nothing, head["content-length"]) == (200, b"", str(len(body)))
        assert "last-modified" not in headers  # KOReader would keep the feed for its sake


def test_addresses_are_those_of_the_name_that_was_asked(house: Appliance) -> None:
    for host in ("books.example.org", "almanac.local:8080", urlsplit(house.url).netloc):
        status, _, body = raw(house, "/opds/opensearch.xml", {"host": host})
        assert status == 200
        assert f'template="http://{host}/opds/search?q={{searchTerms}}"'.encode() in body
        feed = json.loads(raw(house, "/opds/v2/new", {"host": host})[2])
        for one in (feed, *feed["publications"]):
            assert one["links"][0]["rel"] == "self"
            assert one["links"][0]["href"].startswith(f"http://{host}/opds/v2/")
        feed = ET.fromstring(raw(house, "/opds", {"host": host})[2])
        for one in feed.iter(f"{ATOM}link"):
            assert urljoin(f"http://{host}/opds", one.get("href", "")).startswith(f"http://{host}/")
    assert raw(house, "/opds", {"host": "evil.example"})[0] == 403


def test_a_document_that_goes_leaves_the_catalogue_and_comes_back(house: Appliance) -> None:
    away = house.drop("attic/short-lived.md", "# Short-lived\n\nGone soon.\n")
    document = house.until_state("attic/short-lived.md", *READ)
    assert "Short-lived" in titles(atom(house, "/opds/titles?shelf=attic"))
    away.unlink()
    house.until_state("attic/short-lived.md", "missing")
    assert titles(atom(house, "/opds/titles?shelf=attic")) == []
    assert "Short-lived" not in titles(atom(house, "/opds/search?q=short-lived"))
    status, problem = house.get(f"/opds/documents/{document['id']}")
    assert (status, problem["code"]) == (404, "file_gone")
    house.drop("attic/short-lived.md", "# Short-lived\n\nGone soon.\n")
    house.until_state("attic/short-lived.md", *READ)
    assert titles(atom(house, "/opds/search?q=short-lived"))[0] == "Short-lived"
    (house.library / "attic" / "short-lived.md").unlink()
    house.until_state("attic/short-lived.md", "missing")


def test_the_library_page_finds_by_name_and_tells_the_address(house: Appliance) -> None:
    _, _, page = raw(house, "/library?q=whale")
    assert b"novels/whale.epub" in page
    assert b"note-001" not in page
    assert b'value="whale"' in page
    assert f"{house.url}/opds".encode() in page
    assert b'rel="alternate" type="application/atom+xml;profile=opds-catalog;kind=navigation"' in page
    _, _, page = raw(house, "/library?q=%3Cb%3E&shelf=notes&state=findable")
    assert b"No document here is called <bdi>&lt;b&gt;</bdi>" in page
    assert b"/library?shelf=notes&amp;q=%3Cb%3E" in page
    assert house.get("/api/documents", q="WHALE epub")[1]["total"] == 1
    assert house.get("/api/documents", q="%")[1]["total"] == 0
    _, first = house.get("/api/documents", q="note", limit=100)
    assert (first["total"], len(first["items"])) == (PLENTY, 100)
    _, rest = house.get("/api/documents", q="note", limit=100, cursor=first["next"])
    assert len(rest["items"]) == PLENTY - 100
