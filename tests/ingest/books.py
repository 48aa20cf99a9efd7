"""Small books for tests: an EPUB or a PDF from a few strings, whole or broken in one chosen place."""

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


def write_pdf(
    path: Path,
    pages: list[list[str]],
    *,
    information: dict[str, str] | None = None,
    outline: list[tuple[str, int]] | None = None,
    picture: bool = False,
    heads: list[str] | None = None,
) -> Path:
    """Write a PDF of a page for each list of lines, 14 points apart; `heads` stand at the top of each page.

    `outline` is (title, 0-based page). A `picture` is a grey dot on every page, as a scan has one.
    """
    objects: list[bytes] = [b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"]

    def add(content: bytes) -> int:
        objects.append(content)
        return len(objects)

    def text(value: str) -> bytes:
        return b"<feff" + value.encode("utf-16-be").hex().encode() + b">"

    dot = add(
        b"<</Type/XObject/Subtype/Image/Width 1/Height 1/ColorSpace/DeviceGray/BitsPerComponent 8/Length 1>>"
        b"stream\n\x80\nendstream"
    )
    tree = len(objects) + 2 * len(pages) + 1
    kids: list[int] = []
    for number, lines in enumerate(pages):
        shown = b"q 100 0 0 100 72 100 cm /I Do Q\n" if picture else b""
        placed = [(730 - 14 * at, line) for at, line in enumerate(lines)]
        if heads:
            placed.insert(0, (790, heads[number]))
        for y, line in placed:
            drawn = line.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
            shown += b"BT /F 11 Tf 72 %d Td (%s) Tj ET\n" % (y, drawn)
        stream = add(b"<</Length %d>>stream\n%s\nendstream" % (len(shown), shown))
        kids.append(
            add(
                b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
                b"/Resources<</Font<</F 2 0 R>>/XObject<</I %d 0 R>>>>>>" % (tree, stream, dot)
            )
        )
    add(b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids)))
    assert len(objects) == tree
    catalog = b"<</Type/Catalog/Pages %d 0 R" % tree
    if outline:
        root = len(objects) + len(outline) + 1
        first = len(objects) + 1
        for at, (title, page) in enumerate(outline):
            following = b"/Next %d 0 R" % (first + at + 1) if at + 1 < len(outline) else b""
            add(
                b"<</Title %s/Parent %d 0 R/Dest[%d 0 R/Fit]%s>>" % (text(title), root, kids[page], following)
            )
        add(b"<</Type/Outlines/First %d 0 R/Last %d 0 R/Count %d>>" % (first, root - 1, len(outline)))
        catalog += b"/Outlines %d 0 R" % root
    objects[0] = catalog + b">>"
    about = b"".join(b"/%s %s" % (key.encode(), text(value)) for key, value in (information or {}).items())
    information_at = add(b"<<%s>>" % about)
    written = b"%PDF-1.7\n"
    starts: list[int] = []
    for number, content in enumerate(objects, start=1):
        starts.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    written += (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<</Size %d/Root 1 0 R/Info %d 0 R>>\nstartxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, table, len(objects) + 1, information_at, len(written))
    )
    path.write_bytes(written)
    return path
