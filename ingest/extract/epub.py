"""EPUB: a zipped book in, its sections in reading order out.

EbookLib reads the package (metadata, manifest, spine, contents); its own zip
reading is replaced by `Archive`, because it unpacks every picture and font
into memory, follows no limit, and fails a whole book for one missing file.
Knows nothing of stores or chunks. Its hard rule: the archive is hostile. Only
texts are unpacked, in memory, within the limits, by names the archive itself
lists; nothing is ever written, included or fetched.
"""

import posixpath
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
from ebooklib import epub
from lxml import etree

from ingest.extract import html, markup
from ingest.extract.archive import COPY_AGAIN, Archive, damaged
from ingest.extract.encoding import decode_page
from ingest.extract.outline import (
    DEFAULT_LIMITS,
    Event,
    Heading,
    Limits,
    Outline,
    first_heading,
    language_tag,
    one_line,
    title_of_file,
    year_in,
)
from library.errors import UnreadableFile
from library.values import Extracted

_CONTAINER = "META-INF/container.xml"
_PACKAGE_TYPE = "application/oebps-package+xml"
_CONTENTS_TYPE = "application/x-dtbncx+xml"
_TEXT_TYPES = frozenset(
    {
        "application/xhtml+xml",
        "text/html",
        "image/svg+xml",
        "application/x-dtbook+xml",
        "text/x-oeb1-document",
    }
)
_TEXT_ENDINGS = (".xhtml", ".html", ".htm")
_MAX_ABOVE = 6  # levels of a table of contents above a chapter


def extract_epub(path: Path, limits: Limits = DEFAULT_LIMITS) -> Extracted:
    """Raises UnreadableFile if the book is damaged, locked, empty or built to exhaust memory."""
    with Archive(path, limits) as archive:
        archive.refuse_locked_book()
        package = _Package(archive)
        try:
            book = package.load()
        except (UnreadableFile, MemoryError):
            raise
        except Exception as error:  # the outermost place: EbookLib lets through whatever its parsers throw
            raise UnreadableFile(
                "The book's package file, which lists its chapters, cannot be understood. "
                "Convert the file again, for example with Calibre."
            ) from error
        try:
            pages = _pages(archive, package, limits)
        except etree.LxmlError as error:
            raise damaged("one of its chapters cannot be read") from error
    stated = {name: _stated(book, name) for name in ("title", "creator", "language", "date")}
    title = next((text for text, _ in stated["title"]), None)
    if title is None:
        title = next((name for page in pages if (name := first_heading(page.events))), None)
    outline = Outline(title or title_of_file(path))
    for page in pages:
        outline.add(page.events, anchor=page.name, above=page.above)
    return Extracted(
        title=title or title_of_file(path),
        authors=_authors(stated["creator"]),
        language=next((tag for text, _ in stated["language"] if (tag := language_tag(text))), None),
        year=_year(stated["date"]),
        sections=outline.sections(),
    )


class _Page(msgspec.Struct, frozen=True):
    """One file of the spine, read."""

    name: str  # relative to the package file, as the manifest writes it
    above: tuple[str, ...]  # what the table of contents puts over it
    events: list[Event]


class _Entry(msgspec.Struct, frozen=True):
    """A line of the table of contents."""

    fragment: str
    title: str
    above: tuple[str, ...]


