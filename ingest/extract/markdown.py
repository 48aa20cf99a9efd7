"""Markdown: front matter, headings and blocks of one file.

Knows nothing of HTML's traps: markdown-it writes HTML (`dialects`) and `html`
reads it, so raw HTML inside a note meets the same strictness as a book's
page. Nine tenths of the time is markdown-it's own parsing, so this costs
little. Its hard rule: front matter is a courtesy. However broken it is, the text is read.
"""

import datetime as dt
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ingest.extract import html, markup, metadata
from ingest.extract.dialects import parser
from ingest.extract.encoding import read_text
from ingest.extract.outline import (
    Event,
    Heading,
    Outline,
    first_heading,
    language_tag,
    one_line,
    title_of_file,
    year_in,
)
from ingest.limits import DEFAULT_LIMITS, Limits
from library.errors import UnreadableFile
from library.values import Extracted

_NOT_IN_SLUG = re.compile(r"[^\w\- ]")
_OWN_ANCHOR = re.compile(r"\s*\{#([\w.:-]{1,100})\}$")
_TOML = re.compile(r"\ufeff?\+\+\+[ \t]*\n(.*?\n)?\+\+\+[ \t]*(?:\n|$)", re.DOTALL)
_IDENTIFIERS = ("isbn", "doi", "identifier", "id", "uid", "uuid")


def extract_markdown(path: Path, limits: Limits = DEFAULT_LIMITS) -> Extracted:
    """Raises UnreadableFile if the file is not text, too large, empty or nested beyond reading."""
    page = read_text(path, limits)
    try:
        front, events = _parsed(page, limits)
    except (UnreadableFile, MemoryError):
        raise
    except Exception as error:  # the outermost place: a parser met what its authors never saw
        raise UnreadableFile(
            "The Markdown in this file cannot be understood. Save it as plain text (.txt) to read it all the same."
        ) from error
    title = _first_text(front, "title") or first_heading(events) or title_of_file(path)
    outline = Outline(title)
    outline.add(events)
    return Extracted(
        title=title,
        authors=_texts(front.get("authors") or front.get("author")),
        language=language_tag(_first_text(front, "language", "lang")),
        year=year_in(_first_text(front, "date", "year", "edition", "published")),
        sections=outline.sections(),
        identifiers=metadata.identifiers(
            (text, name if name in {"isbn", "doi"} else "")
            for name in _IDENTIFIERS
            if (text := _first_text(front, name))
        ),
        subjects=metadata.subjects(
            word
            for name in ("tags", "keywords", "subjects", "categories")
            for word in _words(front.get(name))
        ),
        description=metadata.plain(_first_text(front, "description", "summary", "abstract", "excerpt")),
    )


def tree(path: Path, limits: Limits) -> Any:
    """The file as the tree that its text is taken from. Raises as `extract_markdown` does."""
    try:
        return _tree(read_text(path, limits), limits)[1]
    except (UnreadableFile, MemoryError):
        raise
    except Exception as error:  # the outermost place, as above
        raise UnreadableFile("The Markdown in this file cannot be understood.") from error


def _parsed(page: str, limits: Limits) -> tuple[Mapping[str, Any], list[Event]]:
    front, root = _tree(page, limits)
    return front, _with_slugs(html.events(root))


def _tree(page: str, limits: Limits) -> tuple[Mapping[str, Any], Any]:
    front: Mapping[str, Any] = {}
    stated = _TOML.match(page)
    if stated is not None:
        front, page = _toml(stated[1] or ""), page[stated.end() :]
    found = parser(limits)
    environment: dict[str, Any] = {}
    tokens = found.parse(page, environment)
    # At its limit the parser drops what is deeper without a word.
    if any(token.level >= limits.max_markdown_nesting - 1 for token in tokens):
        raise UnreadableFile(
            f"Its lists or quotations are nested more than {limits.max_markdown_nesting} deep, so part of the text "
            "would be lost. Indent them less."
        )
    if stated is None and tokens and tokens[0].type == "front_matter":
        front = _front_matter(tokens[0].content)
    rendered = found.renderer.render(tokens, found.options, environment)
    return front, markup.parse(f"<html><body>{rendered}</body></html>")


def _toml(source: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(source)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        return {}


def _front_matter(source: str) -> Mapping[str, Any]:
    try:
        front = yaml.safe_load(source)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return front if isinstance(front, dict) else {}


def _first_text(front: Mapping[str, Any], *keys: str) -> str:
    for key in keys:
        value = front.get(key)
        if isinstance(value, str | int | float | dt.date) and not isinstance(value, bool):
            return one_line(str(value))
    return ""


def _texts(value: Any) -> tuple[str, ...]:
    """Authors as one name, a list of names, or a list of `{name: …}`."""
    names = value if isinstance(value, list) else [value]
    plain = (name.get("name") if isinstance(name, dict) else name for name in names)
    return metadata.names(name for name in plain if isinstance(name, str))


def _words(value: Any) -> list[str]:
    """Tags as a list, or as one text with commas or with hashes: "#fire #water"."""
    if isinstance(value, str) and value.lstrip().startswith("#"):
        value = value.split()
    listed = value if isinstance(value, list) else metadata.keywords(value) if isinstance(value, str) else []
    return [
        str(word).lstrip("#") for word in listed if isinstance(word, str | int) and not isinstance(word, bool)
    ]


def _with_slugs(events: Sequence[Event]) -> list[Event]:
    """Give each heading the anchor GitHub would give it; a heading that repeats gets -1, -2, …"""
    used: dict[str, int] = {}
    out: list[Event] = []
    for event in events:
        if isinstance(event, Heading):
            stated = _OWN_ANCHOR.search(event.text)
            if stated and stated.start():
                out.append(Heading(event.level, event.text[: stated.start()], stated[1]))
                continue
            plain = _NOT_IN_SLUG.sub("", unicodedata.normalize("NFC", event.text).lower()).replace(" ", "-")
            slug = plain or "section"
            while slug in used:
                used[plain] = used.get(plain, 0) + 1
                slug = f"{plain}-{used[plain]}"
            used[slug] = 0
            out.append(Heading(event.level, event.text, slug))
        else:
            out.append(event)
    return out
