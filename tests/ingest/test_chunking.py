"""Chunks: within the budget, in order, whole where they can be, and nothing lost between them."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunking import BUDGET_TOKENS, WordCounts, chunk, fitting_path
from library.values import Chunk, Section, indexed_text
from search.embedder import TokenCounter
from tests.places import embedding_model

_PIECE = re.compile(
    r"\w{1,6}|[^\w\s]"
)  # words in runs of six letters, punctuation alone: much like word pieces


def count(texts: Sequence[str]) -> list[int]:
    return [len(_PIECE.findall(text)) for text in texts]


def section(text: str, *, path: tuple[str, ...] = ("Book",), ordinal: int = 0) -> Section:
    return Section(ordinal, 1, path, "", text)


def cut(text: str, budget: int, *, path: tuple[str, ...] = ("Book",)) -> list[str]:
    return [
        piece.text for piece in chunk([section(text, path=path)], count_tokens=count, budget_tokens=budget)
    ]


def check(sections: list[Section], chunks: list[Chunk], budget: int, count_tokens: WordCounts) -> None:
    by_ordinal = {one.ordinal: one for one in sections}
    assert [one.ordinal for one in chunks] == list(range(len(chunks)))
    assert [(one.section, one.start) for one in chunks] == sorted((one.section, one.start) for one in chunks)
    for one in chunks:
        text = by_ordinal[one.section].text
        assert one.text == text[one.start : one.end]
        assert one.text == one.text.strip() != ""
        path = fitting_path(
            by_ordinal[one.section].heading_path, count_tokens=count_tokens, budget_tokens=budget
        )
        assert count_tokens([indexed_text(path, one.text)])[0] <= budget
    for held in sections:
        mine = [one for one in chunks if one.section == held.ordinal]
        edges = [0, *(edge for one in mine for edge in (one.start, one.end)), len(held.text)]
        for end, start in zip(edges[::2], edges[1::2], strict=True):
            assert held.text[end:start].strip() == ""


LETTERS = st.text(alphabet="abcDE.,!?|()- \n\t-é山。「」\u00a0\U0001f525", max_size=400)
TITLES = st.lists(st.text(alphabet="abc d.山", min_size=1, max_size=60), min_size=1, max_size=4).map(tuple)


@settings(max_examples=300)
@given(st.lists(st.tuples(TITLES, LETTERS), max_size=5), st.integers(8, 60))
def test_every_letter_is_in_one_chunk_within_the_budget(
    texts: list[tuple[tuple[str, ...], str]], budget: int
) -> None:
    sections = [section(text, path=path, ordinal=at) for at, (path, text) in enumerate(texts)]
    chunks = list(chunk(sections, count_tokens=count, budget_tokens=budget))
    check(sections, chunks, budget, WordCounts(count))


@given(LETTERS, st.integers(8, 60))
def test_counting_word_by_word_is_counting_the_whole(text: str, budget: int) -> None:
    assert WordCounts(count)([text, text]) == count([text, text])


PROSE = st.lists(st.sampled_from(["Boil it.", "then wait", "Dr. Brown said so;", "no (not yet)", "3.5 l"]))
ROWS = st.lists(
    st.sampled_from(["a | b", "salt | 1 g. A pinch", "water | 2 l. Boiled"]), min_size=1, max_size=6
)
CODE = st.lists(st.sampled_from(["  x = 1. y", "    return x", "\n  # why", "def a():"]), max_size=5)
BLOCKS = st.lists(
    st.one_of(
        PROSE.map(" ".join),
        ROWS.map("\n".join),
        CODE.map(lambda lines: "\n".join(["def f():", "    start()", *lines, "    end()"])),
    ),
    max_size=8,
)


@settings(max_examples=300)
@given(BLOCKS, st.integers(20, 60))
def test_a_table_that_fits_is_never_torn(blocks: list[str], budget: int) -> None:
    held = section("\n\n".join(blocks))
    chunks = list(chunk([held], count_tokens=count, budget_tokens=budget))
    check([held], chunks, budget, WordCounts(count))
    room = budget - count(["Book"])[0]
    for table in blocks:
        if " | " in table and count([table])[0] <= room:
            assert any(table in one.text for one in chunks)


@pytest.mark.models
def test_the_embedders_own_tokenizer_keeps_the_same_promises() -> None:
    pieces = WordCounts(TokenCounter(embedding_model()))
    words = (
        "Boil unpotable water; Überlebensstrategien e.g. 山路を登りながら、こう考えた。 https://x.test/a_b "
        * 60
    )
    sections = [section(words, path=("Book", "Water")), section(words.replace(" ", ""), ordinal=1)]
    check(sections, list(chunk(sections, count_tokens=pieces)), BUDGET_TOKENS, pieces)


def test_a_section_that_fits_is_one_chunk_with_all_its_blocks() -> None:
    assert cut("One two.\n\n- three\n- four\n\nfive", 50) == ["One two.\n\n- three\n- four\n\nfive"]


def test_blocks_stay_whole_where_they_can() -> None:
    assert cut("a a a a a\n\nb b b b b\n\nc c c c c\n\nd d d d d", 12) == [
        "a a a a a\n\nb b b b b",
        "c c c c c\n\nd d d d d",
    ]


def test_an_oversize_list_or_table_is_cut_between_its_lines() -> None:
    assert cut("- a a. a a\n- b b. b b\n- c c. c c\n- d d. d d", 16) == [
        "- a a. a a\n- b b. b b",
        "- c c. c c\n- d d. d d",
    ]


def test_a_table_that_fits_stays_whole_though_an_orphan_stands_beside_it() -> None:
    table = "\n".join(f"salt {row} | a pinch. Or two" for row in range(12))
    assert cut(f"{table}\n\nThat is all.", count([table])[0] + 2) == [table, "That is all."]
    prose = table.replace(" | ", " is ")
    assert cut(f"{prose}\n\nThat is all.", count([table])[0] + 2)[0] != prose


@pytest.mark.parametrize(
    "code",
    [
        "def boil(water):\n    heat(water)\n\n    wait()\n    return water",
        "def one():\n    begin()\n\ndef two():\n    end()",
        "while cold(water):\n\n    heat(water)\n    wait()\n    taste()",
    ],
)
def test_code_that_fits_stays_whole_with_the_blank_lines_inside_it(code: str) -> None:
    # Evenly packed, the first half of the code would stand with the sentence.
    assert cut(f"Do it like this\n\n{code}", 18) == ["Do it like this", code]
    prose = code.replace("\n    ", "\n")
    assert cut(f"Do it like this\n\n{prose}", 18)[1] != prose


def test_code_that_does_not_fit_is_cut_between_its_lines() -> None:
    lines = [f"    step(number={at})" for at in range(20)]
    chunks = cut("def work():\n" + "\n".join(lines), 60)
    assert len(chunks) > 1
    assert [line.strip() for one in chunks for line in one.split("\n")] == [
        "def work():",
        *(line.strip() for line in lines),
    ]


def test_items_of_lists_are_no_code() -> None:
    items = "- boil\n  for long\n\n- filter\n  twice over"
    assert cut(f"One two three four\n\n{items}", 12) == [
        "One two three four\n\n- boil\n  for long",
        "- filter\n  twice over",
    ]


def test_a_sentence_too_long_is_cut_between_its_clauses() -> None:
    assert cut("we boiled all the water, which took an hour; it was cold (and dark)", 12) == [
        "we boiled all the water, which took an hour;",
        "it was cold (and dark)",
    ]


def test_an_oversize_paragraph_is_cut_between_its_sentences() -> None:
    assert cut("One is here now. Two is here now. Three is here. Four is here.", 12) == [
        "One is here now. Two is here now.",
        "Three is here. Four is here.",
    ]


@pytest.mark.parametrize(
    "unbroken",
    [
        "Use wood, e.g. pine or fir wood",
        "It weighs 3.5 kg or 7.7 lb in all",
        "Ask Dr. Brown about the old bad wound",
        "J. R. Tolkien wrote of it long ago",
        "Stop! cried the man in the old boat",
    ],
)
def test_a_stop_that_ends_no_sentence_is_no_place_to_cut(unbroken: str) -> None:
    filler = "Here is a line of words that fills."
    tokens = count([unbroken + "."])[0]
    assert f"{unbroken}." in cut(f"{filler} {unbroken}. {filler}", tokens + 6)


def test_chinese_and_japanese_sentences_end_without_a_space() -> None:
    assert cut("山路を登りながら。「智に働けば角が立つ。」情に棹させば流される。", 10, path=("b",)) == [
        "山路を登りながら。「智に働けば角が立つ。」",
        "情に棹させば流される。",
    ]


def test_a_sentence_too_long_is_cut_between_words_and_a_word_between_letters() -> None:
    assert cut("aa bb cc dd ee ff", 4) == ["aa bb cc", "dd ee ff"]
    assert "".join(cut("x" * 100, 6)) == "x" * 100


def test_text_that_the_tokenizer_cannot_read_is_cut_all_the_same() -> None:
    def unknown(texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    for text in ("ก" * 5000, "กขค " * 5000, "ก" * 150 + " ข" * 5):
        chunks = list(chunk([section(text)], count_tokens=unknown, budget_tokens=20))
        check([section(text)], chunks, 20, WordCounts(unknown))
        assert max(len(one.text) for one in chunks) < 16 * 20


@pytest.mark.parametrize("orphan_first", [True, False])
def test_no_orphan_is_left_beside_a_full_chunk(orphan_first: bool) -> None:
    paragraph = " ".join(f"Sentence {number} has words." for number in range(19))
    blocks = ["A tiny end.", paragraph] if orphan_first else [paragraph, "A tiny end."]
    sizes = count(cut("\n\n".join(blocks), 98))
    assert len(sizes) == 2
    assert min(sizes) > 40


def test_a_chunk_never_crosses_a_section() -> None:
    sections = [section("a a", ordinal=3), section("b b", ordinal=4)]
    assert [(one.ordinal, one.section, one.text) for one in chunk(sections, count_tokens=count)] == [
        (0, 3, "a a"),
        (1, 4, "b b"),
    ]


def test_no_sections_make_no_chunks() -> None:
    assert list(chunk([], count_tokens=count)) == []
    assert list(chunk([section(" \n\n ")], count_tokens=count)) == []


def test_a_long_path_takes_at_most_half_the_budget_and_keeps_its_end() -> None:
    path = ("word " * 20, "word " * 20, "Fire")
    assert fitting_path(path, count_tokens=count, budget_tokens=40) == ("Fire",)
    assert fitting_path(("one two three four",), count_tokens=count, budget_tokens=4) == ("one two",)
    assert fitting_path(("Book", "Fire"), count_tokens=count, budget_tokens=40) == ("Book", "Fire")
    assert all(size <= 20 for size in count(cut("x x x x x " * 30, 40, path=path)))


def test_each_word_is_sent_to_the_tokenizer_once() -> None:
    sent: list[str] = []

    def counted(texts: Sequence[str]) -> list[int]:
        sent.extend(texts)
        return count(texts)

    list(chunk([section("boil water " * 500), section("boil salt " * 500, ordinal=1)], count_tokens=counted))
    assert len(sent) == len(set(sent)) < 12
