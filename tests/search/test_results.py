"""What is made of a ranking: groups, orders, facets, narrower filters. Pure, so tested by values."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from library.values import Labels, Origin
from search.alike import say_the_same, telling_words, vocabulary
from search.facets import counted, years_of
from search.grouping import by_document, one_by_one, ordered
from search.narrowing import narrowed
from search.query import Filters
from search.values import Candidate, FacetValue, Sort


def origin(document: str, *, day: int = 1, **labels: object) -> Origin:
    return Origin(document, Labels(**labels), datetime(2026, 1, day, tzinfo=UTC))  # type: ignore[arg-type]


RANKED = [
    Candidate(id_, score) for id_, score in (("a1", 1.0), ("b1", 0.9), ("a2", 0.8), ("c1", 0.6), ("d1", 0.1))
]
ORIGINS = {
    "a1": origin("a", title="Éclair", year=1990),
    "a2": origin("a", title="Éclair", year=1990),
    "b1": origin("b", title="“Dune”", year=None),
    "c1": origin("c", title="zebra", year=2001),
    "d1": origin("d", title="Aardvark", year=2025),
}


def test_documents_come_in_the_order_of_their_best_passage() -> None:
    groups = by_document(RANKED, ORIGINS)
    assert [group.best.id for group in groups] == ["a1", "b1", "c1", "d1"]
    assert [other.id for other in groups[0].others] == ["a2"]


def test_without_grouping_every_passage_stands_for_itself() -> None:
    assert [group.best for group in one_by_one(RANKED)] == RANKED
    assert all(group.others == () for group in one_by_one(RANKED))


def test_by_date_the_newest_is_first_and_the_unknown_last() -> None:
    assert [one.id for one in ordered(RANKED, ORIGINS, Sort.DATE)] == ["c1", "a1", "a2", "b1"]


def test_by_title_marks_accents_and_case_do_not_matter() -> None:
    assert [one.id for one in ordered(RANKED, ORIGINS, Sort.TITLE)] == ["b1", "a1", "a2", "c1"]


def test_what_hardly_fits_leads_no_list_for_being_new() -> None:
    assert "d1" not in [one.id for one in ordered(RANKED, ORIGINS, Sort.DATE)]
    assert [one.id for one in ordered(RANKED, ORIGINS, Sort.RELEVANCE)][-1] == "d1"


def test_of_the_same_year_the_latest_received_comes_first() -> None:
    origins = {"x": origin("x", day=1, year=1999), "y": origin("y", day=2, year=1999)}
    ranked = [Candidate("x", 1.0), Candidate("y", 1.0)]
    assert [one.id for one in ordered(ranked, origins, Sort.DATE)] == ["y", "x"]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([None, 1990, 2000])), max_size=40),
    st.sampled_from(Sort),
)
def test_no_order_loses_or_repeats_a_fitting_passage(
    passages: list[tuple[str, int | None]], sort: Sort
) -> None:
    ranked = [Candidate(f"{at}", 1.0) for at in range(len(passages))]
    origins = {
        f"{at}": origin(document, title=document, year=year) for at, (document, year) in enumerate(passages)
    }
    groups = by_document(ordered(ranked, origins, sort), origins)
    told = [one.id for group in groups for one in (group.best, *group.others)]
    assert sorted(told) == sorted(one.id for one in ranked)
    assert len(groups) == len({document for document, _ in passages})


def test_a_document_counts_once_however_many_passages_it_has() -> None:
    facets = counted([origin("a", shelf="water", authors=("Lamb", "Lamb"), year=1990)] * 5)
    assert facets.shelf == (FacetValue("water", 1),)
    assert facets.author == (FacetValue("Lamb", 1),)
    assert facets.year == (FacetValue("1990", 1),)


def test_facets_are_told_by_frequency_and_leave_out_what_is_unknown() -> None:
    facets = counted(
        [origin("a", language="en"), origin("b", language="de"), origin("c", language="de"), origin("d")]
    )
    assert facets.language == (FacetValue("de", 2), FacetValue("en", 1))
    assert facets.shelf == ()


def test_many_years_are_told_by_decade() -> None:
    facets = counted([origin(f"{year}", year=year) for year in range(1985, 2005)])
    assert facets.year == (FacetValue("2000s", 5), FacetValue("1990s", 10), FacetValue("1980s", 5))
    assert sum(one.count for one in facets.year) == 20


def test_a_value_of_the_year_facet_says_which_years_it_stands_for() -> None:
    assert years_of("1990s") == (1990, 1999)
    assert years_of("1994") == (1994, 1994)
    assert years_of("-50s") is years_of("s") is years_of("") is years_of("19940") is years_of("١٩") is None


def test_filters_of_both_sides_hold() -> None:
    both = narrowed(
        Filters(shelves=("water",), after=1990), Filters(formats=("pdf",), after=1980, before=2000)
    )
    assert both == Filters(shelves=("water",), formats=("pdf",), after=1990, before=2000)


def test_what_is_ticked_narrows_what_the_query_says_and_never_widens_it() -> None:
    said = Filters(shelves=("Water", "fire"), languages=("en",))
    assert narrowed(said, Filters(shelves=("water",))) == Filters(shelves=("Water",), languages=("en",))
    assert narrowed(said, Filters(languages=("en-gb", "de"))) == Filters(
        shelves=("Water", "fire"), languages=("en-gb",)
    )
    assert narrowed(Filters(languages=("en-gb",)), Filters(languages=("en",))) == Filters(
        languages=("en-gb",)
    )


def test_filters_that_exclude_each_other_are_told() -> None:
    assert narrowed(Filters(shelves=("water",)), Filters(shelves=("fire",))) is None
    assert narrowed(Filters(after=2000), Filters(before=1990)) is None


def test_telling_words_carry_the_subject_and_stand_as_they_were_written() -> None:
    words = telling_words("The Wells were deep. A well is a hole in the ground, 12 m deep.")
    assert words[:2] == ["Wells", "deep"]
    assert not {"The", "a", "is", "12"} & set(words)


def test_near_duplicates_say_the_same_and_others_do_not() -> None:
    text = "Boil the water for one minute at a rolling boil, and let it cool with the lid on."
    assert say_the_same(vocabulary(text), vocabulary(text.upper().replace(",", " –")))
    assert not say_the_same(vocabulary(text), vocabulary("Boil an egg for five minutes with the lid on."))
