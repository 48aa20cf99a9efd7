"""Opening: which leaf of which book a reader asked for, and what is around it.

Between the record, which knows sections and passages, and the renderer, which
knows files and leaves. Knows no HTTP and no template. Its hard rule: where the
book's own layout cannot show the very passage, the record's text does.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from ingest.rendering import LAID_OUT, Renderer, View, part_of
from ingest.wire import Mark, Rendered
from library.errors import UnreadableFile
from library.excerpts import Excerpts
from library.values import Document, Excerpt, Section
from search.within import Span, spans
from web import plain
from web.shapes import page_of


class Asked(msgspec.Struct, frozen=True):
    """What the address of a page of the reader says."""

    passage: Excerpt | None = None
    section: int | None = None
    part: str | None = None
    leaf: int = 0
    query: str = ""
    hit: int | None = None  # from 1
    plain: bool = False


class Leaf(msgspec.Struct, frozen=True):
    """What is shown of a book: either its own `html`, or `paragraphs` of the record's text."""

    html: str | None
    paragraphs: list[list[dict[str, Any]]]
    section: Section | None  # the one that is open
    language: str | None
    direction: str
    previous: str | None  # addresses
    next: str | None
    here: str  # this leaf's address, without what is marked
    why_plain: str | None = None  # a sentence, where the book has a layout that is not shown


class Opened(msgspec.Struct, frozen=True):
    leaf: Leaf
    hits: tuple[Span, ...]
    hit: int | None  # the one it is open at, from 1


class Opening:
    """One book, opened."""

    def __init__(
        self, document: Document, excerpts: Excerpts, renderer: Renderer, outline: Sequence[Section]
    ) -> None:
        self._document, self._excerpts, self._renderer = document, excerpts, renderer
        self._outline = outline
        self._sections = {section.ordinal: section for section in outline}
        self.address = f"/read/{document.id}"

    def open(self, asked: Asked) -> Opened:
        hits = self.hits(asked.query)
        at = asked.hit if asked.hit is not None and 1 <= asked.hit <= len(hits) else None
        marks = [_hit_mark(span, number, is_open=number == at) for number, span in enumerate(hits, start=1)]
        if asked.passage is not None:
            excerpt = asked.passage
            opens = at is None
            passage = Mark(excerpt.section, excerpt.start, excerpt.end, "passage", "passage", opens=opens)
            marks.insert(0, passage)
        opening = next((mark for mark in marks if mark.opens), None)
        ordinal = opening.section if opening else asked.section
        why_plain = None
        # A document without sections shows nothing of itself: it is gone, unreadable, or not read yet.
        if self._outline and self._document.format in LAID_OUT and not asked.plain:
            try:
                laid_out = self._laid_out(asked, ordinal, marks)
                if laid_out is not None:
                    return Opened(laid_out, tuple(hits), at)
            except UnreadableFile as error:
                why_plain = str(error)
        return Opened(self._plain(asked, ordinal, opening, marks, why_plain), tuple(hits), at)

    def hits(self, query: str) -> list[Span]:
        if not query.strip():
            return []
        texts = ((section.ordinal, section.text) for section in self._excerpts.sections_at(self._document.id))
        return spans(texts, query)

    def _laid_out(self, asked: Asked, ordinal: int | None, marks: Sequence[Mark]) -> Leaf | None:
        """None where the passage does not stand on the page letter by letter."""
        part, fragment = "", ""
        section = self._sections.get(ordinal) if ordinal is not None else None
        in_parts = self._document.format == "epub"
        if section is not None and in_parts:
            part = part_of(section)
            if not part:  # what a book without any text says of itself
                return None
        elif section is None and asked.part is not None:
            part, _, fragment = asked.part.partition("#")
        elif in_parts:
            first = next((one for one in self._outline if part_of(one)), None)
            part = "" if first is None else self._first_part(part_of(first))
        wanted = tuple(mark for mark in marks if self._is_in(mark.section, part))
        view = View(
            part=part,
            fragment=fragment,
            section=section.ordinal if section else None,
            leaf=asked.leaf,
            marks=wanted,
        )
        rendered = self._renderer.page(self._document, view, address=self.address)
        if not rendered.exact:
            return None
        return self._leaf(rendered, section)

    def _first_part(self, known: str) -> str:
        """The book's first file, which need not have any text: its cover, say."""
        parts = self._renderer.page(self._document, View(part=known), address=self.address).parts
        return parts[0] if parts else known

    def _is_in(self, ordinal: int, part: str) -> bool:
        section = self._sections.get(ordinal)
        return section is not None and (self._document.format != "epub" or part_of(section) == part)

    def _leaf(self, rendered: Rendered, section: Section | None) -> Leaf:
        shown = section.ordinal if section else next(iter(rendered.sections), rendered.under)
        parts = self._parts(rendered.parts)
        at = parts.index(rendered.part) if rendered.part in parts else None
        before = after = None
        if rendered.leaf > 0:
            before = self._part_address(rendered.part, rendered.leaf - 1)
        elif at:
            before = self._part_address(parts[at - 1], -1)
        if rendered.leaf + 1 < rendered.leaves:
            after = self._part_address(rendered.part, rendered.leaf + 1)
        elif at is not None and at + 1 < len(parts):
            after = self._part_address(parts[at + 1], 0)
        return Leaf(
            html=rendered.html,
            paragraphs=[],
            section=self._sections.get(shown) if shown is not None else None,
            language=rendered.language or self._document.language,
            direction=rendered.direction,
            previous=before,
            next=after,
            here=self._part_address(rendered.part, rendered.leaf),
        )

    def _parts(self, listed: Sequence[str]) -> list[str]:
        """The files the book lists, and behind each those it only shows inside it."""
        parts, behind = list(listed), -1
        if self._document.format != "epub":
            return parts
        for part in dict.fromkeys(map(part_of, self._outline)):
            if part in parts:
                behind = parts.index(part)
            elif part:
                behind += 1
                parts.insert(behind, part)
        return parts

    def _plain(
        self, asked: Asked, ordinal: int | None, opening: Mark | None, marks: Sequence[Mark], why: str | None
    ) -> Leaf:
        places = [section.ordinal for section in self._outline]
        if ordinal not in self._sections:
            ordinal = places[0] if places else 0
        section = self._excerpts.section(self._document.id, ordinal)
        text = section.text if section else ""
        cuts = plain.leaves(text)
        number = len(cuts) - 1 if asked.leaf < 0 else min(asked.leaf, len(cuts) - 1)
        if opening is not None:
            number = plain.leaf_at(cuts, opening.start)
        start, end = cuts[number]
        if opening is not None:  # whole here, though the next leaf begins within it
            end = max(end, opening.end)
        here = [mark for mark in marks if mark.section == ordinal]
        at = places.index(ordinal) if ordinal in places else None
        before = after = None
        if number > 0:
            before = self._section_address(ordinal, number - 1)
        elif at:
            before = self._section_address(places[at - 1], -1)
        if number + 1 < len(cuts):
            after = self._section_address(ordinal, number + 1)
        elif at is not None and at + 1 < len(places):
            after = self._section_address(places[at + 1], 0)
        return Leaf(
            html=None,
            paragraphs=plain.paragraphs(text[start:end], here, first=start) if text else [],
            section=section,
            language=self._document.language,
            direction="",
            previous=before,
            next=after,
            here=self._section_address(ordinal, number),
            why_plain=why,
        )

    def _part_address(self, part: str, leaf: int) -> str:
        return f"{self.address}?part={quote(part)}{f'&leaf={leaf}' if leaf else ''}"

    def _section_address(self, ordinal: int, leaf: int) -> str:
        return f"{self.address}?section={ordinal}{f'&leaf={leaf}' if leaf else ''}"


