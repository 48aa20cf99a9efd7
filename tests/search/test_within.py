"""Find in a book: as typed first, then by its words; offsets are those of the text that was given."""

from hypothesis import given
from hypothesis import strategies as st

from search.within import MOST_SPANS, folded, spans

TEXT = [(0, "Le Régime: the White\nWhale boils."), (3, "Boiling a whale, boiled.")]


def found(typed: str) -> list[str]:
    texts = dict(TEXT)
    return [texts[span.section][span.start : span.end] for span in spans(TEXT, typed)]


def test_case_accents_and_line_ends_do_not_count() -> None:
    assert found("white whale") == ["White\nWhale"]
    assert found("REGIME") == ["Régime"]


def test_words_are_looked_for_only_when_nothing_says_what_was_typed() -> None:
    assert found("whale boils") == ["Whale boils"]
    assert found("how to boil the whale") == ["Whale", "boils", "Boiling", "whale", "boiled"]


def test_a_word_begins_where_a_word_begins() -> None:
    assert found("ale") == []
    assert found("oil") == []


def test_a_script_without_spaces_is_found_inside_its_run() -> None:
    assert [tuple(span) for span in spans([(1, "山路を登りながら")], "登り")] == [(1, 3, 5)]


@given(st.text(max_size=200), st.text(max_size=60))
def test_any_text_and_any_query_give_spans_inside_the_text_in_order(text: str, typed: str) -> None:
    assert len(folded(text)) == len(text)
    given = spans([(0, text)], typed)
    assert all(0 <= span.start < span.end <= len(text) for span in given)
    assert given == sorted(given)


def test_there_is_an_end_to_what_is_found() -> None:
    assert len(spans([(0, "a " * 5000)], "a")) == MOST_SPANS
    assert spans([(0, "a" * 100_000)], "(a+)+$" * 1000) == []
