"""Formats: which files can become documents. Kept apart from their readers, which only a worker loads.

Other distributions may add formats. One that is installed beside Almanac names
them in the entry point group "almanac.extractors": the entry's name is a file
ending or several (".rtf" or ".rtf .wri"), its value a function from a path to
an `Extracted`, or from a path and `Limits` if it takes two arguments. What is
built in stays built in: an entry for ".epub" is passed over, for a package
that arrives with another one must not quietly change how the library is read.
Of two that claim the same ending, the first by name of distribution has it.

Its hard rule: no plug-in's code runs here. The main process reads only the
names; a worker imports what they stand for, for a file with that ending.
"""

import functools
import importlib.metadata
import re
from collections.abc import Iterator, Mapping

import msgspec

BUILT_IN: dict[str, str] = {
    ".epub": "epub",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
}
GROUP = "almanac.extractors"
_ENDING = re.compile(r"\.[a-z0-9_-]{1,16}")


class PlugIn(msgspec.Struct, frozen=True):
    """Who reads an ending. `value` is where the function is: "package.module:name"."""

    ending: str
    distribution: str
    value: str


@functools.cache
def plug_ins() -> dict[str, PlugIn]:
    """Ending → who reads it, the built-in ones left out. Asked of the environment once per process."""
    found: dict[str, PlugIn] = {}
    points = importlib.metadata.entry_points(group=GROUP)
    for distribution, point in sorted(
        ((point.dist.name if point.dist else "", point) for point in points),
        key=lambda pair: (pair[0].casefold(), pair[1].name),
    ):
        for word in re.split(r"[\s,;]+", point.name.lower()):
            ending = word if word.startswith(".") else f".{word}"
            if _ENDING.fullmatch(ending) and ending not in BUILT_IN:
                found.setdefault(ending, PlugIn(ending, distribution, point.value))
    return found


@functools.cache
def formats() -> dict[str, str]:
    """Every ending that can be read, with its format. A plug-in's format is its ending without the dot."""
    return {ending: ending.lstrip(".") for ending in plug_ins()} | BUILT_IN


class _Formats(Mapping[str, str]):
    """`formats()` as a mapping that asks the environment when it is first looked into, not when it is imported."""

    def __getitem__(self, ending: str) -> str:
        return formats()[ending]

    def __iter__(self) -> Iterator[str]:
        return iter(formats())

    def __len__(self) -> int:
        return len(formats())


FORMATS: Mapping[str, str] = _Formats()
