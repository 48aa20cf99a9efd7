"""Citations: what the passages say is cited, what they do not say is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.answering.citations import Citer
from llm.events import Citation, Token

BOILING = "Water › Boiling\nBring the water to a rolling boil and keep it boiling for 1 minute, or 3 minutes above 2,000 m."
BLEACH = (
    "Water › Bleach\nAdd 2 drops of plain household bleach to each litre of clear water and wait 30 minutes."
)


def told(
    answer: str, *, size: int = 4, passages: tuple[str, ...] = (BOILING, BLEACH), question: str = ""
) -> tuple[str, Citer]:
    """The answer as a reader sees it, fed in pieces of `size` characters."""
    citer, shown = Citer(passages, question=question), ""
    events = [event for at in range(0, len(answer), size) for event in citer.feed(answer[at : at + size])]
    for event in [*events, *citer.finish()]:
        shown += event.text if isinstance(event, Token) else f"[{event.n}]"
    return shown, citer


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_each_sentence_is_followed_by_the_passage_that_says_it(size: int) -> None:
    answer = "Keep the water at a rolling boil for 1 minute. Or add 2 drops of household bleach to each litre of water."
    shown, citer = told(answer, size=size)
    assert shown == (
        "Keep the water at a rolling boil for 1 minute.[1] "
        "Or add 2 drops of household bleach to each litre of water.[2]"
    )
    assert (citer.sentences, citer.cited) == (2, 2)


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_the_models_own_marks_are_taken_out_and_only_hints(size: int) -> None:
    shown, _ = told("Keep the water at a rolling boil for 1 minute [2]. It is safe.", size=size)
    assert shown == "Keep the water at a rolling boil for 1 minute.[1] It is safe."


def test_a_wrong_figure_is_never_cited() -> None:
    shown, citer = told("Keep the water at a rolling boil for 10 minutes.")
    assert shown == "Keep the water at a rolling boil for 10 minutes."
    assert citer.cited == 0


def test_what_no_passage_says_is_not_cited_and_counted() -> None:
    shown, citer = told("The moon landing took place in the summer of that famous year.")
    assert "[" not in shown
    assert (citer.sentences, citer.cited) == (1, 0)


def test_the_opposite_in_the_passages_own_words_is_not_cited() -> None:
    passage = "Bleach\nNever mix bleach with ammonia or vinegar, because poisonous gas forms."
    assert told("Mix bleach with ammonia or vinegar until gas forms.", passages=(passage,))[1].cited == 0
    assert told("Do not mix bleach with ammonia or vinegar.", passages=(passage,))[1].cited == 1
    boiling = told("Do not bring the water to a rolling boil for 1 minute.")
    assert boiling[1].cited == 0


def test_repeating_the_question_is_no_evidence() -> None:
    passage = "Drink\nStir salt and sugar into a litre of safe water for a home rehydration drink."
    question = "How much salt and sugar for a home rehydration drink?"
    said = "The salt and sugar for a home rehydration drink depend on the person."
    assert told(said, passages=(passage,), question=question)[1].cited == 0
    said = "For the drink stir salt and sugar into a litre of safe water."
    assert told(said, passages=(passage,), question=question)[1].cited == 1


def test_words_scattered_over_a_long_passage_do_not_add_up_to_a_sentence() -> None:
    passage = "Things\nThe roof is flat. It rains. Cats sleep. The ladder is red. It snows. Dogs bark. Paint is wet."
    assert told("The flat ladder has wet paint on its roof.", passages=(passage,))[1].cited == 0


def test_a_model_that_says_a_sentence_again_is_noticed() -> None:
    assert told("1. Cool the burn with water.\n2. Cool the burn with water.\n")[1].repeating
    assert not told("1. Cool the burn with water.\n2. Cover the burn with film.\n")[1].repeating


def test_a_point_inside_a_figure_or_an_abbreviation_ends_no_sentence() -> None:
    passage = "Ratios\nMix 2.5 g of salt with 13.5 g of glucose in one litre."
    shown, _ = told("Mix 2.5 g of salt with 13.5 g of glucose.", passages=(passage,))
    assert shown == "Mix 2.5 g of salt with 13.5 g of glucose.[1]"


def test_list_items_are_cited_one_by_one() -> None:
    answer = "- Bring water to a rolling boil\n- Add 2 drops of household bleach to the clear water"
    shown, _ = told(answer)
    assert (
        shown == "- Bring water to a rolling boil[1]\n- Add 2 drops of household bleach to the clear water[2]"
    )


def test_japanese_sentences_are_cited() -> None:
    passage = "水\n水を一分間沸騰させてから飲む。"
    shown, _ = told("水を一分間沸騰させて飲む。", passages=(passage,))
    assert shown == "水を一分間沸騰させて飲む。[1]"


@given(st.text(alphabet="ab [1]2.!\n 水。", max_size=80), st.integers(1, 9))
def test_but_for_marks_every_character_comes_out_in_order(answer: str, size: int) -> None:
    import re

    shown, _ = told(answer, size=size, passages=("a b",))
    strip = re.compile(r"\s*\[\d{1,2}\]|\s+")
    assert strip.sub("", shown) == strip.sub("", answer)


@given(st.text(alphabet="abc [12]. ", max_size=60))
def test_a_citation_always_names_a_passage_that_was_given(answer: str) -> None:
    citer = Citer(("a b c", "b c a"))
    events = [*citer.feed(answer), *citer.finish()]
    assert all(1 <= event.n <= 2 for event in events if isinstance(event, Citation))


def test_a_figure_of_something_else_is_never_cited() -> None:
    assert told("Add 2 teaspoons of household bleach to each litre of clear water.")[1].cited == 0
    assert told("Add 2 drops of household bleach to each litre of clear water.")[1].cited == 1


def test_what_a_repeating_model_says_after_is_not_told() -> None:
    shown, _ = told("Cool the burn with water. Cool the burn with water. Cool the", size=1)
    assert shown == "Cool the burn with water. Cool the burn with water."
