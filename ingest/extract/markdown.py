"""Markdown: front matter, headings and blocks of one file.

Knows nothing of HTML's traps: markdown-it writes HTML and `html` reads it,
so raw HTML inside a note meets the same strictness as a book's page. Its
hard rule: front matter is a courtesy. However broken it is, the text is read.
"""

import datetime as dt
import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from lxml.html import defs
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.footnote import footnote_plugin
from mdit_py_plugins.front_matter import front_matter_plugin

from ingest.extract import html, markup
from ingest.extract.encoding import read_text
from ingest.extract.outline import (
    DEFAULT_LIMITS,
    Event,
    Heading,
    Limits,
    Outline,
    first_heading,
    language_tag,
    one_line,
    title_of_file,
    year_in,
)
from library.errors import UnreadableFile
from library.values import Extracted

_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9-]*)")
_NOT_IN_SLUG = re.compile(r"[^\w\- ]")
# What is not HTML is something a person wrote, like `git clone <repository>`.
_HTML_TAGS = defs.tags | frozenset(
    ["bdi", "data", "dialog", "main", "picture", "rb", "rtc", "ruby", "slot", "template"]
)


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
    outline.add(_with_slugs(events))
    return Extracted(
        title=title,
        authors=_texts(front.get("authors") or front.get("author")),
        language=language_tag(_first_text(front, "language", "lang")),
        year=year_in(_first_text(front, "date", "year", "edition")),
        sections=outline.sections(),
    )


def _parsed(page: str, limits: Limits) -> tuple[Mapping[str, Any], list[Event]]:
    parser = _parser(limits)
    environment: dict[str, Any] = {}
    tokens = parser.parse(page, environment)
    # At its limit the parser drops what is deeper without a word.
    if any(token.level >= limits.max_markdown_nesting - 1 for token in tokens):
        raise UnreadableFile(
            f"Its lists or quotations are nested more than {limits.max_markdown_nesting} deep, so part of the text "
            "would be lost. Indent them less."
        )
    front: Mapping[str, Any] = {}
    if tokens and tokens[0].type == "front_matter":
        front = _front_matter(tokens[0].content)
    rendered = parser.renderer.render(tokens, parser.options, environment)
    return front, html.events(markup.parse(f"<html><body>{rendered}</body></html>", limits))


@functools.lru_cache(maxsize=4)
def _parser(limits: Limits) -> MarkdownIt:
    # Raised from commonmark's 20, above which it drops text without a word.
    parser = MarkdownIt("commonmark", {"maxNesting": limits.max_markdown_nesting})
    parser.enable(["table", "strikethrough"])
    parser.use(front_matter_plugin).use(deflist_plugin)
    # Notes stay where they were written: at the end they would be cited under the last heading.
    parser.use(footnote_plugin, move_to_end=False, inline=False)
    parser.add_render_rule("html_inline", _raw_tag)
    parser.add_render_rule("footnote_ref", _note_reference)
    parser.add_render_rule("footnote_reference_open", _note_opening)
    parser.add_render_rule("footnote_reference_close", lambda *_: "</div>")
    return parser


def _raw_tag(_renderer: Any, tokens: Sequence[Any], at: int, *_: Any) -> str:
    content: str = tokens[at].content
    tag = _TAG.match(content)
    return escapeHtml(content) if tag and tag[1].lower() not in _HTML_TAGS else content


def _note_reference(_renderer: Any, tokens: Sequence[Any], at: int, *_: Any) -> str:
    return f"[{escapeHtml(tokens[at].meta['label'])}]"


def _note_opening(_renderer: Any, tokens: Sequence[Any], at: int, *_: Any) -> str:
    if at + 3 < len(tokens) and tokens[at + 1].type == "paragraph_open":
        tokens[at + 1].hidden = tokens[at + 3].hidden = True  # its first paragraph on the line of its mark
    return f"<div>[{escapeHtml(tokens[at].meta['label'])}] "


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
    return tuple(dict.fromkeys(one_line(name) for name in plain if isinstance(name, str) and name.strip()))


def _with_slugs(events: Sequence[Event]) -> list[Event]:
    """Give each heading the anchor GitHub would give it; a heading that repeats gets -1, -2, …"""
    used: dict[str, int] = {}
    out: list[Event] = []
    for event in events:
        if isinstance(event, Heading):
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
