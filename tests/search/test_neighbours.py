"""Neighbours: what is shown is the section's own text, and nothing crosses a section."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from library.values import Document, DocumentState, Excerpt
from search.neighbours import AROUND, context, joined

_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def document(id_: str) -> Document:
    return Document(
        id_, f"{id_}.md", None, id_, (), None, None, (), (), "", None, "markdown", 1, DocumentState.FINDABLE,
        None, 1, 1, _NOW, _NOW,
    )  # fmt: skip


def excerpt(text: str, ordinal: int, start: int, end: int, *, section: int = 0, of: str = "book") -> Excerpt:
    """As the record reads it: with the section's text on either side."""
    return Excerpt(
        f"{of}-{section}-{ordinal}", document(of), ordinal, section, (), "", start, end, text[start:end],
        text[max(0, start - AROUND) : start], text[end : end + AROUND],
    )  # fmt: skip


def cut(text: str, size: int, **place: str | int) -> list[Excerpt]:
    return [
        excerpt(text, at, start, min(start + size, len(text)), **place)  # type: ignore[arg-type]
        for at, start in enumerate(range(0, len(text), size))
    ]


sections = st.text(st.sampled_from("abc .!?\n。、あ"), min_size=1, max_size=3000)


@given(sections, st.integers(1, 900), st.randoms(use_true_random=False))
def test_what_is_shown_is_exactly_the_sections_text_and_holds_every_chunk_of_the_run(
    text, size, drawn
) -> None:
    ranked = drawn.sample(chunks := cut(text, size), len(chunks))
    for run in joined(ranked):
        shown = context(run)
        assert text[shown.start : shown.end] == shown.text
        assert shown.start <= min(one.start for one in run)
        assert shown.end >= max(one.end for one in run)
        ordinals = sorted(one.ordinal for one in run)
        assert ordinals == list(range(ordinals[0], ordinals[-1] + 1))


@given(sections, st.integers(1, 900), st.randoms(use_true_random=False))
def test_every_chunk_is_in_one_run_and_each_run_is_led_by_its_best(text, size, drawn) -> None:
    ranked = drawn.sample(chunks := cut(text, size), len(chunks))
    runs = joined(ranked)
    assert sorted(one.id for run in runs for one in run) == sorted(one.id for one in ranked)
    place = {one.id: rank for rank, one in enumerate(ranked)}
    leaders = [place[run[0].id] for run in runs]
    assert leaders == sorted(leaders)
    assert all(place[run[0].id] == min(place[one.id] for one in run) for run in runs)


def test_chunks_of_two_sections_or_two_documents_are_never_joined() -> None:
    text = "One sentence. Another sentence."
    first = excerpt(text, 0, 0, 13)
    assert len(joined([first, excerpt(text, 1, 14, 31, section=1)])) == 2
    assert len(joined([first, excerpt(text, 1, 14, 31, of="other")])) == 2
    assert len(joined([first, excerpt(text, 1, 14, 31)])) == 1


def test_a_run_ends_where_it_would_be_longer_than_two_chunks() -> None:
    runs = joined(cut("word " * 1000, 1000))
    assert [len(run) for run in runs] == [2, 2, 1]


def test_a_passage_begins_and_ends_with_a_sentence() -> None:
    text = f"{'x' * 500}. Kept before. The match. Kept after. {'y' * 500}"
    start = text.index("The match.")
    assert context([excerpt(text, 1, start, start + 10)]).text == "Kept before. The match. Kept after."


def test_a_section_that_is_short_is_shown_whole() -> None:
    text = "no mark ends this The match. nor this"
    assert context([excerpt(text, 1, 18, 28)]).text == text


def test_text_without_spaces_is_cut_behind_its_sentences() -> None:
    text = "あ" * 500 + "。前の文。一致。後の文。" + "い" * 500
    start = text.index("一致。")
    assert context([excerpt(text, 1, start, start + 3)]).text == "前の文。一致。後の文。"
