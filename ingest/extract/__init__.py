"""Extraction: one file of the watched folder in, its text with headings out.

Knows nothing of chunks, stores or the folder. To read another format, write
one function from a path to an `Extracted`, name it here and its endings in
`ingest.formats`. Its hard
rule: whatever is wrong with a file, what leaves here is an `UnreadableFile`
whose sentence a household can act on.
"""

from collections.abc import Callable
from pathlib import Path

from ingest.extract.epub import extract_epub
from ingest.extract.markdown import extract_markdown
from ingest.extract.outline import Limits
from ingest.extract.text import extract_text
from ingest.formats import FORMATS
from library.errors import UnreadableFile
from library.values import Extracted

__all__ = ["EXTRACTORS", "FORMATS", "Extractor", "Limits", "extract"]

Extractor = Callable[[Path], Extracted]

_READERS: dict[str, Extractor] = {"epub": extract_epub, "markdown": extract_markdown, "text": extract_text}
EXTRACTORS: dict[str, Extractor] = {suffix: _READERS[format_] for suffix, format_ in FORMATS.items()}


def extract(path: Path) -> Extracted:
    """Read one file. Its ending, in any case, decides how.

    Raises UnreadableFile for everything that is wrong with the file itself.
    """
    extractor = EXTRACTORS.get(path.suffix.lower())
    if extractor is None:
        raise UnreadableFile(
            f"Files ending in “{path.suffix or path.name}” cannot be read. "
            f"Convert it to one of these: {', '.join(sorted(EXTRACTORS))}."
        )
    try:
        if path.stat().st_size == 0:
            raise UnreadableFile("The file is empty. Copy it again from its source.")
        extracted = extractor(path)
    except OSError as error:
        raise UnreadableFile(
            f"The file cannot be opened ({error.strerror or 'input or output error'}). "
            "Check that it is still there and may be read."
        ) from error
    if not extracted.sections:
        raise UnreadableFile(
            "The file holds no text, only pictures or blank pages. "
            "If it is a scan, run text recognition (OCR) over it first."
        )
    return extracted
