"""Tokens: a page of a book as a flat list, safe to write out.

A token is an element's beginning or end, a text, or something that is shown as
a whole, such as a picture. Flat and not a tree, so that nothing recurses, a
long page is cut between any two tokens, and a mark never crosses a tag. Its
hard rule: markup in a token was written by `ingest.render`, never by the book.
"""

from typing import NamedTuple


class Open(NamedTuple):
    """An element begins. `divides` says whether a page may be cut right inside it."""

    name: str
    markup: str
    divides: bool = False


class Close(NamedTuple):
    name: str


class Text(NamedTuple):
    """Text as it is shown, not escaped. What is not `told` was left out by extraction, like the reading of a ruby."""

    text: str
    told: bool = True


class Whole(NamedTuple):
    """A picture or a formula: its markup, and the words for it that extraction took, which may be none."""

    markup: str
    text: str = ""


class Anchor(NamedTuple):
    """A place that can be linked to, where no element of the page carries its id."""

    id: str


Token = Open | Close | Text | Whole | Anchor
