"""The two indexes: what is added is found, what is removed is not, what is damaged says so."""

import math
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from library.errors import IndexUnavailable
from library.values import IndexedChunk, Labels
from search.lexical import LexicalIndex
from search.query import Filters, Query, parse
from search.vectors.edge import EdgeIndex

D = 8


def chunk(n: int, text: str, *, document: str = "doc", shelf: str | None = "water") -> IndexedChunk:
    return IndexedChunk(
        f"00000000-0000-0000-0000-{n:012d}", document, n, Labels(shelf), ("Book", "Chapter"), text
    )


def unit(seed: int) -> list[float]:
    values = [random.Random(seed * 100 + n).gauss(0, 1) for n in range(D)]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


@pytest.fixture
def lexical(tmp_path: Path) -> Iterator[LexicalIndex]:
    index = LexicalIndex(tmp_path / "lexical")
    yield index
    index.close()


@pytest.fixture
def vectors(tmp_path: Path) -> Iterator[EdgeIndex]:
    index = EdgeIndex(tmp_path / "vectors", dimensions=D)
    yield index
    index.close()


def asked(query: str, shelf: str | None = None) -> Query:
    return msgspec.structs.replace(parse(query), filters=Filters(shelves=(shelf,) if shelf else ()))


def found(lexical: LexicalIndex, query: str, shelf: str | None = None) -> list[str]:
    return [candidate.id[-1] for candidate in lexical.search(asked(query, shelf), limit=10)]


def test_words_are_found_after_the_commit_and_not_before(lexical: LexicalIndex) -> None:
    lexical.add([chunk(1, "Boil the water")])
    assert found(lexical, "boil") == []
    lexical.commit()
    assert found(lexical, "boil") == ["1"]


def test_other_forms_accents_and_case_do_not_matter(lexical: LexicalIndex) -> None:
    lexical.add([chunk(1, "The naïve café owner was boiling waters")])
    lexical.commit()
    assert found(lexical, "NAIVE") == found(lexical, "cafe") == found(lexical, "boils water") == ["1"]


def test_the_heading_path_is_searched_too(lexical: LexicalIndex) -> None:
    lexical.add([chunk(1, "nothing of it here")])
    lexical.commit()
    assert found(lexical, "chapter") == ["1"]


def test_a_japanese_word_is_found_inside_a_sentence(lexical: LexicalIndex) -> None:
    lexical.add([chunk(1, "安全な飲み水を沸かす"), chunk(2, "火を起こす")])
    lexical.commit()
    assert found(lexical, "飲み水")[0] == "1"


@pytest.mark.parametrize(
    "query", ['"', "a AND (", "title:", "*", "\x00", "[1 TO", "~~~", "\\", "+-!", "🜁", " ", "(" * 5000]
)
def test_no_query_is_syntax(lexical: LexicalIndex, query: str) -> None:
    lexical.add([chunk(1, "Boil the water")])
    lexical.commit()
    assert found(lexical, query) in ([], ["1"])


def test_the_shelf_filters_and_changes_no_score(lexical: LexicalIndex) -> None:
    lexical.add([chunk(1, "boil water"), chunk(2, "boil water", shelf="fire")])
    lexical.commit()
    assert found(lexical, "boil", "fire") == ["2"]
    (only,) = lexical.search(asked("boil", "fire"), limit=5)
    assert only.score == pytest.approx(lexical.search(asked("boil"), limit=5)[0].score)


def test_a_removed_document_is_gone_and_its_neighbour_is_not(lexical: LexicalIndex) -> None:
    lexical.add([chunk(1, "boil", document="a"), chunk(2, "boil", document="b")])
    lexical.commit()
    lexical.remove(["a"])
    lexical.add([chunk(3, "boil", document="a")])
    lexical.commit()
    assert sorted(found(lexical, "boil")) == ["2", "3"]
    assert (lexical.count(), lexical.count("a")) == (2, 1)


