"""Holdings: lists that can be walked from end to end, in either direction, and what they can be narrowed by."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from library.arrivals import Arrivals
from library.catalogue import Catalogue
from library.errors import DocumentNotFound, FileGone, InvalidRequest
from library.folding import fold, initial, lookup, sort_key
from library.holdings import Choice, Group, Holdings, Order
from library.queue import Queue
from library.record import Record
from library.texts import Text
from library.values import Chunk, DocumentState, Extracted, FileSeen, Section


class Book(NamedTuple):
    path: str
    title: str
    authors: tuple[str, ...] = ()
    language: str | None = None
    subjects: tuple[str, ...] = ()


EVERYTHING = Choice()
BOOKS = [
    Book("novels/moby.epub", "Moby-Dick", ("Herman Melville",), "en", ("Whaling",)),
    Book("novels/svejk.epub", "Švejk", ("Jaroslav Hašek",), "cs"),
    Book("novels/typee.epub", "Typee", ("HERMAN MELVILLE", "Herman  Melville"), "en-us"),
    Book("water/boil.md", "100 % boiled_water", (), "en-gb"),
    Book("water/wells.pdf", "“Wells”", ("A. Digger", "Herman Melville"), None),
    Book("loose.txt", "", (), "ja"),
]


class House:
    def __init__(self, path: Path) -> None:
        self.record = Record.open(path / "record.sqlite3")
        self.clock = datetime(2026, 1, 1, tzinfo=UTC)
        self.arrivals = Arrivals(self.record, clock=self._now)
        self.queue = Queue(self.record, clock=self._now)
        self.holdings, self.catalogue = Holdings(self.record), Catalogue(self.record)

    def _now(self) -> datetime:
        self.clock += timedelta(seconds=1)
        return self.clock

    def shelve(self, books: Sequence[Book]) -> None:
        for book in books:
            ending = book.path.rpartition(".")[2]
            self.arrivals.receive(
                FileSeen(book.path, 10, 7, f"d-{book.path}", ending), is_gone=lambda _: False
            )
        by_path = {book.path: book for book in books}
        while taken := self.queue.begin_reading(500):
            self.queue.store_texts(
                [
                    Text(one.document.id, one.digest, _read(by_path[one.document.path]), _CHUNKS)
                    for one in taken
                ]
            )
            self.queue.advance({one.document.id: one.digest for one in taken}, DocumentState.FINDABLE_WORDS)

    def titles(self, choice: Choice = EVERYTHING, order: Order = Order.TITLE) -> list[str]:
        return [document.title for document in self.holdings.listed(choice, order).documents]


_CHUNKS = [Chunk(0, 0, 0, 5, "words")]


def _read(book: Book) -> Extracted:
    return Extracted(
        book.title,
        book.authors,
        book.language,
        None,
        (Section(0, 1, (book.title,), "", "words"),),
        subjects=book.subjects,
    )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """For tests that only read."""
    house = House(tmp_path_factory.mktemp("holdings"))
    house.shelve(BOOKS)
    yield house
    house.record.close()


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    house.shelve(BOOKS)
    yield house
    house.record.close()


def test_folding_makes_spellings_one() -> None:
    assert fold("  ČAPEK\n ﬁre ") == "capek fire"
    assert fold("Straße") == fold("STRASSE")
    assert sort_key("“The Wells”") == "the wells”"
    assert sort_key("—") == "—"
    assert len(sort_key("x" * 10_000)) == 200
    assert [initial(key) for key in ("abc", "1984", "", "—", "かな")] == ["a", "#", "#", "#", "か"]
    assert lookup("Émile", ["Rousseau"], ["Éducation"]) == "emile\nrousseau\neducation"


def test_titles_are_sorted_as_people_look_for_them(house: House) -> None:
    assert house.titles() == ["", "100 % boiled_water", "Moby-Dick", "Švejk", "Typee", "“Wells”"]


def test_what_came_last_is_first_among_the_new(house: House) -> None:
    assert house.titles(order=Order.NEWEST) == [book.title for book in reversed(BOOKS)]


@pytest.mark.parametrize(
    ("choice", "titles"),
    [
        (Choice(shelf="water"), ["100 % boiled_water", "“Wells”"]),
        (Choice(shelf="nowhere"), []),
        (Choice(author="herman melville"), ["Moby-Dick", "Typee", "“Wells”"]),
        (Choice(author="Hasek, no"), []),
        (Choice(language="en"), ["100 % boiled_water", "Moby-Dick", "Typee"]),
        (Choice(language="EN-us"), ["Typee"]),
        (Choice(language="e"), []),
        (Choice(format="md"), ["100 % boiled_water"]),
        (Choice(letter="s"), ["Švejk"]),
        (Choice(letter="Š"), ["Švejk"]),
        (Choice(letter="#"), ["", "100 % boiled_water"]),
        (Choice(shelf="novels", language="en", author="Melville, no"), []),
        (Choice(shelf="novels", language="en", letter="t"), ["Typee"]),
    ],
)
def test_a_list_is_narrowed_by_what_is_chosen(house: House, choice: Choice, titles: list[str]) -> None:
    assert house.titles(choice) == titles
    assert house.holdings.listed(choice).total == len(titles)
    assert sorted(house.titles(choice, Order.NEWEST)) == sorted(titles)


@pytest.mark.parametrize("letter", ["", "ab", "ß"])
def test_a_letter_is_one_letter(house: House, letter: str) -> None:
    with pytest.raises(InvalidRequest):
        house.titles(Choice(letter=letter))


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("limit", [1, 2, 5, 6, 50])
def test_a_list_is_walked_to_its_end_and_back(house: House, order: Order, limit: int) -> None:
    whole = [document.id for document in house.holdings.listed(Choice(), order).documents]
    walked: list[str] = []
    page = house.holdings.listed(Choice(), order, limit=limit)
    assert page.previous is None
    while True:
        assert page.start == len(walked) + 1
        walked += [document.id for document in page.documents]
        if page.next is None:
            break
        page = house.holdings.listed(Choice(), order, limit=limit, cursor=page.next)
    assert walked == whole
    back = [document.id for document in page.documents]
    while page.previous is not None:
        page = house.holdings.listed(Choice(), order, limit=limit, cursor=page.previous)
        assert page.next is not None
        back = [document.id for document in page.documents] + back
    assert page.start == 1
    assert list(dict.fromkeys(back)) == whole


def test_titles_that_are_the_same_are_each_shown_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.shelve([Book(f"s/{n}.md", "The same") for n in range(7)])
    seen, cursor = [], None
    while True:
        page = house.holdings.listed(Choice(), limit=2, cursor=cursor)
        seen += [document.path for document in page.documents]
        if (cursor := page.next) is None:
            break
    assert sorted(seen) == [f"s/{n}.md" for n in range(7)]
    house.record.close()


@pytest.mark.parametrize(
    "cursor", ["x", "é", "=", "W10", "AAAA", "WzEsMiwzXQ", "WyIiLCIiLC0xLGZhbHNlXQ", "A" * 10_000, "../.."]
)
def test_a_cursor_that_no_page_gave_is_refused(house: House, cursor: str) -> None:
    for order in Order:
        with pytest.raises(InvalidRequest):
            house.holdings.listed(Choice(), order, cursor=cursor)
    with pytest.raises(InvalidRequest):
        house.holdings.authors(cursor=cursor)


def test_a_cursor_of_one_list_is_no_moment_in_another(house: House) -> None:
    cursor = house.holdings.listed(Choice(), limit=2).next
    with pytest.raises(InvalidRequest):
        house.holdings.listed(Choice(), Order.NEWEST, cursor=cursor)


def test_authors_are_counted_under_one_spelling_each(house: House) -> None:
    page = house.holdings.authors()
    assert [(group.name.casefold(), group.documents) for group in page.groups] == [
        ("a. digger", 1),
        ("herman melville", 3),
        ("jaroslav hašek", 1),
    ]
    assert page.total == 3
    names, cursor = [], None
    while True:
        page = house.holdings.authors(limit=1, cursor=cursor)
        names += [group.name.casefold() for group in page.groups]
        if (cursor := page.next) is None:
            break
    assert names == ["a. digger", "herman melville", "jaroslav hašek"]
    page = house.holdings.authors(limit=1, cursor=page.previous)
    assert [group.name.casefold() for group in page.groups] == ["herman melville"]


def test_letters_and_counts(house: House) -> None:
    assert house.holdings.letters() == [
        Group("m", 1),
        Group("s", 1),
        Group("t", 1),
        Group("w", 1),
        Group("#", 2),
    ]
    counted = house.holdings.counted(Choice(shelf="novels"))
    assert counted["shelf"] == [Group("novels", 3), Group("water", 2)]
    assert counted["language"] == [Group("en", 2), Group("cs", 1)]
    assert counted["format"] == [Group("epub", 3)]


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("svejk", ["Švejk"]),
        ("HASEK", ["Švejk"]),
        ("melville moby", ["Moby-Dick"]),
        ("whaling", ["Moby-Dick"]),
        ("melville wells", ["“Wells”"]),
        ("%", ["100 % boiled_water"]),
        ("_", ["100 % boiled_water"]),
        ("d_w", ["100 % boiled_water"]),
        ("o_e", []),
        ("'; DROP TABLE documents; --", []),
        ("", []),
        (" ", []),
        ("\x00", []),
        ("\\", []),
        ("x" * 100_000, []),
    ],
)
def test_documents_are_found_by_what_they_are_called(house: House, query: str, titles: list[str]) -> None:
    assert [document.title for document in house.holdings.named(query, limit=10)] == titles


def test_a_title_that_says_it_goes_first(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.shelve([Book("a.md", "Anger", ("Water, A.",)), Book("b.md", "Water")])
    assert [document.title for document in house.holdings.named("water", limit=10)] == ["Water", "Anger"]
    house.record.close()


def test_the_librarys_own_list_is_narrowed_too_and_by_file_names(house: House) -> None:
    def paths(named: str, **more: object) -> list[str]:
        return [item.path for item in house.catalogue.documents(named=named, **more).items]  # type: ignore[arg-type]

    assert paths("MELVILLE") == ["novels/moby.epub", "novels/typee.epub", "water/wells.pdf"]
    assert paths("melville", shelf="water") == ["water/wells.pdf"]
    assert paths("novels moby") == ["novels/moby.epub"]
    assert paths("%") == ["water/boil.md"]
    assert paths("nothing of the kind") == []
    assert len(paths("  ")) == len(BOOKS)
    page = house.catalogue.documents(named="melville", limit=2)
    assert page.total == 3
    assert [
        item.path for item in house.catalogue.documents(named="melville", limit=2, cursor=page.next).items
    ] == ["water/wells.pdf"]


def test_a_document_whose_file_is_gone_is_in_no_list(changing: House) -> None:
    moby = changing.catalogue.at("novels/moby.epub")
    assert moby is not None
    changing.arrivals.mark_missing(["novels/moby.epub"])
    assert "Moby-Dick" not in changing.titles()
    assert changing.holdings.named("moby", limit=10) == []
    assert [group.documents for group in changing.holdings.authors().groups] == [1, 2, 1]
    assert changing.holdings.counted(Choice())["format"][0] == Group("epub", 2)
    with pytest.raises(FileGone) as raised:
        changing.holdings.file(moby.id)
    assert str(raised.value).endswith(".")
    with pytest.raises(DocumentNotFound):
        changing.holdings.file("nobody")


def test_a_file_that_moves_or_is_waiting_is_known_by_its_present_name(changing: House) -> None:
    moved = FileSeen("novels/Wäl.epub", 10, 8, "d-novels/moby.epub", "epub")
    changing.arrivals.receive(moved, is_gone=lambda _: True)
    assert [item.title for item in changing.catalogue.documents(named="wal.epub").items] == ["Moby-Dick"]
    assert changing.catalogue.documents(named="moby.epub").items == ()
    changing.arrivals.receive(FileSeen("novels/Ünread.epub", 1, 1, "u", "epub"), is_gone=lambda _: False)
    assert [item.title for item in changing.holdings.named("unread", limit=5)] == ["Ünread.epub"]


def test_reading_again_replaces_the_authors(changing: House) -> None:
    changing.arrivals.receive(FileSeen("novels/svejk.epub", 11, 9, "other", "epub"), is_gone=lambda _: False)
    [taken] = changing.queue.begin_reading()
    book = Book("novels/svejk.epub", "The Good Soldier", ("Somebody Else",), "en")
    changing.queue.store_texts([Text(taken.document.id, taken.digest, _read(book), _CHUNKS)])
    assert changing.titles(Choice(author="Jaroslav Hašek")) == []
    assert changing.titles(Choice(author="somebody else")) == ["The Good Soldier"]
    assert changing.holdings.named("svejk", limit=5) == []


def test_a_record_of_before_is_brought_up_to_date(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.shelve(BOOKS)
    expected = house.titles(), [group.name for group in house.holdings.authors().groups]
    house.record.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'record.sqlite3'}")
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "library" / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        assert "title_key" not in connection.execute(text("SELECT * FROM documents LIMIT 1")).mappings().one()
    engine.dispose()
    again = House(tmp_path)
    assert (again.titles(), [group.name for group in again.holdings.authors().groups]) == expected
    assert [item.path for item in again.catalogue.documents(named="hasek").items] == ["novels/svejk.epub"]
    again.record.close()
