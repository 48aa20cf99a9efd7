"""Package: a book's own list of what it is and what it holds.

EbookLib reads it (manifest, spine, contents); its own zip reading is replaced
by `Archive`, because it unpacks every picture and font into memory, follows no
limit, and fails a whole book for one missing file. Knows no chapter's text.
Its hard rule: EbookLib sees only XML without a document type, and no pictures.
"""

import posixpath
from typing import Any
from urllib.parse import unquote

from ebooklib import epub
from lxml import etree

from ingest.extract import markup
from ingest.extract.archive import COPY_AGAIN, Archive
from library.errors import UnreadableFile

_CONTAINER = "META-INF/container.xml"
_PACKAGE_TYPE = "application/oebps-package+xml"
_CONTENTS_TYPE = "application/x-dtbncx+xml"


class Package(epub.EpubReader):  # type: ignore[misc]
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
