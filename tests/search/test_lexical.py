"""What a query finds in the lexical index: operators, filters, languages, spelling."""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from library.values import IndexedChunk, Labels
from search.lexical import LexicalIndex
from search.query import parse


def chunk(n: int, text: str, *headings: str, title: str = "Book", **labels: object) -> IndexedChunk:
    described = Labels(title=title, **labels)  # type: ignore[arg-type]
    return IndexedChunk(
        f"00000000-0000-0000-0000-{n:012d}", f"doc{n}", 0, described, (title, *headings), text
    )


@pytest.fixture
def lexical(tmp_path: Path) -> Iterator[LexicalIndex]:
    index = LexicalIndex(tmp_path / "lexical")
    yield index
    index.close()


def hold(lexical: LexicalIndex, *chunks: IndexedChunk) -> None:
    lexical.add(chunks)
    lexical.commit()


def found(lexical: LexicalIndex, typed: str) -> list[int]:
    """The numbers of the chunks, best first."""
    return [int(candidate.id[-12:]) for candidate in lexical.search(parse(typed), limit=20)]


def test_a_phrase_is_words_in_a_row_and_has_to_be_there(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "clean the water, please"), chunk(2, "boil clean water"), chunk(3, "boil it"))
    assert found(lexical, '"clean water"') == [2]
    assert found(lexical, 'boil "clean water"') == [2]
    assert found(lexical, '"the water"') == [1]
    assert found(lexical, '"water clean"') == []


def test_a_phrase_may_stand_in_a_heading_or_a_title(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "text", "Making Fire"), chunk(2, "text", title="The Log Cabin"))
    assert found(lexical, '"making fire"') == [1]
    assert found(lexical, '"log cabin"') == [2]


def test_what_is_left_out_is_not_found(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "salt water"), chunk(2, "sweet water"), chunk(3, "sea water", title="Salt"))
    assert found(lexical, "water -salt") == [2]
    assert sorted(found(lexical, "water -title:salt")) == [1, 2]
    assert found(lexical, '-"salt water" -"sea water"') == [2]


def test_exclusions_spare_words_that_only_look_alike(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "filter the water"))
    assert found(lexical, "water -filterr") == [1]


def test_of_a_group_any_one_will_do_but_one_has_to(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "cats eat food"), chunk(2, "dogs eat food"), chunk(3, "birds eat food"))
    assert sorted(found(lexical, "food cats OR dogs")) == [1, 2]


def test_titles_and_authors_have_to_match(lexical: LexicalIndex) -> None:
    hold(
        lexical,
        chunk(1, "snow and a cabin", title="White Fang", authors=("Jack London",)),
        chunk(2, "London in snow", title="The Log Cabin", authors=("Ann Other", "Émile Zola")),
    )
    assert found(lexical, "snow title:cabin") == [2]
    assert found(lexical, 'title:"log cabins"') == [2]
    assert found(lexical, 'title:"cabin log"') == []
    assert found(lexical, "author:london") == [1]
    assert found(lexical, 'author:"Jack London" OR author:zola') == [1, 2]
    assert found(lexical, "author:emile") == [2]
    assert found(lexical, 'author:"London Jack"') == []
    assert found(lexical, "jack")[0] == 1


def test_filters_leave_what_fits_and_change_no_score(lexical: LexicalIndex) -> None:
    hold(
        lexical,
        chunk(
            1, "water", shelf="Häuser", language="en-gb", format="epub", year=1999, subjects=("Old Books",)
        ),
        chunk(2, "water", shelf="fire", language="en", format="pdf", year=2005),
        chunk(3, "water", shelf="fire", language="de", format="markdown"),
    )
    for typed, numbers in {
        "shelf:fire": [2, 3],
        'shelf:fire shelf:"HAUSER"': [1, 2, 3],
        "lang:en": [1, 2],
        "lang:en-gb": [1],
        "type:md": [3],
        'tag:"old books"': [1],
        "after:1999": [1, 2],
        "after:2000": [2],
        "before:1999": [1],
        "after:1999 before:2004": [1],
        "shelf:fire lang:en": [2],
        "shelf:none": [],
    }.items():
        assert sorted(found(lexical, f"water {typed}")) == numbers, typed
        assert sorted(found(lexical, typed)) == numbers, typed
    (alone,) = lexical.search(parse("water lang:en-gb"), limit=5)
    (same,) = [one for one in lexical.search(parse("water"), limit=5) if one.id == alone.id]
    assert alone.score == pytest.approx(same.score)


def test_a_shelf_of_no_name_is_no_shelf(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "water", shelf=None))
    assert found(lexical, 'water shelf:""') == [1]