def _hit_mark(span: Span, number: int, *, is_open: bool) -> Mark:
    kind = "hit current" if is_open else "hit"
    return Mark(span.section, span.start, span.end, kind, f"h{number}", opens=is_open)


_MOST_CONTENTS = 400
_AROUND = 60


def contents(outline: Sequence[Section], title: str, shown: int | None) -> list[dict[str, Any]]:
    """The table of contents: what goes on over pages stands once, and of a very long one what is near."""
    begun: list[Section] = []
    for section in outline:
        if not begun or section.heading_path != begun[-1].heading_path or len(outline) <= 1:
            begun.append(section)
    if len(begun) == 1 and len(outline) > 1:  # pages without any heading
        begun = list(outline)
    current = max(
        (at for at, one in enumerate(begun) if shown is not None and one.ordinal <= shown), default=0
    )
    if len(begun) > _MOST_CONTENTS:
        near = range(current - _AROUND, current + _AROUND)
        level = max(
            (n for n in range(1, 7) if sum(one.level <= n for one in begun) <= _MOST_CONTENTS), default=0
        )
        kept = [at for at, one in enumerate(begun) if one.level <= level or at in near]
    else:
        kept = list(range(len(begun)))
    return [
        {
            "title": _line(begun[at], title, paged=len(begun) == len(outline)),
            "level": begun[at].level,
            "ordinal": begun[at].ordinal,
            "current": at == current and shown is not None,
        }
        for at in kept
    ]


def _line(section: Section, title: str, *, paged: bool) -> str:
    page = page_of(section.anchor)
    name = section.heading_path[-1] if section.heading_path else title
    return f"Page {page}" if page is not None and paged and len(section.heading_path) <= 1 else name
