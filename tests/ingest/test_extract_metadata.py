"""What files say about themselves, made comparable: identifiers, subjects, descriptions."""

import pytest

from ingest.extract.metadata import identifier, identifiers, isbn, keywords, plain, subjects


@pytest.mark.parametrize(
    ("stated", "scheme", "expected"),
    [
        ("0-306-40615-2", "ISBN", "isbn:9780306406157"),
        ("080442957X", "isbn", "isbn:9780804429573"),
        ("urn:isbn:9780306406157", "", "isbn:9780306406157"),
        ("ISBN-13: 978-0-306-40615-7", "", "isbn:9780306406157"),
        ("978 0 306 40615 7", "", "isbn:9780306406157"),
        ("9780306406158", "ISBN", "isbn:9780306406158"),  # a wrong check digit is kept as it stands
        ("0306406152", "", "0306406152"),  # ten digits may be any number
        (
            "URN:UUID:A1B0D67E-2E81-4DF5-9E67-A64CBE366809",
            "",
            "urn:uuid:a1b0d67e-2e81-4df5-9e67-a64cbe366809",
        ),
        ("a1b0d67e-2e81-4df5-9e67-a64cbe366809", "uuid", "urn:uuid:a1b0d67e-2e81-4df5-9e67-a64cbe366809"),
        ("10.1000/182", "DOI", "doi:10.1000/182"),
        ("http://www.gutenberg.org/ebooks/25545", "URI", "http://www.gutenberg.org/ebooks/25545"),
        ("calibre:42", "calibre", "calibre:42"),
        (" - ", "", None),
        ("none", "", None),
    ],
)
def test_an_identifier_is_said_in_one_way(stated: str, scheme: str, expected: str | None) -> None:
    assert identifier(stated, scheme) == expected


def test_an_isbn_is_one_by_its_check_digit() -> None:
    assert isbn("978-0-306-40615-7") == "9780306406157"
    assert [isbn(text) for text in ("9780306406150", "0306406153", "٠306406152", "X123456789", "")] == [
        None
    ] * 5


def test_isbns_come_first_and_nothing_twice() -> None:
    stated = [("x-1", ""), ("0-306-40615-2", "isbn"), ("9780306406157", "")]
    assert identifiers(stated) == ("isbn:9780306406157", "x-1")


def test_subjects_are_kept_once_in_order() -> None:
    assert subjects([" Fire ", "fire", "", "x" * 500, "Water."]) == ("Fire", "Water")
    assert keywords("fire; water, salt\nsand") == ["fire", "water", "salt", "sand"]


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("plain\n words", "plain words"),
        ("<p>One &amp; <b>two</b></p><p>three</p>", "One & two\n\nthree"),
        ("&lt;p&gt;twice&lt;/p&gt;", "twice"),
        ("<script>alert(1)</script>safe", "safe"),
        ("5 < 6 and 7 > 3", "5 < 6 and 7 > 3"),
        ("<div>" * 300 + "x", ""),
    ],
)
def test_a_description_is_plain_text(stated: str, expected: str) -> None:
    assert plain(stated) == expected


def test_a_long_description_is_cut_at_a_word() -> None:
    found = plain("words " * 5000)
    assert len(found) <= 2000
    assert found.endswith("words…")
