"""About: what an EPUB's package says of the book: title, authors, year, identifiers, cover.

EPUB 2 writes roles and schemes as attributes, EPUB 3 as elements that refine
others; both are read. Knows no chapter but the page that shows the cover. Its
hard rule: every part may be missing or nonsense, and none of it stops a book.
"""

import posixpath
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import msgspec

from ingest.extract import markup, metadata
from ingest.extract.archive import Archive
from ingest.extract.encoding import decode_page
from ingest.extract.outline import language_tag, one_line, year_in
from ingest.extract.package import Package
from library.errors import UnreadableFile

_DUBLIN_CORE = re.compile(r"http://purl\.org/(?:dc/|metadata/dublin_core)", re.IGNORECASE)
_COPYRIGHT = re.compile(r"(?:©|\(c\)|copyright)\D{0,40}(\d{4})", re.IGNORECASE)
_PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".svg", ".avif", ".bmp")
_COVER_IDS = ("cover", "cover-image", "coverimage", "cover_image", "my-cover-image", "img-cover")
_IDENTIFIER_TYPES = {"02": "isbn", "15": "isbn", "06": "doi"}  # ONIX code list 5


class About(msgspec.Struct, frozen=True):
    title: str | None
    authors: tuple[str, ...]
    language: str | None
    year: int | None
    identifiers: tuple[str, ...]
    subjects: tuple[str, ...]
    description: str
    cover: str | None  # a name in the archive


def read_about(archive: Archive, package: Package) -> About:
    root = package.container.getroot() if hasattr(package.container, "getroot") else package.container
    said = _Said(root)
    return About(
        title=_title(said),
        authors=_authors(said),
        language=next((tag for text, _ in said.of("language") if (tag := language_tag(text))), None),
        year=_year(said),
        identifiers=metadata.identifiers(
            (text, one.get("scheme") or _IDENTIFIER_TYPES.get(one.get("identifier-type", ""), ""))
            for text, one in said.of("identifier")
        ),
        subjects=metadata.subjects(text for text, _ in said.of("subject")),
        description=metadata.plain(next((text for text, _ in said.raw("description")), "")),
        cover=_cover(archive, package, root),
    )


class _Said:
    """The Dublin Core of a package: lowercase name → (text, its attributes and refinements) in order."""

    def __init__(self, root: Any) -> None:
        self._elements: dict[str, list[tuple[str, dict[str, str]]]] = {}
        self.properties: dict[str, list[str]] = {}  # EPUB 3's meta elements that refine nothing
        refined: dict[str, dict[str, str]] = {}
        metas = [meta for meta in root.iter("{*}meta") if meta.get("property")]
        for meta in metas:
            words = one_line(meta.text or "")
            target = (meta.get("refines") or "").strip().lstrip("#")
            if target:
                refined.setdefault(target, {})[meta.get("property").strip().lower()] = words
            else:
                self.properties.setdefault(meta.get("property").strip().lower(), []).append(words)
        for element in _within_metadata(root):
            space, _, name = element.tag.rpartition("}")
            if not _DUBLIN_CORE.match(space.lstrip("{")):
                continue
            others = {key.rpartition("}")[2].lower(): value for key, value in element.items()}
            others |= refined.get(element.get("id", ""), {})
            self._elements.setdefault(name.lower(), []).append(("".join(element.itertext()), others))

    def raw(self, name: str) -> list[tuple[str, dict[str, str]]]:
        return [(text, others) for text, others in self._elements.get(name, ()) if text.strip()]

    def of(self, name: str) -> list[tuple[str, dict[str, str]]]:
        """(text in one line, attributes), empty ones left out."""
        return [(words, others) for text, others in self.raw(name) if (words := one_line(text))]


def _within_metadata(root: Any) -> Iterator[Any]:
    for part in root.iter("{*}metadata"):
        yield from (element for element in part.iter() if isinstance(element.tag, str))


def _title(said: _Said) -> str | None:
    titles = said.of("title")
    main = next((text for text, one in titles if one.get("title-type") == "main"), None)
    return main or next((text for text, _ in titles), None)


def _authors(said: _Said) -> tuple[str, ...]:
    """Who wrote it; else whoever else made it."""
    creators = said.of("creator")
    wrote = [name for name, one in creators if one.get("role", "aut").lower() in {"aut", ""}]
    others = [name for name, one in said.of("contributor") if one.get("role", "").lower() == "aut"]
    return metadata.names(wrote or [name for name, _ in creators] or others)


def _year(said: _Said) -> int | None:
    """Of first publication if it is told apart, else of publication; never of the file's conversion."""
    dates = said.of("date")
    for wanted in ("original-publication", "publication", ""):
        for text, one in dates:
            if one.get("event", "").lower() == wanted and (year := year_in(text)):
                return year
    for key in ("dcterms:issued", "dcterms:date", "dcterms:created", "schema:datepublished"):
        for text in said.properties.get(key, ()):
            if year := year_in(text):
                return year
    for text, _ in said.of("rights"):
        if (match := _COPYRIGHT.search(text)) and (year := year_in(match[1])):
            return year
    return None


def _cover(archive: Archive, package: Package, root: Any) -> str | None:
    """The first of the usual places that names a picture which is there."""
    items = [item for item in root.iter("{*}item") if item.get("href")]
    for href in _candidates(root, items):
        name = archive.name_of(package.path_of(unquote(href)))
        if name is not None and name.lower().endswith(_PICTURES):
            return name
    return _on_the_cover_page(archive, package, root, items)


def _candidates(root: Any, items: list[Any]) -> Iterator[str]:
    """Addresses, best first: EPUB 3's property, EPUB 2's meta, then ids and names that say so."""
    by_id = {item.get("id", "").strip(): item.get("href") for item in reversed(items)}
    yield from (item.get("href") for item in items if "cover-image" in (item.get("properties") or "").split())
    for meta in root.iter("{*}meta"):
        if (meta.get("name") or "").lower() == "cover" and meta.get("content"):
            content = meta.get("content").strip()
            yield by_id.get(content) or content  # some name the file instead of the entry
    yield from (href for key, href in by_id.items() if key.lower() in _COVER_IDS)
    yield from (
        item.get("href")
        for item in items
        if posixpath.basename(item.get("href")).lower().startswith("cover")
        and (item.get("media-type") or "").startswith("image/")
    )


def _on_the_cover_page(archive: Archive, package: Package, root: Any, items: list[Any]) -> str | None:
    """The first picture of the page that EPUB 2's guide calls the cover."""
    pages = [guide.get("href") for guide in root.iter("{*}reference") if guide.get("type") == "cover"]
    pages += [item.get("href") for item in items if item.get("id", "").lower() in {"cover", "coverpage"}]
    for href in pages[:4]:
        page = package.path_of(unquote((href or "").partition("#")[0]))
        if archive.is_locked(page):
            continue
        try:
            source = archive.read(page)
            tree = None if source is None else markup.parse(decode_page(source))
        except UnreadableFile:
            continue
        for picture in () if tree is None else tree.iter("{*}img", "{*}image"):
            address = picture.get("src") or picture.get("{http://www.w3.org/1999/xlink}href") or ""
            name = archive.name_of(
                posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(address)))
            )
            if name is not None and name.lower().endswith(_PICTURES):
                return name
    return None
