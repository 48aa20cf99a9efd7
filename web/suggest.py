"""Suggestions for the search box, for each key that is pressed."""

from urllib.parse import quote, urlencode

import msgspec
from litestar import get
from litestar.datastructures import State
from litestar.params import FromQuery

from search.suggestions import Kind, Suggestion
from web.house import House


class SuggestionShape(msgspec.Struct, frozen=True):
    text: str
    kind: Kind
    href: str


class SuggestionsShape(msgspec.Struct, frozen=True):
    items: tuple[SuggestionShape, ...]


@get("/api/suggest", sync_to_thread=True)
def suggest(state: State, q: FromQuery[str] = "") -> SuggestionsShape:
    """Titles, authors, headings and words that go on as typed."""
    house: House = state.house
    found = house.suggestions.for_prefix(q)
    return SuggestionsShape(tuple(SuggestionShape(one.text, one.kind, href_of(one)) for one in found))


def href_of(suggestion: Suggestion) -> str:
    """Where a suggestion leads: into a document, or to a search."""
    if suggestion.document_id is not None:
        section = "" if suggestion.section is None else f"?{urlencode({'section': suggestion.section})}"
        return f"/read/{quote(suggestion.document_id, safe='')}{section}"
    if suggestion.kind is Kind.AUTHOR:
        # A name with a quotation mark in it would end the phrase.
        name = " ".join(suggestion.text.replace('"', " ").split())
        wanted = f'author:"{name}"'
        return f"/?{urlencode({'q': wanted})}"
    return f"/?{urlencode({'q': suggestion.text})}"
