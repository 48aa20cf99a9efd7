"""Suggestions: what goes on as typed, of documents that can be opened."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from library.arrivals import Arrivals
from library.excerpts import Excerpts
from library.queue import Queue
from library.record import Record
from library.texts import Text
from library.values import Chunk, DocumentState, Extracted, FileSeen, Section
from search.lexical import SCHEMA, LexicalIndex
from search.soundness import WordFiles
from search.suggestions import Kind, Suggestion, Suggestions
from search.words import LexicalSide, Words


class House:
    """A record and a lexical index, filled as ingest fills them."""

    def __init__(self, folder: Path) -> None:
        self.record = Record.open(folder / "record.sqlite3")
        self.lexical = LexicalIndex(folder / "lexical")
        self.arrivals, self.queue = Arrivals(self.record), Queue(self.record)
        self.suggestions = Suggestions(
            Words(LexicalSide("words", SCHEMA, self.lexical, WordFiles(folder / "lexical"))),
            Excerpts(self.record),
        )

    def hold(
        self, title: str, *headings: str, authors: tuple[str, ...] = (), text: str = "some words"
    ) -> str:
        path = f"{title}.txt"
        self.arrivals.receive(FileSeen(path, 1, 0, path, "text"), is_gone=lambda _: False)
        [(document, digest, _)] = self.queue.begin_reading()
        paths = [(title,), *((title, heading) for heading in headings)]
        sections = tuple(Section(n, 1, path, "", text) for n, path in enumerate(paths))
        chunks = [Chunk(n, n, 0, len(text), text) for n in range(len(sections))]
        extracted = Extracted(title, authors, None, None, sections)
        stored = self.queue.store_texts([Text(document.id, digest, extracted, chunks)])
        self.lexical.add(stored[document.id])
        self.lexical.commit()
        self.queue.advance({document.id: digest}, DocumentState.FINDABLE_WORDS)
        return document.id

    def suggested(self, typed: str, kind: Kind) -> list[str]:
        return [one.text for one in self.suggestions.for_prefix(typed) if one.kind is kind]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.lexical.close()
    house.record.close()


def test_any_word_of_a_title_may_be_begun(house: House) -> None:
    cabin = house.hold("The Log Cabin")
    house.hold("Cabbages")
    assert house.suggested("cab", Kind.TITLE) == ["Cabbages", "The Log Cabin"]
    assert house.suggested("log ca", Kind.TITLE) == ["The Log Cabin"]
    assert house.suggested("cabin l", Kind.TITLE) == ["The Log Cabin"]
    assert house.suggested("abin", Kind.TITLE) == []
    assert Suggestion("The Log Cabin", Kind.TITLE, cabin) in house.suggestions.for_prefix("The l")


def test_a_title_that_begins_as_typed_comes_first(house: House) -> None:
    for title in ("Old Water", "Water and Fire at the Edge of the World", "Water"):
        house.hold(title)
    assert house.suggested("wat", Kind.TITLE) == [
        "Water",
        "Water and Fire at the Edge of the World",
        "Old Water",
    ]


def test_case_and_accents_do_not_matter(house: House) -> None:
    house.hold("Émile et les détectives", authors=("Erich Kästner",))
    assert house.suggested("EMIL", Kind.TITLE) == house.suggested("détec", Kind.TITLE)
    assert house.suggested("DETEC", Kind.TITLE) == ["Émile et les détectives"]
    assert house.suggested("kast", Kind.AUTHOR) == ["Erich Kästner"]


def test_only_the_author_that_goes_on_as_typed_is_suggested(house: House) -> None:
    house.hold("One", authors=("Jack London", "Anna Sewell"))
    house.hold("Two", authors=("Jack London",))
    assert house.suggested("lon", Kind.AUTHOR) == ["Jack London"]


def test_a_heading_leads_to_its_section(house: House) -> None:
    book = house.hold("Manual", "Making Fire", "Finding Water")
    assert Suggestion("Finding Water", Kind.HEADING, book, 2) in house.suggestions.for_prefix("find")
    assert house.suggested("manual", Kind.HEADING) == []


def test_words_of_the_library_go_on_what_was_typed(house: House) -> None:
    house.hold("Manual", text="purification purifies the pure")
    assert set(house.suggested("water purif", Kind.TERM)) == {"water purification", "water purifies"}
    assert house.suggested("th", Kind.TERM) == []


def test_a_title_without_spaces_is_found_by_what_stands_in_it(house: House) -> None:
    house.hold("安全な飲み水")
    assert house.suggested("飲み", Kind.TITLE) == house.suggested("安", Kind.TITLE) == ["安全な飲み水"]
    assert house.suggested("飲安", Kind.TITLE) == []


def test_what_is_removed_or_may_not_be_seen_is_not_suggested(house: House) -> None:
    cabin = house.hold("The Log Cabin")
    house.hold("Cabbages")
    house.lexical.remove([cabin])
    house.lexical.commit()
    assert house.suggested("cab", Kind.TITLE) == ["Cabbages"]
    house.arrivals.mark_missing(["Cabbages.txt"])
    assert house.suggested("cab", Kind.TITLE) == []


def test_a_large_limit_and_none_are_kept(house: House) -> None:
    for n in range(30):
        house.hold(f"Water {n}")
    assert len(house.suggestions.for_prefix("wat")) == 8
    assert len(house.suggestions.for_prefix("wat", limit=3)) == 3
    assert house.suggestions.for_prefix("wat", limit=0) == house.suggestions.for_prefix("   ") == []


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(typed=st.text(st.characters(exclude_categories=()), max_size=100))
@example(typed="\ud800\x00")
@example(typed="x" * 100_000)
@example(typed=".*[a-z]+(")
def test_anything_may_be_typed(house: House, typed: str) -> None:
    assert len(house.suggestions.for_prefix(typed)) <= 8
