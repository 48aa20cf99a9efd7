"""The reranker: a real graph over real word pieces, and what becomes of a ranking."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from library.errors import IndexUnavailable
from search.reranker import Reranker, reordered
from search.values import Candidate
from tests.cross_encoder import write_cross_encoder

finite = st.floats(-50, 50, allow_nan=False)


@pytest.mark.models
def test_pairs_are_read_together_and_each_by_itself(tmp_path: Path) -> None:
    reranker = Reranker(write_cross_encoder(tmp_path / "shared"), threads=1)
    alone = [reranker.scores("boil dirty water", [text])[0] for text in ("boil water", "light a fire")]
    assert alone[0] == alone[1] + 2
    assert reranker.scores("boil dirty water", ["boil water", "light a fire"]) == alone
    # What is too long is cut, and never refused: a page of Japanese is a word piece a sign.
    assert reranker.scores("水" * 900, ["水 fire " * 3000]) > reranker.scores("水" * 900, ["fire " * 3000])
    assert reranker.scores("", [""]) == [1.0]  # the mark between the two, which ends both


@pytest.mark.models
def test_what_it_reads_is_counted_as_it_reads_it(tmp_path: Path) -> None:
    reranker = Reranker(write_cross_encoder(tmp_path / "shared"), threads=1)
    assert reranker.count_tokens("boil water", ["fire", "light a fire"]) == 2 * (2 + 3) + 1 + 3
    assert reranker.count_tokens("boil water", ["fire " * 3000]) == 512


@pytest.mark.models
@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json", ""])
def test_what_is_no_reranker_says_so_every_time(tmp_path: Path, missing: str) -> None:
    folder = write_cross_encoder(tmp_path / "broken", numbers=1 if missing else 3)
    (folder / missing).unlink() if missing else None
    reranker = Reranker(folder, threads=1)
    for _ in range(2):
        with pytest.raises(IndexUnavailable, match="broken cannot be used"):
            reranker.scores("water", ["water"])
    assert reranker.error


def test_a_graph_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x09not a graph")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(IndexUnavailable, match="cannot be used"):
        Reranker(tmp_path, threads=1).open()


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20))
def test_the_head_keeps_its_passages_and_its_places_their_scores(pairs: list[tuple[float, float]]) -> None:
    scores = sorted((score for score, _ in pairs), reverse=True)
    head = [Candidate(str(at), score) for at, score in enumerate(scores)]
    order = reordered(head, [read for _, read in pairs])
    assert sorted(one.id for one in order) == sorted(one.id for one in head)
    assert [one.score for one in order] == scores


def test_what_answers_better_rises_and_equals_stay() -> None:
    head = [Candidate("a", 1.0), Candidate("b", 0.9), Candidate("c", 0.2)]
    assert [one.id for one in reordered(head, [0.0, 0.0, 0.0])] == ["a", "b", "c"]
    assert [one.id for one in reordered(head, [-9.0, 9.0, 0.0])] == ["b", "a", "c"]
