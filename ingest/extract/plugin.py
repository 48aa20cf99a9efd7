"""Plug-in: a reader that another distribution brings, called as strictly as it can be.

Runs in an ingest worker only, under its limits of time and memory. Its hard
rule: whatever a plug-in does, its file fails with a sentence that names the
plug-in, and what it returns is the shape that everyone else relies on.
"""

import importlib.metadata
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from ingest.extract.metadata import identifiers, names, plain, subjects
from ingest.extract.outline import cleaned, language_tag, one_line, title_of_file
from ingest.formats import GROUP, PlugIn
from ingest.limits import Limits
from library.errors import UnreadableFile
from library.values import Extracted, Section


def extract(added: PlugIn, path: Path, limits: Limits) -> Extracted:
    """Raises UnreadableFile whatever goes wrong, but not MemoryError, which is the worker's own to explain."""
    name = f"“{added.distribution or added.value}”"
    try:
        reader = importlib.metadata.EntryPoint(added.ending, added.value, GROUP).load()
    except MemoryError:
        raise
    except BaseException as error:  # the outermost place: someone else's module is being run
        raise UnreadableFile(
            f"The plug-in {name}, which reads files ending in “{added.ending}”, cannot be loaded "
            f"({_said(error)}). Update or remove it."
        ) from error
    try:
        found = reader(path, limits) if _takes_limits(reader) else reader(path)
        return _checked(found, path)
    except (UnreadableFile, MemoryError):
        raise
    except BaseException as error:  # the outermost place: someone else's code is being run
        if isinstance(error, OSError) and error.filename == str(path):
            raise  # the file's own trouble, not the plug-in's
        raise UnreadableFile(
            f"The plug-in {name} failed on this file ({_said(error)}). "
            "Report it to its makers, or convert the file to another format."
        ) from error


def _takes_limits(reader: Callable[..., Any]) -> bool:
    try:
        inspect.signature(reader).bind(Path(), Limits())
    except TypeError:
        return False
    return True


def _said(error: BaseException) -> str:
    words = one_line(str(error))[:200].rstrip(".")
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _checked(found: Any, path: Path) -> Extracted:
    """What a plug-in returned, made to keep every extractor's promises. Raises TypeError or ValidationError."""
    if not isinstance(found, Extracted):
        raise TypeError(f"it returned {type(found).__name__}, not an Extracted")
    whole: Extracted = msgspec.convert(msgspec.to_builtins(found), Extracted)  # each part as it is declared
    title = one_line(whole.title) or title_of_file(path)
    replaced: Extracted = msgspec.structs.replace(
        whole,
        title=title,
        authors=names(whole.authors),
        language=language_tag(whole.language or ""),
        sections=tuple(_sections(whole.sections, title)),
        identifiers=identifiers((text, "") for text in whole.identifiers),
        subjects=subjects(whole.subjects),
        description=plain(whole.description),
        cover=one_line(whole.cover or "") or None,
    )
    return replaced


def _sections(sections: Iterable[Section], title: str) -> Iterable[Section]:
    ordinal = 0
    for section in sections:
        text = "\n".join(cleaned(line).rstrip() for line in section.text.split("\n")).strip("\n")
        path = tuple(name for heading in section.heading_path if (name := one_line(heading)))
        path = path if path[:1] == (title,) else (title, *path)
        if text.strip():
            yield Section(ordinal, max(1, len(path) - 1), path, one_line(section.anchor), text)
            ordinal += 1
