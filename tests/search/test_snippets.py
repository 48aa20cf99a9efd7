"""Snippets: safe, within bounds, and marking what was asked."""

import html
import re

from hypothesis import given
from hypothesis import strategies as st

from search.snippets import _runs_in, snippet


@given(st.text(max_size=2000), st.text(max_size=60))
def test_a_snippet_is_the_texts_own_words_escaped_and_nothing_else(text: str, query: str) -> None:
    shown = snippet(text, query)
    assert re.sub(r"</?mark>", "", shown).count("<") == 0
    plain = html.unescape(re.sub(r"</?mark>", "", shown)).removeprefix("… ").removesuffix(" …")
    assert plain in text
    assert shown.count("<mark>") == shown.count("</mark>")


def test_markup_in_a_book_comes_out_as_text() -> None:
    shown = snippet('Boil <script>alert("x")</script> water', "water")
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "<mark>water</mark>" in shown


def test_other_forms_of_a_word_are_marked() -> None:
    assert "<mark>boiling</mark>" in snippet("The boiling takes a minute", "boil")


def test_a_word_is_marked_where_it_stands_by_itself_and_wherever_it_does() -> None:
    marked = "<mark>art</mark> party art2 <mark>Art</mark>-<mark>art</mark>, start"
    assert snippet("art party art2 Art-art, start", "art") == marked


@given(st.lists(st.text("aäbB -\u0301水の٣", min_size=1, max_size=6), min_size=1, max_size=8))
def test_what_is_remembered_of_words_marks_like_what_is_not(texts: list[str]) -> None:
    together = snippet(" ".join(texts), " ".join(texts), language="de")
    assert snippet(" ".join(texts), " ".join(texts), language="de") == together
    for text in texts:
        again = snippet(text, text, language="de")
        _runs_in.cache_clear()
        assert snippet(text, text, language="de") == again


def test_words_without_a_subject_are_not_marked() -> None:
    assert snippet("What is the time", "what is the distance") == "What is the time"


def test_the_window_is_where_the_words_are() -> None:
    text = "Filler words here. " * 60 + "The smoker is lit with dry sumac. " + "More filler. " * 60
    shown = snippet(text, "sumac smoker")
    assert "<mark>smoker</mark>" in shown
    assert "<mark>sumac</mark>" in shown
    assert shown.startswith("… ")
    assert shown.endswith(" …")


def test_japanese_is_marked_character_by_character() -> None:
    assert "<mark>水</mark>" in snippet("飲み水を沸かす", "水")


def test_the_window_with_the_most_different_words_is_shown_whole() -> None:
    # What is shown before the first match was once taken from the window's end, and the second word with it.
    marked = snippet("ash " * 2_000 + "and birch ", "ash birch", window=60)
    assert marked.startswith("… ")
    assert "<mark>birch</mark>" in marked


def test_words_are_the_same_whatever_stands_around_them() -> None:
    text = "Don’t boil naïvely—use cafés, 東京タワー, or हिन्दी_में; (x1y2)."
    assert "<mark>naïvely</mark>" in snippet(text, "naive")
    assert "<mark>cafés</mark>" in snippet(text, "café")
    assert "<mark>京</mark>" in snippet(text, "京")
    assert "<mark>हिन्दी</mark>" in snippet(text, "हिन्दी")
    assert "<mark>x1y2</mark>" in snippet(text, "X1Y2")


def test_words_are_marked_in_the_language_in_which_they_were_matched() -> None:
    assert "<mark>Häuser</mark>" in snippet("Die Häuser im Wald", "haus", language="de")
    assert "<mark>purificación</mark>" in snippet("La purificación", "purificacion", language="es")
    assert "<mark>" not in snippet("das war gut", "war history", language="de")


def test_what_an_operator_asks_for_is_marked_and_what_it_leaves_out_is_not() -> None:
    shown = snippet("Boil clean water, purify it, by Jack", '"clean water" purif* -boil author:jack shelf:by')
    assert shown == "Boil <mark>clean water</mark>, <mark>purify</mark> it, by Jack"


def test_a_word_that_was_taken_for_another_is_marked() -> None:
    assert "<mark>water</mark>" in snippet("Boil water", "watre", resembling=["water"])


def test_a_word_of_combining_marks_is_marked_whole() -> None:
    assert "<mark>cafe\u0301</mark>" in snippet("a cafe\u0301 here", "caf\u00e9")
