"""Evaluation: the metrics against figures worked out by hand, and a collection that is not one."""

import math
from pathlib import Path

import pytest

from library.errors import InvalidRequest
from search.evaluation import Figure, figure, ndcg, read_collection, read_corpus, recall


def test_ndcg_of_a_perfect_ranking_is_one() -> None:
    assert ndcg(["a", "b"], {"a": 1, "b": 1}, 10) == 1.0


def test_ndcg_discounts_by_the_logarithm_of_the_rank() -> None:
    assert ndcg(["x", "a"], {"a": 1}, 10) == pytest.approx(1 / math.log2(3))


def test_ndcg_looks_no_deeper_than_it_is_told() -> None:
    assert ndcg(["x"] * 10 + ["a"], {"a": 1}, 10) == 0.0


def test_ndcg_weighs_grades() -> None:
    got = ndcg(["a", "b"], {"a": 1, "b": 3}, 10)
    assert got == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))


def test_recall_is_the_share_that_was_found() -> None:
    assert recall(["a", "x", "b"], {"a": 1, "b": 1, "c": 1}, 2) == pytest.approx(1 / 3)


def test_a_folder_that_is_no_collection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="qrels"):
        read_collection(tmp_path, "test")
    with pytest.raises(InvalidRequest, match=r"corpus\.jsonl"):
        list(read_corpus(tmp_path))


def test_judgements_of_relevance_zero_are_not_relevant(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t0\nq1\td2\t2\n")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "water"}\n{"_id": "q2", "text": "x"}\n')
    collection = read_collection(tmp_path, "test")
    assert collection.queries == {"q1": "water"}
    assert collection.judgements == {"q1": {"d2": 2}}


def test_an_interval_narrows_with_the_number_of_queries() -> None:
    few, many = figure([0.0, 1.0] * 10), figure([0.0, 1.0] * 1000)
    assert few.mean == many.mean == 0.5
    assert few.low < many.low < 0.5 < many.high < few.high
    assert figure([0.25] * 7) == Figure(0.25, 0.25, 0.25)
    assert figure([]) == Figure(0.0, 0.0, 0.0)
