"""Every vector index keeps the same promises: in this process, and on a server.

qdrant-client's local mode stands in for the server; what only a server can do
(be away, refuse a key) is in tests/search/test_vector_server.py.
"""

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from library.errors import IndexUnavailable
from library.values import IndexedChunk, Labels
from search.query import Filters
from search.vectors import VectorIndex
from search.vectors.edge import EdgeIndex
from search.vectors.index import EVERYTHING
from search.vectors.payload import conditions, folded, payload
from search.vectors.server import ServerIndex, ServerSettings

# The stand-in keeps no field indexes, and says so.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect in the local Qdrant:UserWarning"
)

D = 8
STORES = ("edge", "server")
Open = Callable[[], VectorIndex]
WATER = Labels("water")


def id_of(n: int) -> str:
    return f"00000000-0000-0000-0000-{n:012d}"


def chunk(n: int, labels: Labels = WATER) -> IndexedChunk:
    return IndexedChunk(id_of(n), "doc", n, labels, ("Book", "Chapter"), "")


def unit(seed: int, dimensions: int = D) -> list[float]:
    values = [random.Random(seed * 1000 + n).gauss(0, 1) for n in range(dimensions)]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def local_server(path: Path, dimensions: int = D) -> ServerIndex:
    return ServerIndex(
        ServerSettings("http://stand-in"),
        model="tiny",
        dimensions=dimensions,
        owner="this library",
        connect=lambda: QdrantClient(path=str(path), force_disable_check_same_thread=True),
    )


