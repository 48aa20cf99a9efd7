"""Extraction: one file of the watched folder in, its text with headings out.

Knows nothing of chunks, stores or the folder. To read another format, write
one function from a path and `Limits` to an `Extracted`, name it here and its
endings in `ingest.formats`; or install it beside Almanac, as that module says.
Its hard rule: whatever is wrong with a file, what leaves here is an
`UnreadableFile` whose sentence a household can act on.
"""

import functools
import gc
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ingest.extract import plugin
from ingest.extract.language import stated_or_detected
from ingest.formats import BUILT_IN, formats, plug_ins
from ingest.limits import DEFAULT_LIMITS, Limits
from ingest.refusals import empty, unreadable_kind
from library.errors import UnreadableFile
from library.values import Extracted

__all__ = ["DEFAULT_LIMITS", "Extractor", "Limits", "extract", "formats"]

Extractor = Callable[[Path, Limits], Extracted]

# format → (module, function). Loaded when the first file needs it: a worker
# that reads notes never loads pdfium.
_READERS = {
    "epub": ("ingest.extract.epub", "extract_epub"),
    "html": ("ingest.extract.webpage", "extract_webpage"),
    "markdown": ("ingest.extract.markdown", "extract_markdown"),
    "pdf": ("ingest.extract.pdf", "extract_pdf"),
    "text": ("ingest.extract.text", "extract_text"),
}


def extract(path: Path, limits: Limits = DEFAULT_LIMITS) -> Extracted:
    """Read one file. Its ending, in any case, decides how.

    The language is the one that the file states, else the one its text shows.
    Raises UnreadableFile for everything that is wrong with the file itself.
    """
    extractor = _extractor(path)
    try:
        if path.stat().st_size == 0:
            raise empty()
        with _no_collection():
            extracted = extractor(path, limits)
    except OSError as error:
        raise UnreadableFile(
            f"The file cannot be opened ({error.strerror or 'input or output error'}). "
            "Check that it is still there and may be read."
        ) from error
    if not extracted.sections:
        raise UnreadableFile(
            "The file holds no text, only pictures, sound, film or blank pages. "
            "If it is a scan, run text recognition (OCR) over it first."
        )
    if len(extracted.sections) > limits.max_sections:
        raise UnreadableFile(
            f"The file has {len(extracted.sections):,} headings or pages with text, more than the "
            f"{limits.max_sections:,} that one document may have. Split it."
        )
    language = stated_or_detected(extracted.language, extracted.sections)
    return msgspec.structs.replace(extracted, language=language)


def _extractor(path: Path) -> Extractor:
    ending = path.suffix.lower()
    if ending in BUILT_IN:
        return _built_in(BUILT_IN[ending])
    added = plug_ins().get(ending)
    if added is not None:
        return functools.partial(plugin.extract, added)
    raise unreadable_kind(ending)


def _built_in(format_: str) -> Extractor:
    module, name = _READERS[format_]
    found: Extractor = getattr(importlib.import_module(module), name)
    return found


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's cycle collector out: a parse makes a million objects and no cycles, and it walks them all.

    It takes a third of the time that a Markdown file of 2 MB needs.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
