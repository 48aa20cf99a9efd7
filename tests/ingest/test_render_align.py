"""Alignment: letters are paired when they are the same letters, and what stands on one side only is passed over."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.render.align import NOWHERE, align, letters, without_space

WORDS = st.lists(
    st.text(st.characters(categories=("L", "Nd", "P")), min_size=1, max_size=9), min_size=1, max_size=60
)


def paired(recorded: str, shown: str) -> list[int]:
    return list(align(letters(recorded), without_space(shown)))


@given(WORDS, st.lists(st.sampled_from([" ", "\n", "\n\n", "\t "]), min_size=60, max_size=60))
def test_white_space_does_not_count(words: list[str], spaces: list[str]) -> None:
    shown = "".join(word + space for word, space in zip(words, spaces, strict=False))
    assert paired(" ".join(words), shown) == list(range(len(without_space(shown))))


@given(st.text(max_size=300), st.text(max_size=300))
def test_whatever_the_two_are_pairs_are_equal_letters_in_rising_places(recorded: str, shown: str) -> None:
    cut, other = letters(recorded), without_space(shown)
    places = [(at, to) for at, to in enumerate(align(cut, other)) if to != NOWHERE]
    assert all(cut.text[at] == other[to] for at, to in places)
    assert [to for _, to in places] == sorted({to for _, to in places})


def test_list_markers_bars_and_note_brackets_are_not_on_the_page() -> None:
    recorded = "1. 1984 was dry\n2. The well\n  - is deep[3]\nTinder | Fuel |  | Birch"
    shown = "1984 was dry The well is deep3 Tinder Fuel Birch"
    cut = letters(recorded)
    places = align(cut, without_space(shown))
    assert [to for to in places if to != NOWHERE] == list(range(len(without_space(shown))))
    lost = "".join(cut.text[at] for at, to in enumerate(places) if to == NOWHERE)
    assert lost == "1.2.-[]|||"


def test_markers_that_are_on_the_page_are_paired_with_it() -> None:
    text = "1. Boil it [for long] | or not - who knows"
    assert NOWHERE not in paired(text, text)


def test_what_only_the_page_has_is_passed_over() -> None:
    recorded = "Boil the water for one minute. Let it cool before you drink."
    shown = "Safe water Boil the water for one minute. 12 Let it cool before you drink."
    places = paired(recorded, shown)
    assert NOWHERE not in places
    other = without_space(shown)
    assert "".join(other[to] for to in places) == without_space(recorded)


def test_a_heading_is_taken_where_it_stands_and_left_where_the_page_has_none() -> None:
    recorded = "Wind\n\nWind-power is great, day and night."
    heading = [range(4)]
    with_it = align(letters(recorded), "WindWind-powerisgreat,dayandnight.", heading)
    assert list(with_it) == list(range(34))
    without = align(letters(recorded), "Wind-powerisgreat,dayandnight.", heading)
    assert list(without) == [NOWHERE] * 4 + list(range(30))


def test_a_long_piece_that_only_one_side_has_does_not_lose_the_rest() -> None:
    chapter = " ".join(f"Sentence number {n} of the chapter goes on." for n in range(40))
    notes = " ".join(f"Note {n} says something else entirely here." for n in range(300))
    places = paired(chapter + chapter.upper(), chapter + notes + chapter.upper())
    assert NOWHERE not in places


def test_a_text_that_is_another_text_is_given_up_in_good_time() -> None:
    places = paired("lorem ipsum " * 20_000, "Пусть всегда будет солнце " * 20_000)
    assert set(places) == {NOWHERE}
