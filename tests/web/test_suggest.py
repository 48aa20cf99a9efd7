"""Where a suggestion leads, and that a running appliance makes some."""

import pytest

from search.suggestions import Kind, Suggestion
from tests.running import Appliance
from web.suggest import href_of


@pytest.mark.parametrize(
    ("suggestion", "href"),
    [
        (Suggestion("Bees", Kind.TITLE, "abc"), "/read/abc"),
        (Suggestion("Inspection", Kind.HEADING, "abc", 0), "/read/abc?section=0"),
        (Suggestion("boil & bake", Kind.TERM), "/?q=boil+%26+bake"),
        (Suggestion('Jack "J" London', Kind.AUTHOR), "/?q=author%3A%22Jack+J+London%22"),
    ],
)
def test_a_suggestion_leads_to_its_document_or_to_a_search(suggestion: Suggestion, href: str) -> None:
    assert href_of(suggestion) == href


@pytest.mark.models
def test_titles_headings_and_words_are_suggested(house: Appliance) -> None:
    _, bees = house.get("/api/search", q="Marigold colony inspection")
    book = bees["items"][0]["document"]["id"]
    status, found = house.get("/api/suggest", q="keeping be")
    assert status == 200
    assert {"text": "Keeping bees on a flat roof", "kind": "title", "href": f"/read/{book}"} in found["items"]
    _, found = house.get("/api/suggest", q="inspec")
    [heading] = [item for item in found["items"] if item["kind"] == "heading"]
    assert heading["href"].startswith(f"/read/{book}?section=")
    assert house.get("/api/suggest", q="")[1] == {"items": []}
