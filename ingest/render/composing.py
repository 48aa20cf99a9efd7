"""Composing: one part of a book and its sections in the record, as leaves that can be opened at any word.

Brings together what the other modules of this folder do; the slow half (read,
clean, align, cut) is kept for the leaves that follow. Its hard rule: a passage
is only said to be marked when the letters marked are the passage's.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from html import escape, unescape
from urllib.parse import quote

from ingest.render.align import NOWHERE, align, letters
from ingest.render.clean import clean, shown_id
from ingest.render.leaves import leaves
from ingest.render.sources import Source
from ingest.render.tokens import Anchor, Open, Text, Token, Whole
from ingest.render.writing import Stretch, write
from ingest.wire import Mark, Recorded, Render, Rendered

_ID = re.compile(r' id="([^"]*)"')
_OWN_LINK = re.compile(r' href="#([^"]*)"')


class Composed:
    """One part, ready to be written leaf by leaf."""

    def __init__(self, source: Source, recorded: Sequence[Recorded], *, address: str, part: str) -> None:
        self._address, self._parts, self._part = address, source.parts, part
        cleaned = clean(source.root, source.targets)
        self._language, self._direction = cleaned.language, cleaned.direction
        self._leaves = leaves(cleaned.tokens)
        shown: list[str] = []
        self._firsts: list[int] = []
        self._leaf_of_id: dict[str, int] = {}
        count = 0
        for number, leaf in enumerate(self._leaves):
            self._firsts.append(count)
            for token in leaf:
                text = _told(token)
                if text:
                    shown.append(text)
                    count += len(text)
                for id_ in _ids(token):
                    self._leaf_of_id.setdefault(id_, number)
        self._shown = "".join(shown)
        self._map(recorded)

    def _map(self, recorded: Sequence[Recorded]) -> None:
        """Align the record's text with the page's, and put every section's name before its first letter."""
        texts: list[str] = []
        self._starts: dict[int, int] = {}  # section → where its text begins in what is aligned
        heads: dict[int, int] = {}
        size = 0
        for section in recorded:
            heads[section.ordinal] = size
            stands_alone = section.text == section.heading or section.heading.endswith("…")
            head = "" if stands_alone else section.heading
            for text in (head, section.text):
                self._starts[section.ordinal] = size
                texts.append(text)
                size += len(text) + 2
        self._letters = letters("\n\n".join(texts))
        spans = (self._letters.between(heads[one], begin) for one, begin in self._starts.items())
        self._aligned = align(self._letters, self._shown, [span for span in spans if span])
        self._places: dict[int, list[str]] = {}
        self._sections: list[tuple[int, int]] = []  # (its first letter, ordinal), in order
        before = 0
        for section in recorded:
            end = self._starts[section.ordinal] + len(section.text)
            found = (
                self._aligned[at]
                for at in self._letters.between(heads[section.ordinal], end)
                if self._aligned[at] != NOWHERE
            )
            place = before = next(found, before)
            names = self._places.setdefault(place, [])
            names.append(f"s{section.ordinal}")
            alias = shown_id(section.fragment)
            if section.fragment and alias not in self._leaf_of_id:
                names.append(alias)
                self._leaf_of_id[alias] = self._leaf_at(place)
            self._sections.append((place, section.ordinal))

    def leaf(self, asked: Render) -> Rendered:
        stretches: list[Stretch] = []
        exact = True
        number = None
        for mark in asked.marks:
            stretch = self._stretch(mark)
            if stretch is not None:
                stretches.append(stretch)
            if mark.opens:
                number = self._leaf_at(stretch.start) if stretch is not None else None
                # One that goes on upon the next leaf is shown whole in the recorded text.
                exact = stretch is not None and number == self._leaf_at(stretch.end - 1)
        if number is None:
            number = self._asked_leaf(asked)
        number = max(0, min(number, len(self._leaves) - 1))
        first = self._firsts[number]
        last = self._firsts[number + 1] if number + 1 < len(self._leaves) else len(self._shown) + 1
        here = [stretch for stretch in stretches if stretch.start < last and stretch.end > first]
        places = {at: names for at, names in self._places.items() if first <= at < last}
        began = [ordinal for place, ordinal in self._sections if place <= first]
        return Rendered(
            html=write(self._own_links(number), first, here, places),
            leaf=number,
            leaves=len(self._leaves),
            part=self._part,
            parts=self._parts,
            sections=tuple(ordinal for place, ordinal in self._sections if first <= place < last),
            under=began[-1] if began else None,
            exact=exact,
            language=self._language,
            direction=self._direction,
        )

    def _asked_leaf(self, asked: Render) -> int:
        if asked.fragment:
            return self._leaf_of_id.get(shown_id(asked.fragment), 0)
        if asked.section is not None:
            return self._leaf_at(next((at for at, one in self._sections if one == asked.section), 0))
        return asked.leaf if asked.leaf >= 0 else len(self._leaves) - 1

    def _leaf_at(self, letter: int) -> int:
        return max(0, bisect_right(self._firsts, letter) - 1)

    def _stretch(self, mark: Mark) -> Stretch | None:
        """The letters of the page that are the passage's, or None if it does not stand there as one piece."""
        start = self._starts.get(mark.section)
        if start is None:
            return None
        span = self._letters.between(start + mark.start, start + mark.end)
        markers = self._letters.markers
        found = [place for at in span if (place := self._aligned[at]) != NOWHERE]
        lost = any(self._aligned[at] == NOWHERE and not markers[at] for at in span)
        if not found or lost or found[-1] - found[0] + 1 != len(found):
            return None
        return Stretch(found[0], found[-1] + 1, mark.kind, mark.id)

    def _own_links(self, number: int) -> Sequence[Token]:
        """Links within the part stay on the leaf where they can."""

        def led(token: Token) -> Token:
            if not isinstance(token, Open) or token.name != "a":
                return token
            found = _OWN_LINK.search(token.markup)
            leaf = None if found is None else self._leaf_of_id.get(unescape(found[1]))
            if found is None or leaf is None or leaf == number:
                return token
            away = escape(f"{self._address}?part={quote(self._part)}&leaf={leaf}")
            return token._replace(markup=token.markup.replace(found[0], f' href="{away}#{found[1]}"', 1))

        return [led(token) for token in self._leaves[number]]


def _told(token: Token) -> str:
    if isinstance(token, Text):
        return "".join(token.text.split()) if token.told else ""
    return "".join(token.text.split()) if isinstance(token, Whole) else ""


def _ids(token: Token) -> Sequence[str]:
    if isinstance(token, Anchor):
        return (token.id,)
    if isinstance(token, Open) and (found := _ID.search(token.markup)):
        return (unescape(found[1]),)
    return ()
