"""EPUB: a zipped book in, its sections in reading order out.

`package` says which files are the book and in which order, `about` what it
says about itself; here they are read and put in their places under the table
of contents. A book without words is found by what it says about itself. Knows
nothing of stores or chunks. Its hard rule: the archive is hostile. Only texts
are unpacked, in memory, within the limits, by names the archive itself lists;
nothing is ever written, included or fetched.
"""

import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
from lxml import etree

from ingest.extract import html, markup
from ingest.extract.about import About, read_about
from ingest.extract.archive import COPY_AGAIN, Archive, damaged
from ingest.extract.encoding import decode_page
from ingest.extract.outline import Event, Heading, Outline, first_heading, one_line, title_of_file
from ingest.extract.package import Package
from ingest.limits import DEFAULT_LIMITS, Limits
from library.errors import UnreadableFile
from library.values import Extracted, Section

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
_ADDRESS = re.compile(r"/|[a-z][a-z0-9+.-]*:", re.IGNORECASE)  # absolute, or with a scheme
_NO_TEXT = "[This book holds pictures, sound or film, and no text of its own.]"
_MAX_ABOVE = 6  # levels of a table of contents above a chapter


def extract_epub(path: Path, limits: Limits = DEFAULT_LIMITS) -> Extracted:
    """Raises UnreadableFile if the book is damaged, locked, empty or built to exhaust memory."""
    with Archive(path, limits) as archive:
        archive.refuse_locked_book()
        package = Package(archive)
        try:
            package.load()
        except (UnreadableFile, MemoryError):
            raise
        except Exception as error:  # the outermost place: EbookLib lets through whatever its parsers throw
            raise UnreadableFile(
                "The book's package file, which lists its chapters, cannot be understood. "
                "Convert the file again, for example with Calibre."
            ) from error
        try:
            pages = _pages(archive, package)
            about = read_about(archive, package)
        except etree.LxmlError as error:
            raise damaged("one of its chapters cannot be read") from error
    title = about.title or next((name for page in pages if (name := first_heading(page.events))), None)
    title = title or title_of_file(path)
    outline = Outline(title)
    for page in pages:
        outline.add(page.events, anchor=page.name, above=page.above)
    return Extracted(
        title=title,
        authors=about.authors,
        language=about.language,
        year=about.year,
        sections=outline.sections() or _card(about),
        identifiers=about.identifiers,
        subjects=about.subjects,
        description=about.description,
        cover=about.cover,
    )


def _card(about: About) -> tuple[Section, ...]:
    """What a picture book, a comic or a recording can be found by: what it says of itself.

    Nothing for a book that does not even state a title.
    """
    if not about.title:
        return ()
    lines = (about.title, ", ".join(about.authors), about.description, ", ".join(about.subjects), _NO_TEXT)
    return (Section(0, 1, (about.title,), "", "\n\n".join(line for line in lines if line)),)


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


def _pages(archive: Archive, package: Package) -> list[_Page]:
    """Every file of the spine once, in its order, whether linear or not; missing files are passed over.

    Raises UnreadableFile if a chapter is locked or damaged, or if there is none at all.
    """
    listed = spine(package)
    waiting = listed[::-1]
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
            root = markup.parse(decode_page(source))
            above, events = _placed(file, root, contents.get(name, []))
            pages.append(_Page(file, above, events))
            waiting.extend(_framed(root, file))
    if not pages:
        raise _no_chapters(archive, package, listed)
    return pages


def spine(package: Package) -> list[str]:
    """The files that the book lists as its pages, in reading order, as the manifest names them."""
    items = {item.id: item for item in reversed(package.book.items)}
    fallbacks = {
        item.get("id"): item.get("fallback")
        for item in package.container.iter("{*}item")
        if item.get("fallback")
    }
    listed = [_readable(items, fallbacks, idref) for idref, _linear in package.book.spine]
    return [item.file_name for item in listed if item is not None]


def _no_chapters(archive: Archive, package: Package, files: list[str]) -> UnreadableFile:
    """Why nothing could be read: nothing listed, listed outside the book, links, or simply missing."""
    if not files:
        return UnreadableFile(
            "The book lists no chapters of text, so there is nothing to read. "
            "Convert the file again, for example with Calibre."
        )
    if all(
        _ADDRESS.match(file) or posixpath.normpath(posixpath.join(package.opf_dir, file)).startswith("../")
        for file in files
    ):
        return UnreadableFile(
            "The chapters that the book lists lie outside its archive, and nothing outside is ever opened. "
            "Get the book from another source."
        )
    if any(archive.is_link(package.path_of(file)) for file in files):
        return UnreadableFile(
            "The chapters in the archive are links to other files, and links are never followed. "
            "Get the book from another source."
        )
    return UnreadableFile("None of the chapters that the book lists is in the archive. " + COPY_AGAIN)


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


def _contents(archive: Archive, package: Package) -> dict[str, list[_Entry]]:
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
