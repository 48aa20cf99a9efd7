"""Small books for tests: an EPUB from a few strings, whole or broken in one chosen place."""

import zipfile
from pathlib import Path

CONTAINER = (
    '<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
    '<rootfiles><rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/>'
    "</rootfiles></container>"
)
METADATA = "<dc:title>A Book</dc:title><dc:creator>A. Writer</dc:creator><dc:language>en</dc:language>"


def xhtml(body: str, *, head: str = "<title>not text</title>", prolog: str = "<!DOCTYPE html>") -> str:
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{prolog}<html xmlns="http://www.w3.org/1999/xhtml" '
        f'xmlns:epub="http://www.idpf.org/2007/ops"><head>{head}</head><body>{body}</body></html>'
    )


def nav(entries: str) -> str:
    """A contents document; `entries` are its <li> elements."""
    return xhtml(f'<nav epub:type="toc"><ol>{entries}</ol></nav>')


def opf(
    pages: list[str], *, metadata: str = METADATA, manifest: str = "", spine: str | None = None, toc: str = ""
) -> str:
    listed = "".join(
        f'<item id="i{number}" href="{page}" media-type="application/xhtml+xml"/>'
        for number, page in enumerate(pages)
    )
    if spine is None:
        spine = "".join(f'<itemref idref="i{number}"/>' for number in range(len(pages)))
    return (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:opf="http://www.idpf.org/2007/opf">'
        f"{metadata}</metadata><manifest>{listed}{manifest}</manifest><spine{toc}>{spine}</spine></package>"
    )


def write_epub(
    path: Path,
    pages: dict[str, str | bytes],
    *,
    package: str | None = None,
    contents: str | None = None,
    metadata: str = METADATA,
    extra: dict[str, str | bytes] | None = None,
) -> Path:
    """Write a book whose spine is `pages`, by file name in OEBPS/. `extra` names are from the archive's root."""
    manifest = ""
    if contents is not None:
        manifest = '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
    members: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/content.opf": package or opf(list(pages), metadata=metadata, manifest=manifest),
        **{f"OEBPS/{name}": page for name, page in pages.items()},
    }
    if contents is not None:
        members["OEBPS/nav.xhtml"] = nav(contents)
    members |= extra or {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def one_page(path: Path, body: str) -> Path:
    """A book of a single page, for tests about what is on it."""
    return write_epub(path / "book.epub", {"p.xhtml": xhtml(body)})
