"""Sources: where a book's own markup is, format by format.

Opens one part of a file as the tree that extraction read it from, and says
where the links and pictures in it lead, and how large the pictures are. A part is a file of an EPUB; other
formats are one part, whose name is "". Its hard rule is extraction's: only what
the archive or the library folder itself lists is opened, and nothing is fetched.
"""

import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from ingest.extract import markup
from ingest.extract.archive import Archive
from ingest.extract.encoding import decode_page
from ingest.extract.epub import spine
from ingest.extract.package import Package
from ingest.limits import Limits
from ingest.render.clean import shown_id
from ingest.render.pictures import stated_size
from library.errors import UnreadableFile

_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")
_MOST_SIZED = 2_000  # pictures of one part that are looked into for their size
_PAGES = (".xhtml", ".html", ".htm", ".xml", ".svg")


Beginning = Callable[[str, int], bytes | None]  # a picture's name and a number of bytes → at most so many


class Source(msgspec.Struct, frozen=True):
    """One part of a book."""

    root: Any  # its tree; None for an empty page
    parts: tuple[str, ...]  # all of the book's, in reading order
    targets: "Inside"


class Inside:
    """The links and pictures of one part, as addresses in the reader."""

    def __init__(
        self, address: str, part: str, archive: Archive | None, folder: str, beginning: Beginning
    ) -> None:
        """`address` is the book's in the reader; `folder` is what pictures' names are relative to."""
        self._address, self._part, self._folder = address, part, folder
        self._names, self._beginning = archive, beginning
        self._sizes: dict[str, tuple[int, int] | None] = {}

    def link(self, address: str) -> str | None:
        target = self._inside(address)
        if target is None:
            return None
        path, fragment = target
        anchor = f"#{shown_id(fragment)}" if fragment else ""
        if path in ("", self._part):
            return anchor or None  # a leaf that has no such id is told where it is
        if self._names is None or not path.lower().endswith(_PAGES) or path.startswith("../"):
            return None
        return self._to(path, fragment) + anchor

    def picture(self, address: str) -> tuple[str, tuple[int, int] | None] | None:
        target = self._inside(address)
        if target is None or not target[0]:
            return None
        path = target[0]
        if self._names is not None:
            found = self._names.name_of(posixpath.normpath(posixpath.join(self._folder, path)))
            return None if found is None else self._picture(found)
        if path.startswith("../") or not path.lower().endswith(_PICTURES):
            return None
        return self._picture(path)

    def _inside(self, address: str) -> tuple[str, str] | None:
        """The part or file that an address names, relative to the book, and the fragment."""
        try:
            split = urlsplit(address)
        except ValueError:
            return None
        if split.scheme or split.netloc or address.startswith(("//", "\\", "/")) or "\\" in split.path:
            return None
        path = unquote(split.path)
        if any(ord(letter) < 32 for letter in path):
            return None
        if path:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(self._part), path))
        return path, unquote(split.fragment)

    def _to(self, part: str, fragment: str) -> str:
        place = f"{part}#{fragment}" if fragment else part
        return f"{self._address}?part={quote(place)}"

    def _picture(self, name: str) -> tuple[str, tuple[int, int] | None]:
        if name not in self._sizes and len(self._sizes) < _MOST_SIZED:
            self._sizes[name] = stated_size(partial(self._beginning, name))
        return f"{self._address}/picture?name={quote(name)}", self._sizes.get(name)


@contextmanager
def open_part(
    path: Path, format_: str, part: str, limits: Limits, *, address: str, beside: Beginning
) -> Iterator[Source]:
    """One part, with its pictures at hand: `beside` gives the beginning of those that are no part of the file.

    Raises UnreadableFile, also where there is no such part.
    """
    if format_ == "epub":
        with Archive(path, limits) as archive:
            yield _of_book(archive, part, address)
    else:
        yield _of_page(path, format_, part, limits, Inside(address, "", None, "", beside))


def _of_page(path: Path, format_: str, part: str, limits: Limits, inside: Inside) -> Source:
    if part:
        raise no_such_part(part)
    if format_ == "markdown":
        from ingest.extract.markdown import tree as markdown_tree  # noqa: PLC0415 - a worker loads what it needs

        return Source(markdown_tree(path, limits), ("",), inside)
    if format_ == "html":
        from ingest.extract.webpage import tree as webpage_tree  # noqa: PLC0415 - as above

        return Source(webpage_tree(path, limits), ("",), inside)
    raise UnreadableFile(f"A file of the format “{format_}” has no layout of its own to show.")


def _of_book(archive: Archive, part: str, address: str) -> Source:
    package = opened_package(archive)
    parts = tuple(dict.fromkeys(name for name in spine(package) if archive.name_of(package.path_of(name))))
    if not part and parts:
        part = parts[0]
    name = archive.name_of(package.path_of(part)) if part.lower().endswith(_PAGES) or part in parts else None
    source = None if name is None else archive.read(name)
    if source is None:
        raise no_such_part(part)
    root = markup.parse(decode_page(source))
    return Source(root, parts, Inside(address, part, archive, package.opf_dir, archive.beginning))


def opened_package(archive: Archive) -> Package:
    package = Package(archive)
    try:
        package.load()
    except (UnreadableFile, MemoryError):
        raise
    except Exception as error:  # the outermost place: EbookLib lets through whatever its parsers throw
        raise UnreadableFile("The book's package file cannot be understood.") from error
    return package


def no_such_part(part: str) -> UnreadableFile:
    return UnreadableFile(f"The book has no part named “{part[:80]}”. Open it from its contents.")