def test_filters_alone_find_the_same_in_the_same_order_twice(lexical: LexicalIndex) -> None:
    hold(lexical, *(chunk(n, "water", shelf="fire") for n in range(20)))
    assert found(lexical, "shelf:fire") == found(lexical, "shelf:fire")
    assert len(found(lexical, "shelf:fire")) == 20


def test_a_query_of_nothing_finds_nothing(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "water"))
    assert found(lexical, "") == found(lexical, "!!!") == found(lexical, '""') == []


def test_only_those_candidates_that_the_query_allows_are_permitted(lexical: LexicalIndex) -> None:
    chunks = [chunk(1, "clean water"), chunk(2, "clean salt water"), chunk(3, "something else")]
    hold(lexical, *chunks)
    ids = [one.id for one in chunks]
    assert lexical.permitted(parse("anything at all"), ids) == set(ids)
    assert lexical.permitted(parse('"clean water"'), ids) == {ids[0]}
    assert lexical.permitted(parse("ideas -salt"), ids) == {ids[0], ids[2]}
    assert lexical.permitted(parse("-salt"), ids[1:]) == {ids[2]}
    assert lexical.permitted(parse("-salt"), []) == set()
    assert lexical.permitted(parse("shelf:none"), ids) == set()


def test_a_prefix_finds_every_ending(lexical: LexicalIndex) -> None:
    hold(
        lexical,
        chunk(1, "purification tablets"),
        chunk(2, "it purifies"),
        chunk(3, "pure"),
        chunk(4, "none of it", title="Cabinets"),
    )
    assert sorted(found(lexical, "purif*")) == [1, 2]
    assert found(lexical, "title:cabi*") == [4]
    assert found(lexical, "zzz*") == []


@pytest.mark.parametrize(
    ("language", "text", "typed"),
    [
        ("de", "Die Häuser stehen im Wald", "haus"),
        ("de-at", "Die Häuser stehen im Wald", "Hauses"),
        ("fr", "Les eaux sont purifiées", "eau purifiée"),
        ("es", "Se hierve para la purificación", "purificaciones"),
        ("es", "Se hierve para la purificación", "purificacion"),
        ("it", "L’acqua va bollita", "bollire"),
        ("ru", "Вода после кипячения", "кипячение"),
        ("ar", "الكتاب على الطاولة", "كتاب"),
        ("tr", "ağaçlar", "ağaç"),
        ("pl", "Gotowanie wody", "WODY"),
        ("en", "boiling waters", "boil"),
        (None, "boiling waters", "boil"),
        ("ja", "安全な飲み水を沸かす", "飲み水"),
        ("zh", "饮用水必须煮沸", "煮沸"),
        ("ko", "물을 끓이다", "물"),
        ("th", "ต้มน้ำดื่มให้เดือด", "น้ำดื่ม"),
        ("km", "ទឹកស្អាត", "ទឹក"),
        ("lo", "ນ້ຳສະອາດ", "ສະອາດ"),
    ],
)
def test_a_book_is_found_by_other_forms_of_its_words(
    lexical: LexicalIndex, language: str | None, text: str, typed: str
) -> None:
    hold(lexical, chunk(1, text, language=language), chunk(2, "nothing of the kind", language="en"))
    assert found(lexical, typed) == [1]


def test_a_stem_of_one_language_meets_no_word_of_another(lexical: LexicalIndex) -> None:
    """The German stem of "water" is "wat"; a book about a Wat is no book about water."""
    hold(lexical, chunk(1, "Angkor Wat", language="en"), chunk(2, "Wasser", language="de"))
    assert found(lexical, "water") == []
    assert found(lexical, "wat") == [1]


def test_a_word_that_says_nothing_in_german_finds_no_german_book(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "the war", language="en"), chunk(2, "das war gut", language="de"))
    assert found(lexical, "war history") == [1]
    assert sorted(found(lexical, "war")) == [1, 2]
    assert found(lexical, "history war OR krieg -das") == [1]
    assert sorted(found(lexical, "history war OR krieg")) == [1, 2]


def test_a_language_with_few_books_is_not_preferred_for_having_few(lexical: LexicalIndex) -> None:
    english = [
        chunk(n, "a computer virus" if n < 20 else "other words here", language="en") for n in range(200)
    ]
    hold(lexical, *english, chunk(900, "ein computer virus", language="de"))
    scores = {one.id: one.score for one in lexical.search(parse("computer"), limit=30)}
    assert scores[chunk(900, "").id] == pytest.approx(scores[chunk(1, "").id], rel=0.05)


