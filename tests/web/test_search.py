"""Search over HTTP: filters, orders, groups, facets, pages, more like this, and asking chosen passages."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.running import Appliance

pytestmark = pytest.mark.models

LAMPS = {
    "lamps/argand.md": ("The Argand lamp", "Aimé Argand", "fr", 1784, ["light", "oil"]),
    "lamps/davy.md": ("The Davy lamp", "Humphry Davy", "en-gb", 1815, ["light", "mining"]),
    "lamps/aladdin.md": ("An Aladdin lamp", "Victor Johnson", "en", 1909, ["light", "oil"]),
    "lamps/undated.md": ("Zeppelin lamps", "Nobody Known", "de", None, ["light"]),
}
TEXT = """---
title: {title}
author: {author}
lang: {language}
tags: [{tags}]
{year}---

## The mantle

The gimballed {title} is filled with lamp oil through the gimballed filler, and its wick is trimmed weekly.

## The chimney

Behind the chimney of the gimballed {title} stands a mirror of tin, which throws the light forward.

## Soot

Soot on the gimballed {title} tells of a wick that stands too high.
"""


@pytest.fixture(scope="module")
def lamps(house: Appliance) -> Iterator[Appliance]:
    """The shared house with a shelf whose documents differ in everything that is filtered by."""
    for path, (title, author, language, year, tags) in LAMPS.items():
        stated = f"date: {year}\n" if year else ""
        house.drop(
            path,
            TEXT.format(title=title, author=author, language=language, tags=", ".join(tags), year=stated),
        )
    for path in LAMPS:
        house.until_state(path, "findable", timeout_s=120)
    yield house
    for path in LAMPS:
        (house.library / path).unlink()
    for path in LAMPS:
        house.until_state(path, "missing")


def found(house: Appliance, q: str = "gimballed lamp", **parameters: object) -> Any:
    query = urlencode({"q": q, "limit": 100, **parameters}, doseq=True)
    status, _, _ = house.request("GET", f"/api/search?{query}")
    _, body = house.get(f"/api/search?{query}")
    assert status == 200, body
    return body


def paths(answer: Any) -> set[str]:
    return {item["document"]["path"] for item in answer["items"]}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"shelf": "lamps"}, set(LAMPS)),
        ({"shelf": ["lamps", "nowhere"]}, set(LAMPS)),
        ({"author": "Humphry Davy"}, {"lamps/davy.md"}),
        ({"lang": "fr"}, {"lamps/argand.md"}),
        ({"shelf": "lamps", "lang": "en"}, {"lamps/davy.md", "lamps/aladdin.md"}),
        ({"shelf": "lamps", "lang": ["fr", "de"]}, {"lamps/argand.md", "lamps/undated.md"}),
        ({"tag": "mining"}, {"lamps/davy.md"}),
        ({"shelf": "lamps", "tag": "oil"}, {"lamps/argand.md", "lamps/aladdin.md"}),
        ({"shelf": "lamps", "type": "markdown"}, set(LAMPS)),
        ({"shelf": "lamps", "type": "pdf"}, set()),
        ({"shelf": "lamps", "after": 1815}, {"lamps/davy.md", "lamps/aladdin.md"}),
        ({"shelf": "lamps", "before": 1815}, {"lamps/argand.md", "lamps/davy.md"}),
        ({"shelf": "lamps", "after": 1800, "before": 1900}, {"lamps/davy.md"}),
        ({"shelf": "nowhere"}, set()),
        ({"shelf": " ", "author": "", "after": "", "before": "", "shelf ": "x"}, None),
    ],
)
@pytest.mark.parametrize("mode", ["hybrid", "words", "meaning"])
def test_filters_leave_what_they_say(
    lamps: Appliance, mode: str, parameters: dict[str, object], expected: set[str] | None
) -> None:
    got = paths(found(lamps, mode=mode, **parameters))
    assert got == expected if expected is not None else set(LAMPS) <= got


def test_what_the_query_says_and_what_is_ticked_both_hold(lamps: Appliance) -> None:
    assert paths(found(lamps, "gimballed lamp shelf:lamps", lang="fr")) == {"lamps/argand.md"}
    contradiction = found(lamps, "gimballed shelf:lamps", shelf="water")
    assert contradiction["items"] == []
    assert "exclude each other" in contradiction["notices"][0]


def test_operators_hold_for_what_only_the_vectors_found(lamps: Appliance) -> None:
    for item in found(lamps, "lamp light -mirror", shelf="lamps")["items"]:
        assert "mirror" not in item["passage"]["text"]
    phrase = found(lamps, '"wick that stands too high"')["items"]
    assert {item["passage"]["heading_path"][-1] for item in phrase} == {"Soot"}


def test_an_author_alone_is_found_by_words_and_no_meaning_is_made_up(lamps: Appliance) -> None:
    assert paths(found(lamps, "author:davy")) == {"lamps/davy.md"}
    assert paths(found(lamps, "author:davy", mode="meaning")) == set()


def test_which_side_found_it_follows_the_mode(lamps: Appliance) -> None:
    assert {tuple(item["found_by"]) for item in found(lamps, mode="words")["items"]} == {("words",)}
    assert {tuple(item["found_by"]) for item in found(lamps, mode="meaning")["items"]} == {("meaning",)}
    assert ["words", "meaning"] in [item["found_by"] for item in found(lamps)["items"]]


def test_orders_are_what_they_say(lamps: Appliance) -> None:
    by_date = found(lamps, shelf="lamps", sort="date", group="document")["items"]
    years = [item["document"]["year"] for item in by_date]
    assert years == [1909, 1815, 1784, None]
    by_title = found(lamps, shelf="lamps", sort="title", group="document")["items"]
    titles = [item["document"]["title"] for item in by_title]
    assert titles == sorted(titles)
    scores = [item["score"] for item in found(lamps, shelf="lamps")["items"]]
    assert scores == sorted(scores, reverse=True)


def test_grouped_every_document_comes_once_with_its_others(lamps: Appliance) -> None:
    single = found(lamps, shelf="lamps")
    grouped = found(lamps, shelf="lamps", group="document")
    assert grouped["total"] == len(grouped["items"]) == len(paths(single)) == 4
    for item in grouped["items"]:
        ids = [item["passage"]["id"], *(other["id"] for other in item["others"])]
        of_it = [
            hit["passage"]["id"]
            for hit in single["items"]
            if hit["document"]["path"] == item["document"]["path"]
        ]
        assert ids == of_it[: len(ids)]
        assert item["others_total"] == len(of_it) - 1
        assert all(other["href"].startswith("/read/") for other in item["others"])
    assert all(item["others"] == [] for item in single["items"])


def test_facets_agree_with_what_is_listed(lamps: Appliance) -> None:
    answer = found(lamps, facets=1, group="document")
    listed = [item["document"] for item in answer["items"]]
    assert answer["next"] is None, "the whole list is needed to compare"
    facets = {
        name: {one["value"]: one["count"] for one in values} for name, values in answer["facets"].items()
    }
    assert facets["shelf"]["lamps"] == 4
    for shelf, count in facets["shelf"].items():
        assert count == sum(document["shelf"] == shelf for document in listed)
    for author, count in facets["author"].items():
        assert count == sum(author in document["authors"] for document in listed)
    assert found(lamps)["facets"] is None


def test_facets_of_a_filtered_search_are_those_of_its_results(lamps: Appliance) -> None:
    facets = found(lamps, shelf="lamps", facets=1)["facets"]
    assert facets["shelf"] == [{"value": "lamps", "count": 4}]
    assert facets["tag"][:2] == [{"value": "light", "count": 4}, {"value": "oil", "count": 2}]
    assert facets["year"] == [{"value": str(year), "count": 1} for year in (1909, 1815, 1784)]
    assert facets["format"] == [{"value": "markdown", "count": 4}]
    assert {one["value"] for one in facets["language"]} == {"fr", "en-gb", "en", "de"}


@pytest.mark.parametrize(
    "parameters", [{}, {"group": "document"}, {"sort": "title"}, {"sort": "date", "group": "document"}]
)
def test_pages_are_cut_from_one_order(lamps: Appliance, parameters: dict[str, object]) -> None:
    whole = [item["passage"]["id"] for item in found(lamps, "water", **parameters)["items"]]
    paged, cursor = [], ""
    while cursor is not None and len(paged) < len(whole):
        answer = found(lamps, "water", limit=7, cursor=cursor, **parameters)
        paged += [item["passage"]["id"] for item in answer["items"]]
        cursor = answer["next"]
    assert paged[: len(whole)] == whole
    assert len(set(paged)) == len(paged)


def test_a_page_behind_the_last_is_empty_and_no_error(lamps: Appliance) -> None:
    answer = found(lamps, shelf="lamps", cursor="400")
    assert (answer["items"], answer["next"]) == ([], None)


_WRONG: list[tuple[dict[str, object], str]] = [
    ({"sort": "price"}, "sort"),
    ({"mode": "lexical"}, "mode"),
    ({"group": "shelf"}, "group"),
    ({"facets": "yes"}, "facets"),
    ({"after": "yesterday"}, "after"),
    ({"after": "-5"}, "after"),
    ({"before": "20190"}, "before"),
    ({"before": "١٩٩٠"}, "before"),
    ({"after": 2000, "before": 1990}, "after"),
    ({"shelf": [f"{n}" for n in range(21)]}, "shelf"),
    ({"author": "x" * 501}, "author"),
    ({"cursor": "401"}, "cursor"),
    ({"limit": 10**30}, "limit"),
    ({"limit": -1}, "limit"),
]
_OF_THE_API_ALONE = ("group", "facets", "limit")


@pytest.mark.parametrize(
    ("path", "parameters", "parameter"),
    [("/api/search", *one) for one in _WRONG]
    + [("/", *one) for one in _WRONG if one[1] not in _OF_THE_API_ALONE],
)
def test_a_wrong_value_is_named(
    house: Appliance, path: str, parameters: dict[str, object], parameter: str
) -> None:
    status, _, body = house.request("GET", f"{path}?{urlencode({'q': 'x', **parameters}, doseq=True)}")
    assert status == 400, body
    assert f"`{parameter}`" in body.decode()


@pytest.mark.parametrize(
    "value", ["\x00", "../../etc", "'; DROP TABLE documents; --", "<script>", "\ud7ff\U0001f701", '"', "*"]
)
@pytest.mark.parametrize("name", ["q", "shelf", "author", "lang", "type", "tag"])
def test_no_filter_value_breaks_anything(house: Appliance, name: str, value: str) -> None:
    for path in ("/api/search", "/"):
        status, _, body = house.request("GET", f"{path}?{urlencode({'q': 'water', name: value})}")
        assert status == 200, body
        assert b"<script>" not in body or b"DROP" not in body


def test_more_like_this_is_neither_it_nor_its_neighbours(lamps: Appliance) -> None:
    mantle = next(
        item for item in found(lamps, shelf="lamps")["items"]
        if item["passage"]["heading_path"] == ["The Davy lamp", "The mantle"]
    )  # fmt: skip
    status, like = lamps.get(f"/api/passages/{mantle['passage']['id']}/similar", limit=5)
    assert status == 200
    places = [(item["document"]["path"], item["passage"]["heading_path"][-1]) for item in like["items"]]
    assert places
    assert ("lamps/davy.md", "The mantle") not in places
    assert ("lamps/davy.md", "The chimney") not in places
    assert {path.split("/")[0] for path, _ in places[:2]} == {"lamps"}
    assert like["next"] is None


@pytest.mark.parametrize(("path", "status"), [("/api/passages/nobody/similar", 404), ("/?like=nobody", 404)])
def test_more_like_what_is_not_there_is_not_found(house: Appliance, path: str, status: int) -> None:
    assert house.request("GET", path)[0] == status


def test_chosen_passages_are_all_that_is_asked(lamps: Appliance) -> None:
    soot = [
        item["passage"]["id"] for item in found(lamps, shelf="lamps")["items"]
        if item["passage"]["heading_path"][-1] == "Soot"
    ][:2]  # fmt: skip
    asked = {"question": "What does soot on the lamp tell of?", "passages": soot}
    events = lamps.events("/api/ask", asked)
    assert [source["passage"]["id"] for source in events[0][1]["passages"]] == soot
    assert events[-1][0] == "done"
    unrelated = lamps.events("/api/ask", asked | {"question": "Who won the Eurovision song contest in 1974?"})
    assert unrelated[-1][1]["kind"] == "not_found"
    assert "chosen" in "".join(body["text"] for name, body in unrelated if name == "token")


@pytest.mark.parametrize(
    ("passages", "status"), [(["nobody"], 404), (["x"] * 21, 400), ("nobody", 400), ([5], 400), ([None], 400)]
)
def test_passages_that_cannot_be_asked_are_refused(house: Appliance, passages: object, status: int) -> None:
    got, problem = house.post("/api/ask", {"question": "x", "passages": passages})
    assert got == status
    assert problem["detail"].endswith(".")


def test_the_page_lists_filters_with_a_way_to_take_them_off(lamps: Appliance) -> None:
    _, _, body = lamps.request("GET", "/?q=gimballed+lamp&shelf=lamps&lang=en&after=1800")
    page = body.decode()
    assert page.count('class="filter-on"') == 3
    assert 'href="/?q=gimballed+lamp&amp;shelf=lamps&amp;after=1800"' in page
    assert re.search(r'href="/\?q=gimballed\+lamp&amp;shelf=lamps&amp;lang=en-gb&amp;after=1800"', page)


def test_the_page_escapes_what_books_and_readers_say(house: Appliance) -> None:
    hostile = '"><script>alert(1)</script>'
    for name in ("q", "shelf", "author", "sort", "like", "with"):
        _, _, body = house.request("GET", f"/?{urlencode({'q': 'water', 'ask': 1, name: hostile})}")
        assert b"<script>alert" not in body
