"""Near-duplicates: what a better passage says is told; what says more stays."""

from hypothesis import given
from hypothesis import strategies as st

from search.duplicates import Said

BOILING = (
    "Bring the water to a rolling boil and keep it boiling for one minute; above two thousand metres boil it "
    "for three minutes. Let it cool with the lid on, and pour it from one clean vessel into another to give "
    "it back its taste. Boiling kills germs, but it takes away neither salt nor poison; water that smells of fuel "
    "is not made safe by any fire, and is better poured away far from the well."
)


def test_the_same_in_another_edition_is_told() -> None:
    said = Said()
    assert said.already("a", BOILING) is None
    again = BOILING.upper().replace(";", " -").replace(". ", ".\n\n").replace("GIVE", "lend")
    assert said.already("b", again) == "a"


def test_a_part_of_a_better_passage_is_told_and_a_longer_one_stays() -> None:
    said = Said()
    assert said.already("part", BOILING[:250]) is None
    assert said.already("whole", BOILING) is None
    assert said.already("again", BOILING[:245]) in ("part", "whole")


def test_pages_that_differ_in_what_they_are_looked_up_for_stay() -> None:
    page = "Name {0}. The {0} command writes what the {0} service reports to the {0} log of each named host, once a minute, in {0} form."
    said = Said()
    assert [said.already(name, page.format(name) * 2) for name in ("alpha", "beta", "gamma")] == [None] * 3


def test_short_paragraphs_that_differ_in_a_name_stay() -> None:
    text = "The {0} lamp is filled with lamp oil through the side filler, and its wick is trimmed weekly by hand."
    said = Said()
    assert [said.already(name, text.format(name)) for name in ("Davy", "Argand")] == [None, None]


def test_a_line_that_every_chapter_has_stays() -> None:
    said = Said()
    assert [said.already(id_, "See the next page.") for id_ in "ab"] == [None, None]


@given(st.lists(st.text(st.sampled_from("ab あ.\n\0"), max_size=200), max_size=8))
def test_any_text_may_come_and_the_first_always_stays(texts) -> None:
    said = Said()
    told = [said.already(str(at), text) for at, text in enumerate(texts)]
    assert all(better is None or told[int(better)] is None for better in told)
    assert not told or told[0] is None