def test_the_proof_finds_the_very_chunk_by_all_of_the_words(lexical: LexicalIndex) -> None:
    lexical.add([chunk(1, "Boil the water", document="a"), chunk(2, "Boil the milk", document="a")])
    lexical.commit()
    here, beside = chunk(1, "").id, chunk(2, "").id
    words = ["Boil", "the", "water"]
    assert lexical.contains([(words, here), (words, beside), ([], here)]) == [True, False, False]


def test_a_second_writer_is_refused_with_a_sentence(lexical: LexicalIndex, tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailable, match="cannot be opened"):
        LexicalIndex(tmp_path / "lexical")


def test_the_nearest_vector_comes_first_and_the_shelf_filters(vectors: EdgeIndex) -> None:
    vectors.upsert(
        [chunk(n, "", shelf="fire" if n == 3 else "water") for n in range(5)], [unit(n) for n in range(5)]
    )
    best = vectors.search(unit(2), limit=5)
    assert best[0].id == chunk(2, "").id
    assert best[0].score == pytest.approx(1, abs=0.02)
    assert [c.id for c in vectors.search(unit(2), limit=5, filters=Filters(shelves=("fire",)))] == [
        chunk(3, "").id
    ]


def test_vectors_survive_a_close_and_an_open(vectors: EdgeIndex, tmp_path: Path) -> None:
    vectors.upsert([chunk(1, "")], [unit(1)])
    vectors.close()
    again = EdgeIndex(tmp_path / "vectors", dimensions=D)
    assert again.count() == 1
    assert again.contains(unit(1), chunk(1, "").id)
    again.close()


def test_what_upsert_returned_from_survives_a_kill(tmp_path: Path) -> None:
    import subprocess
    import sys

    from tests.places import ROOT

    script = (
        "import os, sys\n"
        "from tests.search.test_indexes import D, chunk, unit\n"
        "from search.vectors.edge import EdgeIndex\n"
        "from pathlib import Path\n"
        "index = EdgeIndex(Path(sys.argv[1]), dimensions=D)\n"
        "for n in range(50): index.upsert([chunk(n, '')], [unit(n)])\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "vectors"
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=False)
    index = EdgeIndex(path, dimensions=D)
    assert index.count() == 50
    assert index.contains(unit(49), chunk(49, "").id)
    index.close()


def test_replacing_and_removing_vectors(vectors: EdgeIndex) -> None:
    vectors.upsert([chunk(1, ""), chunk(2, "")], [unit(1), unit(2)])
    vectors.upsert([chunk(1, "")], [unit(9)])
    assert vectors.count() == 2
    assert vectors.contains(unit(9), chunk(1, "").id)
    assert not vectors.contains(unit(1), chunk(1, "").id)
    vectors.remove([chunk(1, "").id, chunk(7, "").id])
    assert vectors.held([chunk(1, "").id, chunk(2, "").id]) == {chunk(2, "").id}


def test_a_shard_that_is_damaged_says_so(tmp_path: Path) -> None:
    (tmp_path / "vectors").mkdir()
    (tmp_path / "vectors" / "edge_config.json").write_text("{")
    with pytest.raises(IndexUnavailable, match="cannot be opened"):
        EdgeIndex(tmp_path / "vectors", dimensions=D)


def test_a_vector_of_other_dimensions_is_refused(vectors: EdgeIndex) -> None:
    with pytest.raises(IndexUnavailable):
        vectors.upsert([chunk(1, "")], [[1.0, 0.0]])


def test_a_chunk_moves_to_another_shelf_without_its_vector(vectors: EdgeIndex) -> None:
    vectors.upsert([chunk(1, "", shelf="water")], [unit(1)])
    vectors.relabel([chunk(1, "").id, chunk(7, "").id], Labels("fire"))
    assert vectors.search(unit(1), limit=5, filters=Filters(shelves=("water",))) == []
    assert [found.id for found in vectors.search(unit(1), limit=5, filters=Filters(shelves=("fire",)))] == [
        chunk(1, "").id
    ]


def test_a_full_disk_is_said_before_it_ends_the_process(
    vectors: EdgeIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.vectors.edge._ROOM_BYTES", 2**62)
    with pytest.raises(IndexUnavailable, match="disk is full"):
        vectors.upsert([chunk(1, "")], [unit(1)])
