"""Refusals: why a file cannot become a document, where more than one place can tell.

The folder, an upload and a reader each meet such a file; whoever reads the
sentence should meet the same one.
"""

from ingest.formats import FORMATS
from library.errors import UnreadableFile


def unreadable_kind(ending: str) -> UnreadableFile:
    """`ending` with its dot, or "" where there is none."""
    return UnreadableFile(
        f"Files of this kind ({ending or 'without an ending'}) cannot be read. "
        f"Readable are: {', '.join(sorted(FORMATS))}."
    )


def empty() -> UnreadableFile:
    return UnreadableFile("The file is empty. Copy it again from its source.")


def too_large(max_file_mib: int) -> UnreadableFile:
    return UnreadableFile(
        f"The file is larger than {max_file_mib} MiB. "
        "Split it, or raise `ingest.max_file_mib` in the configuration."
    )
