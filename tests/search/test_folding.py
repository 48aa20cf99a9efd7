"""Folding: a passage stands where its best chunk stood, and nothing is lost from sight unsaid."""

from search.folding import HEAD, fold
from search.values import Candidate
from tests.search.test_duplicates import BOILING
from tests.search.test_neighbours import cut, excerpt

PAGE = " ".join(f"Sentence {number} of this page says what no other does." for number in range(400))


def candidates(ids: list[str]) -> list[Candidate]:
    return [Candidate(id_, 1 - at / 1000) for at, id_ in enumerate(ids)]


def test_a_copy_goes_to_the_passage_that_says_it() -> None:
    texts = {
        one.id: one
        for one in (
            excerpt(BOILING, 0, 0, len(BOILING), of="first"),
            excerpt(PAGE, 0, 0, 900, of="between"),
            excerpt(BOILING.upper(), 0, 0, len(BOILING), of="second"),
        )
    }
    folded = fold(candidates(list(texts)), texts, join=True)
    assert [one.id for one in folded.ranked] == ["first-0-0", "between-0-0"]
    assert folded.copies["first-0-0"] == ("second-0-0",)
    assert folded.copies["between-0-0"] == ()


def test_neighbours_are_one_passage_where_the_better_one_stood() -> None:
    one, two, three = cut(PAGE[:2700], 900)
    other = excerpt(PAGE, 0, 5000, 5900, of="other")
    texts = {each.id: each for each in (two, other, three, one)}
    folded = fold(candidates(list(texts)), texts, join=True)
    assert [each.id for each in folded.ranked] == [two.id, other.id, one.id]  # all three would be too long
    assert [each.id for each in folded.runs[two.id]] == [two.id, three.id]
    apart = fold(candidates(list(texts)), texts, join=False)
    assert [each.id for each in apart.ranked] == list(texts)


def test_the_copies_of_a_chunk_that_joined_another_are_told_with_it() -> None:
    one, two = cut(PAGE[:1800], 900)
    again = excerpt(PAGE, 0, 900, 1800, of="again")
    texts = {each.id: each for each in (one, two, again)}
    folded = fold(candidates(list(texts)), texts, join=True)
    assert [each.id for each in folded.ranked] == [one.id]
    assert folded.copies[one.id] == (again.id,)


def test_what_has_no_text_and_what_is_behind_the_head_stays_where_it_is() -> None:
    ids = [f"chunk{at}" for at in range(HEAD + 10)]
    behind = {
        id_: excerpt(BOILING, 0, 0, len(BOILING), of=f"of-{id_}") for id_ in ids[HEAD:]
    }  # the same text ten times, but nobody looks that far
    folded = fold(candidates(ids), behind, join=True)
    assert [one.id for one in folded.ranked] == ids
    assert folded.copies == {}