class _Package(epub.EpubReader):  # type: ignore[misc]
    """EbookLib's reader over our archive: it sees only XML without a document type, and no pictures."""

    def __init__(self, archive: Archive) -> None:
        super().__init__("", {"ignore_ncx": True})
        self._archive = archive
        self._listing = False

    def read_file(self, name: str) -> bytes:
        # While the manifest is listed, EbookLib asks for the content of every
        # entry. It is not needed yet, most of it never.
        content = b"" if self._listing else self._archive.read_xml(posixpath.normpath(name).lstrip("/"))
        if content is None:
            raise KeyError(name)
        return content

    def _load(self) -> None:
        self._load_container()
        self._load_opf_file()
        if not self.book.toc:  # a contents file that the spine does not name, or a broken nav
            for item in self.book.items:
                if item.media_type == _CONTENTS_TYPE:
                    self._parse_ncx(b"", item)

    def _load_container(self) -> None:
        """The first package the container names (the default rendition), else the only one there is."""
        source = self._archive.read_xml(_CONTAINER)
        root = None if source is None else markup.parse_xml(source)
        named = (
            []
            if root is None
            else [
                unquote(file.get("full-path", ""))
                for file in root.iter("{*}rootfile")
                if file.get("media-type", _PACKAGE_TYPE) == _PACKAGE_TYPE
            ]
        )
        packages = [name for name in named if self._archive.name_of(name)] or self._archive.names(".opf")
        if not packages:
            raise UnreadableFile(
                "The archive holds no book: the package file that lists its chapters is missing. "
                + COPY_AGAIN
            )
        self.opf_file = packages[0]
        self.opf_dir = posixpath.dirname(self.opf_file)

    def _load_metadata(self) -> None:
        # EbookLib takes the presence of each part, and of each attribute, for granted.
        root = self.container.getroot()
        space = epub.NAMESPACES["OPF"]
        for part in ("metadata", "manifest", "spine"):
            if root.find(f"{{{space}}}{part}") is None:
                etree.SubElement(root, f"{{{space}}}{part}")
        for item in root.findall(f"{{{space}}}manifest/{{{space}}}item"):
            item.set("id", (item.get("id") or "").strip())
            if not item.get("href"):
                item.getparent().remove(item)
        for entry in root.findall(f"{{{space}}}spine/{{{space}}}itemref"):
            entry.set("idref", (entry.get("idref") or "").strip())
        super()._load_metadata()

    def _load_manifest(self) -> None:
        self._listing = True
        super()._load_manifest()
        self._listing = False

    def _parse_nav(self, _data: bytes, base_path: str, navtype: str = "toc") -> None:
        nav = next((item for item in self.book.items if isinstance(item, epub.EpubNav)), None)
        source = None if nav is None else self._archive.read_xml(self.path_of(nav.file_name))
        if navtype == "toc" and source is not None:
            self._parse_contents(super()._parse_nav, source, base_path)

    def _parse_ncx(self, data: bytes, item: Any = None) -> None:
        source = data or self._archive.read_xml(self.path_of(item.file_name))
        if source:
            self._parse_contents(super()._parse_ncx, source)

    def _parse_contents(self, parse: Any, *arguments: Any) -> None:
        try:
            parse(*arguments)
        except (etree.LxmlError, AttributeError, IndexError, KeyError, TypeError, ValueError):
            self.book.toc = []  # chapters keep the headings in their own text

    def path_of(self, href: str) -> str:
        """A name in the archive for an address relative to the package file."""
        return posixpath.normpath(posixpath.join(self.opf_dir, href)).lstrip("/")


def _pages(archive: Archive, package: _Package, limits: Limits) -> list[_Page]:
    """Every file of the spine once, in its order, whether linear or not; missing files are passed over.

    Raises UnreadableFile if a chapter is locked or damaged, or if there is none at all.
    """
    items = {item.id: item for item in reversed(package.book.items)}
    fallbacks = {
        item.get("id"): item.get("fallback")
        for item in package.container.iter("{*}item")
        if item.get("fallback")
    }
    listed = [_readable(items, fallbacks, idref) for idref, _linear in package.book.spine]
    waiting = [item.file_name for item in reversed(listed) if item is not None]
    contents = _contents(archive, package)
    pages: list[_Page] = []
    read: set[str] = set()
    while waiting:
        file = waiting.pop()
        name = archive.name_of(package.path_of(file))
        if name is None or name in read:
            continue
        read.add(name)
        if archive.is_locked(name):
            raise archive.locked_by("")
        source = archive.read(name)
        if source is not None:
            root = markup.parse(decode_page(source), limits)
            above, events = _placed(file, root, contents.get(name, []))
            pages.append(_Page(file, above, events))
            waiting.extend(_framed(root, file))
    if not pages:
        raise UnreadableFile("None of the chapters that the book lists is in the archive. " + COPY_AGAIN)
    return pages


