"""PDF: a file with a text layer in, one section for each of its pages out.

pdfium reads the pages; `pdf_lines` finds the lines on them and `typeset` makes
paragraphs of those. A page stands under the entries of the file's outline that
it belongs to, and its anchor is its number, so that a citation opens it. Its
hard rule: a scan is never passed off as a text. What has no text layer is
refused with the advice to recognise it first.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pypdfium2
import pypdfium2.raw as pdfium

from ingest.extract import metadata
from ingest.extract.outline import (
    MIB,
    Block,
    Outline,
    language_tag,
    one_line,
    same_title,
    title_of_file,
    year_in,
)
from ingest.extract.pdf_lines import lines_of
from ingest.extract.typeset import Line, only_a_stamp, paragraphs, rows, vocabulary, without_running_heads
from ingest.limits import DEFAULT_LIMITS, Limits
from library.errors import UnreadableFile
from library.values import Extracted

_HEADER_BYTES = 1024  # where the format's mark may stand, as every reader tolerates
_MAX_OUTLINE = 10_000
_MAX_DEPTH = 6
_FEW_LINES = 2
_MAX_TITLE_CHARS = 160
_JUNK_TITLE = re.compile(
    r"(?:microsoft (?:office )?(?:word|powerpoint|excel)|powerpoint|word|slide|document|dokument)\b\s*[-–\d]*.*"
    r"|(?:untitled|unbenannt|no title|title|titel|unknown|none|null|cover|front ?matter|layout|print|new)\W*\d*"
    r"|.*\.(?:docx?|rtf|odt|tex|dvi|ps|eps|indd|qxd|pptx?|xlsx?|html?|pdf|txt|tmp|p65|pmd|fm)"
    r"|[\W\d_]*|https?://.*",
    re.IGNORECASE,
)
_JUNK_NAME = re.compile(
    r"(?:anonymous|unknown|unspecified|user|owner|admin(?:istrator)?|author|autor|root|none|null|\W*\d*)\W*",
    re.IGNORECASE,
)
_AND = re.compile(r"\s*;\s*|\s+(?:and|und|et|&)\s+")
OCR = "Run text recognition (OCR) over it, then add it again."


class _Entry(msgspec.Struct, frozen=True):
    """A line of the outline."""

    level: int
    title: str
    page: int


def extract_pdf(path: Path, limits: Limits = DEFAULT_LIMITS) -> Extracted:
    """Raises UnreadableFile if the file is locked, damaged, too long, or holds only pictures of pages."""
    with _opened(path) as document:
        if len(document) > limits.max_pages:
            raise UnreadableFile(
                f"The file has {len(document):,} pages, more than the {limits.max_pages:,} that one document may "
                "have. Split it."
            )
        pages, has_pictures, is_damaged = _pages(document, limits)
        stated = {key: one_line(text) for key, text in document.get_metadata_dict().items()}
        contents = _outline(document)
        tag = _language(document)
    subject = stated.get("Subject", "")
    opening = next((lines for lines in pages if lines), [])
    if not opening and is_damaged:
        raise _damaged("its pages cannot be read")
    title = _title(stated.get("Title", ""), opening) or title_of_file(path)
    words = vocabulary(pages)
    shown = without_running_heads(pages, [title, *(entry.title for entry in contents)])
    if has_pictures and only_a_stamp(pages):
        shown = []
    if not any(shown):
        raise UnreadableFile(
            f"The file holds only pictures of pages, no text. {OCR}"
            if has_pictures
            else "The file holds no text, only drawings or blank pages. "
            f"If letters can be seen in it, they are drawn as pictures. {OCR}"
        )
    outline = Outline(title)
    for number, (lines, above) in enumerate(zip(shown, _places(contents, len(shown)), strict=True), start=1):
        outline.add([Block(text) for text in paragraphs(lines, words)], anchor=f"page={number}", above=above)
    return Extracted(
        title=title,
        authors=_authors(stated.get("Author", "")),
        language=tag,
        year=year_in(stated.get("CreationDate", "").removeprefix("D:")[:4]),
        sections=outline.sections(),
        subjects=metadata.subjects(metadata.keywords(stated.get("Keywords", ""))),
        description="" if _JUNK_NAME.fullmatch(subject) else metadata.plain(subject),
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with path.open("rb") as opened:
        if b"%PDF-" not in opened.read(_HEADER_BYTES):
            raise UnreadableFile(
                "The file is named like a PDF but is not one. "
                "Check what kind of file it is, and give it the right ending."
            )
    try:
        str(path).encode()
        source: Path | bytes = path
    except UnicodeEncodeError:
        source = path.read_bytes()  # a name that is no text, which pdfium cannot be given
    try:
        document = pypdfium2.PdfDocument(source)
    except pypdfium2.PdfiumError as error:
        raise _refusal(getattr(error, "err_code", None)) from error
    try:
        yield document
    finally:
        document.close()


def _refusal(code: int | None) -> UnreadableFile:
    if code == pdfium.FPDF_ERR_PASSWORD:
        return UnreadableFile("The file is locked with a password. Remove the password, then add it again.")
    if code == pdfium.FPDF_ERR_SECURITY:
        return UnreadableFile(
            "The file is locked by copy protection, so its text cannot be read. Use a copy without copy protection."
        )
    return _damaged("it is cut short or its structure is broken")


def _damaged(detail: str) -> UnreadableFile:
    return UnreadableFile(
        f"The PDF is damaged: {detail}. Copy it again from its source, or open it in a PDF program and save it anew."
    )


def _pages(document: Any, limits: Limits) -> tuple[list[list[Line]], bool, bool]:
    """The lines of every page, whether a page of hardly any text shows a picture, and whether a page was unreadable."""
    pages: list[list[Line]] = []
    has_pictures = is_damaged = False
    room = limits.max_expanded_mib * MIB
    for number in range(len(document)):
        try:
            page = document[number]
        except pypdfium2.PdfiumError:
            pages.append([])
            is_damaged = True
            continue
        try:
            lines, size = _lines(page, min(room, limits.max_member_mib * MIB))
            if len(lines) <= _FEW_LINES:
                has_pictures = has_pictures or _shows_a_picture(page)
        finally:
            page.close()
        room -= size
        pages.append(lines)
    return pages, has_pictures, is_damaged


def _lines(page: Any, room: int) -> tuple[list[Line], int]:
    text_page = page.get_textpage()
    try:
        size = text_page.count_chars()
        if size > room:
            raise UnreadableFile(
                "A page of the file, or all of them together, hold more text than a book can have. "
                "Get it from another source."
            )
        return rows(lines_of(text_page, text_page.get_text_range())), size
    finally:
        text_page.close()


def _shows_a_picture(page: Any) -> bool:
    return any(True for _ in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=3))


def _outline(document: Any) -> list[_Entry]:
    entries: list[_Entry] = []
    try:
        for mark in document.get_toc(max_depth=_MAX_DEPTH):
            target = mark.get_dest()
            page = None if target is None else target.get_index()
            title = one_line(mark.get_title() or "")
            if title and page is not None and 0 <= page < len(document):
                entries.append(_Entry(mark.level, title, page))
            if len(entries) >= _MAX_OUTLINE:
                break
    except (pypdfium2.PdfiumError, ValueError, RecursionError):
        return entries  # the outline is a courtesy
    return entries


def _places(contents: Sequence[_Entry], count: int) -> Iterator[tuple[str, ...]]:
    """For each page the titles it stands under.

    A page where something new begins stands under that, and under what
    begins inside it at once; a second beginning counts from the next page on.
    """
    waiting = sorted(contents, key=lambda entry: entry.page)  # stable: equal pages keep their order
    stack: list[_Entry] = []
    at = 0
    for page in range(count):
        here: list[_Entry] | None = None
        while at < len(waiting) and waiting[at].page <= page:
            entry = waiting[at]
            if here is None and stack and entry.level <= stack[-1].level and entry is not waiting[0]:
                began = waiting[at - 1].page == page
                if began:
                    here = list(stack)
            stack = [open_ for open_ in stack if open_.level < entry.level]
            stack.append(entry)
            at += 1
        yield tuple(entry.title for entry in (here if here is not None else stack))


def _language(document: Any) -> str | None:
    size = pdfium.FPDFCatalog_GetLanguage(document, None, 0)
    if not 2 < size <= 80:
        return None
    buffer = (pdfium.FPDF_WCHAR * (size // 2))()
    pdfium.FPDFCatalog_GetLanguage(document, buffer, size)
    return language_tag(bytes(buffer).decode("utf-16-le", "replace").rstrip("\0"))


def _title(stated: str, opening: Sequence[Line]) -> str | None:
    """The stated title unless a program made it up; else the largest letters at the top of the first page."""
    if stated and not _JUNK_TITLE.fullmatch(stated):
        return stated
    if len(opening) < 3:
        return None
    sizes = sorted(line.size for line in opening)
    body, largest = sizes[len(sizes) // 2], sizes[-1]
    if largest < 1.25 * body:
        return None
    start = next(at for at, line in enumerate(opening) if line.size > 0.95 * largest)
    words: list[str] = []
    for line in opening[start : start + 3]:
        if line.size <= 0.95 * largest:
            break
        words.append(line.text)
    title = one_line(" ".join(words))
    is_title = start < 6 and len(title) <= _MAX_TITLE_CHARS and sum(map(str.isalpha, title)) >= 4
    return title if is_title and not same_title(title, "contents") else None


def _authors(stated: str) -> tuple[str, ...]:
    return metadata.names(name for name in _AND.split(stated) if not _JUNK_NAME.fullmatch(name))
