"""The proof: words are drawn from the text itself, and text that no chunk holds is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.chunking import WordCounts, chunk
from ingest.proof import Uncovered, probes, vector_probes
from library.values import Chunk, Section
from search.analysis import terms


def section(ordinal: int, text: str) -> Section:
    return Section(ordinal, 1, ("Book",), "", text)


def whole(*sections: Section) -> list[Chunk]:
    return [Chunk(n, one.ordinal, 0, len(one.text), one.text) for n, one in enumerate(sections)]


def test_words_are_drawn_from_beginning_middle_and_end() -> None:
    sections = [section(n, f"Chapter number {n} tells of animal{n}. " * 3) for n in range(9)]
    drawn = probes(sections, whole(*sections))
    assert [probe.place for probe in drawn] == ["beginning", "middle", "end"]
    assert [probe.ordinal for probe in drawn] == [0, 4, 8]
    assert [f"animal{n}" in probe.words for n, probe in zip((0, 4, 8), drawn, strict=True)] == [True] * 3


@pytest.mark.parametrize(("lost", "place"), [(0, "beginning"), (4, "middle"), (8, "end")])
def test_text_that_is_in_no_chunk_is_noticed(lost: int, place: str) -> None:
    sections = [section(n, f"Chapter number {n} tells of animal{n}. " * 3) for n in range(9)]
    chunks = [one for one in whole(*sections) if one.section != lost]
    with pytest.raises(Uncovered) as noticed:
        probes(sections, chunks)
    assert noticed.value.place == place


def test_the_end_of_a_long_section_that_was_cut_off_is_noticed() -> None:
    one = section(0, "water " * 1000)
    with pytest.raises(Uncovered, match="end"):
        probes([one], [Chunk(0, 0, 0, 5000, one.text[:5000])])


def words_of(text: str) -> set[str]:
    return {text[term.start : term.end] for term in terms(text)}


def test_words_never_run_over_the_end_of_a_chunk() -> None:
    one = section(0, "one two three four five six seven eight nine ten eleven twelve thirteen")
    chunks = [Chunk(0, 0, 0, 13, one.text[:13]), Chunk(1, 0, 14, len(one.text), one.text[14:])]
    for probe in probes([one], chunks):
        assert set(probe.words) <= words_of(chunks[probe.ordinal].text)


def test_signs_alone_are_nothing_to_search_for() -> None:
    assert probes([section(0, "* * *")], [Chunk(0, 0, 0, 5, "* * *")]) == []
    assert probes([], []) == []


def test_signs_between_words_do_not_hide_them() -> None:
    sections = [section(0, "* * *"), section(1, "The water."), section(2, "* * *")]
    assert {probe.words for probe in probes(sections, whole(*sections))} == {("The", "water")}


@given(st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=6), st.integers(3, 40))
def test_what_the_chunker_cuts_is_always_covered_and_its_words_are_in_the_chunk(
    texts: list[str], budget: int
) -> None:
    sections = [section(n, text) for n, text in enumerate(texts)]
    chunks = list(
        chunk(
            sections,
            count_tokens=WordCounts(lambda words: [len(w) for w in words]),
            budget_tokens=budget + 10,
        )
    )
    for probe in probes(sections, chunks):
        of_chunk = words_of(chunks[probe.ordinal].text)
        assert set(probe.words) <= of_chunk
        assert probe.words


def test_the_vectors_that_are_proven_are_the_first_the_middle_and_the_last() -> None:
    assert vector_probes(9) == {0, 4, 8}
    assert vector_probes(1) == {0}
    assert vector_probes(0) == frozenset()