def _framed(root: Any, file: str) -> list[str]:
    """Pages shown inside this one, which need no place in the spine of their own. Last first."""
    frames = () if root is None else root.iter("{*}iframe")
    sources = [unquote(frame.get("src", "").partition("#")[0]) for frame in frames]
    folder = posixpath.dirname(file)
    return [
        posixpath.join(folder, source)
        for source in reversed(sources)
        if source.lower().endswith(_TEXT_ENDINGS)
    ]


def _readable(items: dict[str, Any], fallbacks: dict[str, str], idref: str | None) -> Any:
    """The first text in an entry's chain of fallbacks."""
    met: set[str | None] = set()
    while idref not in met:
        met.add(idref)
        item = items.get(idref or "")
        if item is None:
            return None
        if item.media_type in _TEXT_TYPES or item.file_name.lower().endswith(_TEXT_ENDINGS):
            return item
        idref = fallbacks.get(item.id)
    return None


def _contents(archive: Archive, package: _Package) -> dict[str, list[_Entry]]:
    """The table of contents by file, each file's entries in order."""
    entries: dict[str, list[_Entry]] = {}
    waiting: list[tuple[Any, tuple[str, ...]]] = [(package.book.toc, ())]
    while waiting:
        node, above = waiting.pop()
        if isinstance(node, list):
            waiting.extend((child, above) for child in reversed(node))
            continue
        line, children = node if isinstance(node, tuple) else (node, [])
        title = one_line(line.title or "")
        address, _, fragment = (line.href or "").partition("#")
        name = archive.name_of(package.path_of(unquote(address))) if address else None
        if name and title:
            entries.setdefault(name, []).append(_Entry(unquote(fragment), title, above))
        waiting.append((children, (*above, title)[-_MAX_ABOVE:] if title else above))
    return entries


def _placed(file: str, root: Any, entries: list[_Entry]) -> tuple[tuple[str, ...], list[Event]]:
    """Where the table of contents puts a file, and the file's events with headings only it knows.

    A file that is one entry is one chapter, so its own headings stand below
    that entry, whatever their level. A file of several entries is several
    chapters, and only what encloses the first stands above it.
    """
    if not entries:
        return (), html.events(root, file=file)
    # A part and its first chapter may both point to the same place.
    at = 0
    while at + 1 < len(entries) and entries[at + 1].fragment == entries[0].fragment:
        at += 1
    first, entries = entries[at], entries[at:]
    above, depth = first.above, len(first.above)
    if sum(len(entry.above) <= depth for entry in entries) == 1:
        above, depth, entries = (*above, first.title), depth + 1, entries[1:]
    if root is None or html.has_headings(root):
        return above, html.events(root, file=file)
    levels = [max(1, len(entry.above) - depth + 1) for entry in entries]
    marks = {
        entry.fragment: (level, entry.title)
        for entry, level in zip(entries, levels, strict=True)
        if entry.fragment
    }
    opening: list[Event] = [
        Heading(level, entry.title, file)
        for entry, level in zip(entries[:1], levels, strict=False)
        if not entry.fragment
    ]
    return above, opening + html.events(root, file=file, marks=marks)


def _stated(book: Any, name: str) -> list[tuple[str, dict[str, str]]]:
    """What the metadata says under a Dublin Core name, empty entries left out."""
    tags = book.metadata.get(epub.NAMESPACES["DC"], {})
    values = [value for tag, found in tags.items() if str(tag).lower() == name for value in found]
    return [(text, dict(others or {})) for value, others in values if (text := one_line(value or ""))]


def _authors(creators: list[tuple[str, dict[str, str]]]) -> tuple[str, ...]:
    role = f"{{{epub.NAMESPACES['OPF']}}}role"
    wrote = [name for name, others in creators if others.get(role, "aut") == "aut"]
    return tuple(dict.fromkeys(wrote or [name for name, _ in creators]))


def _year(dates: list[tuple[str, dict[str, str]]]) -> int | None:
    """Of first publication if it is told apart, else of publication; never of the file's conversion."""
    event = f"{{{epub.NAMESPACES['OPF']}}}event"
    for wanted in ("original-publication", "publication", ""):
        for text, others in dates:
            if others.get(event, "") == wanted and (year := year_in(text)):
                return year
    return None
