"""A house whose reader has put a reranker into it, over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cross_encoder import write_cross_encoder
from tests.places import MODELS, embedding_model
from tests.running import Appliance, running

pytestmark = pytest.mark.models

PAGES = {
    "fire.md": "# Fire\n\nA fire is lit with dry wood. Fire, fire, fire and nothing else stands on this page.",
    "stove.md": "# Stove\n\nHow to light the stove without dry wood when a fire is out: use birch bark.",
    "drum.md": f"# Drum\n\n{'the when is out ' * 40}",
    "water.md": "# Water\n\nWater is boiled for a minute.",
}
ASKED = "how to light the stove without wood when the fire is out"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    embedding_model()
    folder = tmp_path_factory.mktemp("models")
    (folder / "embedding").symlink_to((MODELS / "embedding").resolve())
    write_cross_encoder(folder / "rerank" / "shared")
    return folder


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Appliance]:
    folder = furnished(tmp_path_factory.mktemp("reranked"))
    settings = '[search]\nreranker = "shared"\n[llm]\nenabled = false\n[ingest]\nsettle_s = 0.2\n'
    with running(folder, settings=settings, models=models) as house:
        house.until(lambda: len(searched(house, ASKED)["items"]) == len(PAGES), 30)
        yield house


def furnished(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / ".furnished").touch()
    (folder / "library").mkdir()
    for name, text in PAGES.items():
        (folder / "library" / name).write_text(text)
    return folder


def searched(house: Appliance, text: str, **parameters: str) -> dict:  # type: ignore[type-arg]
    code, body = house.get("/api/search", q=text, **parameters)
    assert code == 200, body
    return body  # type: ignore[no-any-return]


def place_of(title: str, found: dict) -> int:  # type: ignore[type-arg]
    return [hit["document"]["title"] for hit in found["items"]].index(title)


def test_the_first_passages_are_read_again_where_that_is_asked_for(house: Appliance) -> None:
    plain, reranked = searched(house, "fire"), searched(house, "fire", rerank="1")
    assert {hit["passage"]["id"] for hit in plain["items"]} == {
        hit["passage"]["id"] for hit in reranked["items"]
    }
    assert [hit["score"] for hit in reranked["items"]] == sorted(
        (hit["score"] for hit in reranked["items"]), reverse=True
    )
    plain, reranked = searched(house, ASKED), searched(house, ASKED, rerank="1")
    # This one counts the word pieces that a passage shares, however often, and a drum has nothing else.
    assert place_of("Drum", reranked) < place_of("Drum", plain)
    assert reranked["degraded"] == []
    # Pages are cut from one order.
    first = searched(house, ASKED, rerank="1", limit="1")
    second = searched(house, ASKED, rerank="1", limit="1", cursor=first["next"])
    both = [hit["passage"]["id"] for page in (first, second) for hit in page["items"]]
    assert both == [hit["passage"]["id"] for hit in searched(house, ASKED, rerank="1")["items"]][:2]


def test_a_page_in_a_script_without_spaces_is_no_mistake(house: Appliance) -> None:
    assert searched(house, "水を沸かす" * 300 + " fire", rerank="1")["degraded"] == []


def test_without_a_usable_reranker_the_search_goes_on_and_says_so(tmp_path: Path, models: Path) -> None:
    write_cross_encoder(models / "rerank" / "three", numbers=3)
    settings = '[search]\nreranker = "three"\n[llm]\nenabled = false\n[ingest]\nsettle_s = 0.2\n'
    with running(furnished(tmp_path / "house"), settings=settings, models=models) as house:
        house.until(lambda: len(searched(house, ASKED)["items"]) == len(PAGES), 30)
        assert searched(house, ASKED)["degraded"] == []
        (sentence,) = searched(house, ASKED, rerank="1")["degraded"]
        assert "3 numbers for a pair" in sentence
        assert any("3 numbers for a pair" in notice for notice in house.get("/status")[1]["degraded"])


def test_where_there_is_none_asking_for_it_is_a_mistake(tmp_path: Path) -> None:
    with running(furnished(tmp_path / "house"), settings="[llm]\nenabled = false\n", models=MODELS) as house:
        code, body = house.get("/api/search", q="fire", rerank="1")
        assert code == 400
        assert "search.reranker" in str(body)
        assert house.get("/api/search", q="fire", rerank="yes")[0] == 400
