"""The query language: what people mean is understood, what is broken is searched as words and said."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from search.query import MOST_TERMS, Clause, Field, Filters, Query, Term, parse


def plain(query: Query) -> list[str]:
    """The words that only add to the score."""
    return [
        term.text
        for clause in query.clauses
        if not clause.required and not clause.excluded
        for term in clause.any_of
    ]


def required(query: Query) -> list[tuple[Term, ...]]:
    return [clause.any_of for clause in query.clauses if clause.required]


def excluded(query: Query) -> list[Term]:
    return [term for clause in query.clauses if clause.excluded for term in clause.any_of]


@pytest.mark.parametrize(
    "typed",
    [
        "What is the safest way to make water drinkable?",
        "http://example.org/a?b=c",
        "at 10:30",
        "C++ and C#",
        "well-known",
        "-40 degrees",
        "−5 °C",
        "git --help",
        '12" pipe',
        '5" x 3" board',
        "foo:bar",
        "Note: this",
        "C:\\Windows std::vector",
        "rock 'n' roll",
        "don’t",
        "f*** this",
        "2 * 3",
        "salt & pepper | fire / water",
        "this or that",
        "HOW TO LIVE OR DIE IN WINTER",
    ],
)
def test_what_is_no_operator_to_a_person_is_words(typed: str) -> None:
    query = parse(typed)
    assert not required(query)
    assert not excluded(query)
    assert query.filters == Filters()
    assert query.notices == ()
    assert query.text == typed


def test_a_question_is_words_that_only_add_to_the_score() -> None:
    assert parse("How is water  boiled?").clauses == tuple(
        Clause((Term(word),)) for word in ("How", "is", "water", "boiled?")
    )


@pytest.mark.parametrize(
    "typed",
    ['"clean water"', "“clean water”", "„clean water“", "„clean water”", "«clean water»", "»clean water«",
     "「clean water」", "『clean water』", "« clean water »", "＂clean water＂"],
)  # fmt: skip
def test_all_kinds_of_quotation_marks_make_a_phrase(typed: str) -> None:
    query = parse(f"boil {typed} now")
    assert required(query) == [(Term("clean water", phrase=True),)]
    assert plain(query) == ["boil", "now"]
    assert query.text == "boil clean water now"
    assert not query.notices


def test_a_phrase_needs_no_space_around_it_in_a_script_without_spaces() -> None:
    query = parse("水「安全な水」火")
    assert plain(query) == ["水", "火"]
    assert required(query) == [(Term("安全な水", phrase=True),)]


def test_a_minus_leaves_out_words_phrases_and_titles() -> None:
    query = parse('water -salt -"sea water" -title:fire')
    assert excluded(query) == [Term("salt"), Term("sea water", phrase=True), Term("fire", Field.TITLE)]
    assert query.text == "water"


def test_or_makes_one_required_clause_and_chains() -> None:
    query = parse('cats OR dogs OR "wild birds" food')
    assert required(query) == [(Term("cats"), Term("dogs"), Term("wild birds", phrase=True))]
    assert plain(query) == ["food"]
    assert query.text == "cats dogs wild birds food"


def test_brackets_around_a_group_do_not_matter() -> None:
    assert parse("(cats OR dogs) -birds").clauses == parse("cats OR dogs -birds").clauses


def test_titles_and_authors_are_required() -> None:
    query = parse('title:cabin author:"Jack London" snow')
    assert required(query) == [
        (Term("cabin", Field.TITLE),),
        (Term("Jack London", Field.AUTHOR, phrase=True),),
    ]
    assert query.text == "cabin snow"


def test_filters_are_taken_out_of_the_words() -> None:
    query = parse('fire shelf:"First aid" shelf:water lang:DE type:md tag:"old books" after:1999 before:2005')
    assert query.filters == Filters(
        shelves=("First aid", "water"),
        languages=("de",),
        formats=("markdown",),
        subjects=("old books",),
        after=1999,
        before=2005,
    )
    assert (plain(query), query.text, query.notices) == (["fire"], "fire", ())


@pytest.mark.parametrize(
    ("typed", "meant"), [("lang:german", "de"), ("lang:français", "fr"), ("lang:en-GB", "en-gb")]
)
def test_a_language_may_be_named(typed: str, meant: str) -> None:
    assert parse(typed).filters.languages == (meant,)


def test_a_format_that_a_plug_in_brings_can_be_asked_for() -> None:
    assert parse("type:rtf", formats={"rtf": "rtf"}).filters.formats == ("rtf",)


def test_filters_alone_make_a_query_without_text() -> None:
    query = parse("shelf:water OR shelf:fire")
    assert (query.text, query.clauses, query.notices) == ("", (), ())
    assert query.filters == Filters(shelves=("water", "fire"))


def test_a_star_behind_letters_asks_for_every_ending() -> None:
    query = parse("wat* title:cab*")
    assert query.clauses == (
        Clause((Term("wat", prefix=True),)),
        Clause((Term("cab", Field.TITLE, prefix=True),), required=True),
    )


@pytest.mark.parametrize(
    ("typed", "words", "said"),
    [
        ('"boil the water', ["boil", "the", "water"], "no partner"),
        ('boil the water"', ["boil", "the", "water"], "no partner"),
        ("water after:soon", ["water", "after:soon"], "wants a year"),
        ("type:papyrus", ["type:papyrus"], "is not known"),
        ("lang:!", ["lang:!"], "is not known"),
        ("titel:cabin", ["titel:cabin"], "Did you mean “title:”"),
        ("site:cabin", ["site:cabin"], "no field “site:”"),
        ("title: cabin", ["title:", "cabin"], "Nothing stands behind"),
        ("water -shelf:fire", ["water", "shelf:fire"], "is not possible"),
        ("- water", ["water"], "A lone “-”"),
        ("water OR", ["water", "OR"], "OR"),
        ("OR water", ["OR", "water"], "OR"),
        ("water OR OR fire", ["water", "OR", "fire"], "OR"),
        ("shelf:x OR water", ["OR", "water"], "OR"),
    ],
)
def test_broken_syntax_is_searched_as_words_and_said(typed: str, words: list[str], said: str) -> None:
    query = parse(typed)
    assert plain(query) == words
    assert not required(query)
    assert not excluded(query)
    assert len(query.notices) == 1
    assert said in query.notices[0]
    assert query.notices[0].endswith((".", "?"))


def test_an_or_never_joins_what_is_left_out() -> None:
    query = parse("water OR -fire")
    assert excluded(query) == [Term("fire")]
    assert plain(query) == ["water", "OR"]
    assert query.notices


def test_a_pasted_page_is_cut_and_that_is_said() -> None:
    query = parse("word " * 300)
    assert len(query.clauses) == MOST_TERMS
    assert "Only the first 64 words" in query.notices[0]
    assert "characters" in parse("word " * 20_000).notices[0]


@given(st.text(st.characters(exclude_categories=()), max_size=300))
@example('"' * 300)
@example("a OR " * 60)
@example("-" * 300)
@example("title:" * 50)
@example('\ud800\x00\u202e*:-"')
def test_any_text_is_a_query(typed: str) -> None:
    query = parse(typed)
    terms = [term for clause in query.clauses for term in clause.any_of]
    assert len(terms) <= MOST_TERMS + 1
    assert all(term.text.strip() and not (term.phrase and term.prefix) for term in terms)
    assert not any(clause.required and clause.excluded for clause in query.clauses)
    (query.text + "".join(term.text for term in terms)).encode()  # no half of a surrogate pair is left


@given(
    st.lists(
        st.sampled_from(['"', "“", "„", "-", "OR", "title:", "a", "b*", " ", ")", "(", "after:", "「", "」"])
    )
)
def test_operators_in_any_order_are_a_query(parts: list[str]) -> None:
    query = parse("".join(parts))
    assert all(clause.any_of for clause in query.clauses)


@pytest.mark.parametrize("part", ["“ ", '"', "a OR ", "\x00", "(", "x", "-", "« „ ", "title:", "水「"])
def test_a_hundred_thousand_characters_cost_no_time(part: str) -> None:
    began = time.perf_counter()
    parse(part * (100_000 // len(part)))
    assert time.perf_counter() - began < 1
