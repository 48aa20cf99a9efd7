"""Fusion: what must hold for any two rankings."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from search.fusion import fuse
from search.values import Candidate

rankings = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=2), st.integers(0, 5000).map(lambda n: n / 100), max_size=12
).map(lambda scores: [Candidate(id_, score) for id_, score in scores.items()])


@given(rankings, rankings, st.floats(0, 1))
def test_every_candidate_comes_out_once_with_a_score_from_0_to_1_best_first(lexical, vector, alpha) -> None:
    fused = fuse(lexical, vector, alpha=alpha)
    assert {c.id for c in fused} == {c.id for c in lexical} | {c.id for c in vector}
    assert len({c.id for c in fused}) == len(fused)
    assert all(-1e-9 <= c.score <= 1 + 1e-9 for c in fused)
    assert [c.score for c in fused] == sorted((c.score for c in fused), reverse=True)


@given(rankings, rankings)
def test_with_all_weight_on_one_side_its_order_stands(lexical, vector) -> None:
    ids = {c.id for c in lexical}
    order = [c.score for c in sorted(lexical, key=lambda c: -c.score)]
    scores = {c.id: c.score for c in lexical}
    fused = [c.id for c in fuse(lexical, vector, alpha=0.0) if c.id in ids]
    assert [scores[id_] for id_ in fused] == order


@given(rankings, rankings, st.floats(0.5, 20))
def test_the_unit_of_a_side_does_not_matter(lexical, vector, factor) -> None:
    scaled = [Candidate(c.id, c.score * factor) for c in lexical]
    before, after = fuse(lexical, vector), fuse(scaled, vector)
    assert {c.id: c.score for c in before} == pytest.approx({c.id: c.score for c in after})


def test_a_chunk_that_both_sides_found_beats_one_that_a_single_side_found() -> None:
    fused = fuse(
        [Candidate("both", 9), Candidate("words", 10), Candidate("low", 1)],
        [Candidate("both", 0.8), Candidate("meaning", 0.9), Candidate("low", 0.1)],
    )
    assert fused[0].id == "both"


def test_nothing_in_is_nothing_out() -> None:
    assert fuse([], []) == []


def test_one_chunk_that_stands_out_does_not_push_the_others_together() -> None:
    # Scaled from the lowest to the highest, the words' 2 and 3 would count for nothing beside the 100.
    words = [
        Candidate("far", 100),
        Candidate("b", 3),
        Candidate("a", 2),
        *(Candidate(f"w{n}", 2) for n in range(20)),
    ]
    meaning = [Candidate("a", 0.9), Candidate("b", 0.9), Candidate("far", 0.1)]
    fused = {candidate.id: candidate.score for candidate in fuse(words, meaning)}
    assert fused["b"] > fused["a"]
    assert fused["far"] == max(fused.values())


@pytest.mark.parametrize("holders", [1, 3])
def test_a_word_that_few_chunks_have_finds_those_whatever_means_nearly_the_same(holders: int) -> None:
    words = [Candidate(f"has-it-{n}", 8.0 + n / 10) for n in range(holders)]
    meaning = [Candidate(f"near-{n}", 0.9 - n / 400) for n in range(200)]
    fused = fuse(words, meaning)
    assert {candidate.id for candidate in fused[:holders]} == {candidate.id for candidate in words}


@given(rankings, rankings, st.floats(0, 0.49))
def test_the_best_by_words_stands_before_whatever_the_words_did_not_find(lexical, vector, alpha) -> None:
    scores = [candidate.score for candidate in lexical] + [0.0] * (len(vector) - len(lexical))
    assume(lexical and max(scores) > min(scores))
    fused = {candidate.id: candidate.score for candidate in fuse(lexical, vector, alpha=alpha)}
    best = max(lexical, key=lambda candidate: candidate.score).id
    unfound = fused.keys() - {candidate.id for candidate in lexical}
    assert all(fused[best] > fused[id_] for id_ in unfound)


@pytest.mark.parametrize("holders", [1, 20])
def test_what_stands_out_by_meaning_alone_does_not_come_before_the_word_that_was_asked_for(
    holders: int,
) -> None:
    # A code or a name that stands in one book only: to the embedding model every other one looks much the same.
    words = [Candidate(f"has-it-{n}", 5.0 - n / 100) for n in range(holders)]
    meaning = [Candidate("looks-alike", 0.45), *(Candidate(f"near-{n}", 0.3 - n / 2000) for n in range(199))]
    assert fuse(words, meaning)[0].id == "has-it-0"


def test_words_that_tell_nothing_apart_leave_the_order_to_the_meaning() -> None:
    words = [Candidate(name, 1.0) for name in "abc"]
    meaning = [Candidate("c", 0.9), Candidate("a", 0.5), Candidate("b", 0.1)]
    assert [candidate.id for candidate in fuse(words, meaning)] == ["c", "a", "b"]