@pytest.fixture(params=STORES)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same index again each time, after closing it."""
    opened: list[VectorIndex] = []

    def again() -> VectorIndex:
        for before in opened:
            before.close()
        index: VectorIndex = (
            EdgeIndex(tmp_path / "edge", dimensions=D)
            if request.param == "edge"
            else local_server(tmp_path / "server")
        )
        opened[:] = [index]
        return index

    yield again
    for index in opened:
        index.close()


@pytest.fixture
def index(reopen: Open) -> VectorIndex:
    return reopen()


def found(index: VectorIndex, filters: Filters = EVERYTHING, *, near: int = 1) -> set[int]:
    return {int(c.id[-12:]) for c in index.search(unit(near), limit=100, filters=filters)}


def test_an_empty_index_answers(index: VectorIndex) -> None:
    assert index.search(unit(1), limit=10) == []
    assert index.count() == 0
    assert index.held([id_of(1)]) == set()
    assert index.vectors_of([id_of(1)]) == {}
    assert not index.contains(unit(1), id_of(1))
    index.remove([id_of(1)])
    index.relabel([id_of(1)], Labels("fire"))
    index.upsert([], [])
    assert index.count() == 0


def test_the_nearest_comes_first_with_its_cosine(index: VectorIndex) -> None:
    index.upsert([chunk(n) for n in range(1, 9)], [unit(n) for n in range(1, 9)])
    best = index.search(unit(3), limit=4)
    assert len(best) == 4
    assert best[0].id == id_of(3)
    assert best[0].score == pytest.approx(1, abs=0.02)
    expected = sorted(
        (sum(a * b for a, b in zip(unit(3), unit(n), strict=True)) for n in range(1, 9)), reverse=True
    )
    assert [c.score for c in best] == pytest.approx(expected[:4], abs=0.03)


def test_what_is_upserted_survives_a_close(reopen: Open) -> None:
    reopen().upsert([chunk(1)], [unit(1)])
    again = reopen()
    assert again.count() == 1
    assert again.contains(unit(1), id_of(1))
    assert again.labelled()


def test_replacing_and_removing(index: VectorIndex) -> None:
    index.upsert([chunk(1), chunk(2)], [unit(1), unit(2)])
    index.upsert([chunk(1, Labels("fire"))], [unit(9)])
    assert index.count() == 2
    assert index.contains(unit(9), id_of(1))
    assert not index.contains(unit(1), id_of(1))
    assert found(index, Filters(shelves=("fire",))) == {1}
    index.remove([id_of(1), id_of(7)])
    assert index.held([id_of(1), id_of(2), id_of(7)]) == {id_of(2)}
    assert index.count() == 1


def test_the_vectors_come_back_as_they_went_in(index: VectorIndex) -> None:
    index.upsert([chunk(n) for n in range(1, 4)], [unit(n) for n in range(1, 4)])
    held = index.vectors_of([id_of(2), id_of(3), id_of(9)])
    assert set(held) == {id_of(2), id_of(3)}
    assert sum(a * b for a, b in zip(held[id_of(2)], unit(2), strict=True)) > 0.99


def test_a_vector_of_other_dimensions_is_refused(index: VectorIndex) -> None:
    with pytest.raises(IndexUnavailable):
        index.upsert([chunk(1)], [[1.0, 0.0]])
    with pytest.raises(IndexUnavailable):
        index.search([1.0, 0.0], limit=3)
    assert index.search(unit(1), limit=3) == []


def test_an_index_of_other_dimensions_is_refused(tmp_path: Path) -> None:
    for first, other in (
        (EdgeIndex(tmp_path / "e", dimensions=D), lambda: EdgeIndex(tmp_path / "e", dimensions=16).count()),
        (local_server(tmp_path / "s"), lambda: local_server(tmp_path / "s", 16).count()),
    ):
        first.upsert([chunk(1)], [unit(1)])
        first.close()
        with pytest.raises(IndexUnavailable, match=r"dimensions|cannot be opened"):
            other()


def test_a_closed_index_says_so(index: VectorIndex) -> None:
    index.close()
    with pytest.raises(IndexUnavailable, match="closed"):
        index.search(unit(1), limit=1)


LIBRARY = {
    1: Labels(
        "Water", authors=("Ångström, Åsa",), language="en-GB", format="epub", year=1999, subjects=("Wells",)
    ),
    2: Labels("Water", authors=("B. Traven", "José Müller"), language="de", format="pdf", year=2005),
    3: Labels(
        "Fire", authors=("b.  traven",), language="en", format="EPUB", year=2005, subjects=("Stoves", "wells")
    ),
    4: Labels(None, language="zh-Hant-TW", format="md", year=-300),
    5: Labels(None),
}


def filled(index: VectorIndex) -> VectorIndex:
    index.upsert([chunk(n, labels) for n, labels in LIBRARY.items()], [unit(n) for n in LIBRARY])
    return index


@pytest.fixture
def library(index: VectorIndex) -> VectorIndex:
    return filled(index)


@pytest.fixture(params=STORES, scope="module")
def unchanged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VectorIndex]:
    """The same library, opened once for all the tests that only ask."""
    path = tmp_path_factory.mktemp("unchanged")
    index: VectorIndex = EdgeIndex(path, dimensions=D) if request.param == "edge" else local_server(path)
    yield filled(index)
    index.close()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), {1, 2, 3, 4, 5}),
        (Filters(shelves=("Water",)), {1, 2}),
        (Filters(shelves=("Water", "Fire")), {1, 2, 3}),
        (Filters(shelves=("water",)), set()),  # a shelf is a folder, and folders differ in case
        (Filters(authors=("B. TRAVEN",)), {2, 3}),
        (Filters(authors=("jose muller",)), {2}),
        (Filters(authors=("angstrom, asa", "Jose Müller")), {1, 2}),
        (Filters(languages=("en",)), {1, 3}),
        (Filters(languages=("en-gb",)), {1}),
        (Filters(languages=("EN_gb",)), {1}),
        (Filters(languages=("zh-hant",)), {4}),
        (Filters(languages=("e",)), set()),
        (Filters(formats=("Epub", "md")), {1, 3, 4}),
        (Filters(subjects=("WELLS",)), {1, 3}),
        (Filters(after=2005), {2, 3}),
        (Filters(before=2005), {1, 2, 3, 4}),
        (Filters(after=1999, before=1999), {1}),
        (Filters(after=0, before=1), set()),
        (Filters(after=2010, before=2000), set()),
        (Filters(after=-(10**30), before=10**30), {1, 2, 3, 4}),
        (Filters(shelves=("Water",), languages=("en",), formats=("epub",), after=1990), {1}),
        (Filters(shelves=("Fire",), languages=("de",)), set()),
        (Filters(shelves=("no such shelf \x00 '\"; DROP",)), set()),
    ],
)
def test_filters(unchanged: VectorIndex, filters: Filters, expected: set[int]) -> None:
    assert found(unchanged, filters) == expected


def test_filters_do_not_change_scores(unchanged: VectorIndex) -> None:
    every = {c.id: c.score for c in unchanged.search(unit(2), limit=10)}
    for c in unchanged.search(unit(2), limit=10, filters=Filters(languages=("en",))):
        assert c.score == pytest.approx(every[c.id], abs=1e-4)


def test_a_relabelled_chunk_keeps_its_vector_and_loses_its_old_labels(library: VectorIndex) -> None:
    library.relabel([id_of(1), id_of(99)], Labels("Fire", language="fr"))
    assert found(library, Filters(shelves=("Water",))) == {2}
    assert found(library, Filters(shelves=("Fire",))) == {1, 3}
    assert (
        found(library, Filters(authors=("angstrom, asa",))) == set()
    )  # not merged: these labels and no others
    assert found(library, Filters(languages=("fr",))) == {1}
    assert library.contains(unit(1), id_of(1))
    assert library.count() == 5


def test_a_cleared_index_is_empty_and_takes_new_vectors(library: VectorIndex, reopen: Open) -> None:
    library.clear()
    assert library.count() == 0
    assert found(library) == set()
    assert library.labelled()
    library.upsert([chunk(7)], [unit(7)])
    again = reopen()
    assert again.held([id_of(n) for n in range(9)]) == {id_of(7)}


def test_an_erased_index_is_gone(library: VectorIndex, reopen: Open) -> None:
    library.erase()
    with pytest.raises(IndexUnavailable, match="closed"):
        library.count()
    assert reopen().count() == 0


def test_labels_no_vendor_would_take_stop_nothing(index: VectorIndex) -> None:
    odd = Labels("half \udc80 a pair", authors=("x" * 100_000, "\ud800"), language="\udfff", year=2**40)
    index.upsert([chunk(1, odd), chunk(2)], [unit(1), unit(2)])
    assert found(index) == {1, 2}
    assert found(index, Filters(shelves=("half \udc80 a pair",))) == {1}
    assert found(index, Filters(authors=("x" * 100_000,))) == {1}


names = st.text(st.characters(), max_size=12)  # half surrogate pairs too
some = st.lists(names, max_size=3).map(tuple)
years = st.none() | st.integers(-5000, 5000)
labels = st.builds(
    Labels,
    shelf=st.none() | names,
    authors=some,
    language=st.none() | names,
    format=names,
    year=years,
    subjects=some,
)
filters = st.builds(
    Filters,
    shelves=some,
    authors=some,
    languages=some,
    formats=some,
    subjects=some,
    after=years,
    before=years,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=labels, filters=filters)
def test_any_labels_and_any_filters_are_taken(index: VectorIndex, labels: Labels, filters: Filters) -> None:
    index.upsert([chunk(1, labels)], [unit(1)])
    assert found(index, filters) in (set(), {1})
    if labels.authors:
        assert found(index, Filters(authors=labels.authors)) == {1}


def test_folding() -> None:
    assert folded("  ÉMILE   Zola ") == "emile zola"
    assert folded("Straße") == "strasse"
    assert payload(Labels("s", language="pt_BR"))["language"] == ["pt-br", "pt"]
    assert conditions(Filters()) == []