def test_neighbours_in_a_script_without_spaces_come_before_scattered_signs(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "水の飲みかた、火と水、飲む"), chunk(2, "ここでは飲水の話をする"))
    assert found(lexical, "飲水")[0] == 2
    assert found(lexical, "「飲水」") == [2]


def test_a_word_that_no_book_holds_finds_what_resembles_it(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "water purification"), chunk(2, "other"))
    assert found(lexical, "watre") == found(lexical, "purificaton") == found(lexical, "purifcatoin") == [1]
    assert found(lexical, "wat") == found(lexical, "xatxr") == []


def test_an_exact_word_is_neither_hidden_nor_outranked(lexical: LexicalIndex) -> None:
    hold(lexical, *(chunk(n, "water water water") for n in range(1, 9)), chunk(9, "a wader once"))
    assert found(lexical, "wader") == [9]
    assert found(lexical, "wader watre")[0] == 9


def test_a_correction_is_proposed_only_when_it_is_sure(lexical: LexicalIndex) -> None:
    hold(
        lexical,
        *(chunk(n, "water purification by boiling") for n in range(1, 5)),
        chunk(5, "cart"),
        chunk(6, "card"),
    )
    assert lexical.corrected(parse("Watre purificaton -salt")) == "Water purification -salt"
    assert lexical.corrected(parse('shelf:fire title:"watre x"')) == 'shelf:fire title:"water x"'
    assert lexical.corrected(parse("water boils")) is None  # another form of a word is no mistake
    assert lexical.corrected(parse("carx")) is None  # cart or card?
    assert lexical.corrected(parse("qqqqqqqq 12345678 watr*")) is None
    assert lexical.resembling(parse("watre")) == ("water",)


def test_what_was_unknown_is_known_with_the_book_that_brings_it(lexical: LexicalIndex) -> None:
    hold(lexical, *(chunk(n, "water purification") for n in range(1, 4)))
    assert lexical.resembling(parse("wader")) == ("water",)
    hold(lexical, chunk(4, "a wader"))
    assert found(lexical, "wader") == [4]
    assert lexical.resembling(parse("wader")) == ()
    lexical.remove(["doc4"])
    lexical.commit()
    assert found(lexical, "wader") == [1, 2, 3]


def test_composed_and_decomposed_letters_are_the_same(lexical: LexicalIndex) -> None:
    hold(lexical, chunk(1, "cafe\u0301"), chunk(2, "caf\u00e9"))
    assert sorted(found(lexical, "caf\u00e9")) == sorted(found(lexical, "cafe\u0301")) == [1, 2]


def test_the_proof_finds_words_of_every_language_and_script(lexical: LexicalIndex) -> None:
    one = chunk(1, "Häuser 安全な ทดสอบ слово", language="de")
    hold(lexical, one, chunk(2, "other", language="ru"))
    words = ["Häuser", "安", "全", "な", "слово"]
    assert lexical.contains([(words, one.id), (["book"], one.id)]) == [True, True]
    assert lexical.contains([(["missing"], one.id)]) == [False]


@functools.cache
def small_library() -> LexicalIndex:
    index = LexicalIndex(Path(tempfile.mkdtemp()) / "lexical")
    hold(
        index,
        chunk(
            1, "boil clean water", "Making Fire", title="The Log Cabin", authors=("Jack London",), shelf="a"
        ),
        chunk(2, "Wasser war in Häusern", language="de", year=1999),
        chunk(3, "安全な飲み水 น้ำดื่ม", language="ja"),
    )
    return index


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=200))
@example("\x00\ud800")
@example("after:99999999999999999999")
@example("after:0000 before:9999")
@example('author:"!" title:"?" -"."')
@example("title:水* author:x* 水*")
@example('"' + "water " * 100 + '"')
@example("ﷺ" * 100)
@example("İ ŉ ǰ ß*")
def test_any_text_can_be_searched_for(typed: str) -> None:
    index, query = small_library(), parse(typed)
    ids = {one.id for one in index.search(query, limit=10)}
    assert len(ids) <= 3
    assert index.permitted(query, sorted(ids)) == ids
    index.corrected(query)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["water", "watre", "haus", '"clean water"', "-salt", "-water", "OR", "title:log", "author:london",
             "shelf:a", "lang:de", "after:1990", "bo*", "飲み水", "-title:cabin", '"', "type:epub", "war"]
        ),
        max_size=8,
    )
)  # fmt: skip
def test_what_is_found_is_always_permitted(parts: list[str]) -> None:
    index, query = small_library(), parse(" ".join(parts))
    ids = {one.id for one in index.search(query, limit=10)}
    assert index.permitted(query, sorted(ids)) == ids
