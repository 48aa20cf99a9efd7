"""Figures of ingest in words."""

import msgspec
import pytest

from ingest.progress import IngestProgress
from library.values import DocumentState
from web.words import done, duration, share_done, summary

NONE = dict.fromkeys(DocumentState, 0)
IDLE = IngestProgress(
    paused=False, trouble=None, reading=(), embedding=(), documents=NONE, chunks=0, embedded=0,
    embedded_since_start=0, chunks_per_s=None, remaining_s=None, rebuilding=None,
)  # fmt: skip


def with_documents(
    progress: IngestProgress, counts: dict[DocumentState, int], **changes: object
) -> IngestProgress:
    return msgspec.structs.replace(progress, documents=NONE | counts, **changes)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute"),
        (49, "less than a minute"),
        (60, "about a minute"),
        (240, "about 4 minutes"),
        (3290, "about 55 minutes"),
        (3300, "about an hour"),
        (7300, "about 2 hours"),
        (80_000, "about a day"),
        (1_000_000, "about 12 days"),
    ],
)
def test_an_estimate_is_never_more_exact_than_it_is(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_share_counts_what_nobody_has_read_yet() -> None:
    assert share_done(IDLE) == 1
    assert share_done(with_documents(IDLE, {DocumentState.FINDABLE: 3})) == 1
    half_read = {DocumentState.WAITING: 4, DocumentState.READING: 1, DocumentState.FINDABLE_WORDS: 5}
    assert share_done(with_documents(IDLE, half_read, chunks=100, embedded=50)) == 0.25
    gone_too = half_read | {DocumentState.MISSING: 90}
    assert share_done(with_documents(IDLE, gone_too, chunks=100, embedded=50)) == 0.25
    assert share_done(with_documents(IDLE, {DocumentState.WAITING: 20})) == 0


def test_a_summary_says_what_is_left_how_fast_it_goes_and_how_long() -> None:
    assert summary(with_documents(IDLE, {DocumentState.FINDABLE: 1}), 0) == "Everything has been read."
    assert summary(IDLE, 0) == "There is nothing to read yet."
    counts = {DocumentState.WAITING: 1200, DocumentState.READING: 1, DocumentState.FINDABLE_WORDS: 1}
    going = with_documents(IDLE, counts, chunks_per_s=63.6, remaining_s=250)
    assert summary(going, 0) == (
        "1,201 documents still to be read; 1 document findable by words, by meaning soon. "
        "64 passages a second, about 4 minutes left."
    )
    assert summary(with_documents(going, {}, paused=True), 2) == "Paused. 2 documents still to be read."
    assert summary(IDLE, 1) == "1 document still to be read."


def test_what_can_be_found_is_never_none_of_none_and_what_is_gone_is_named() -> None:
    assert done(NONE) == ""
    assert done(NONE | {DocumentState.MISSING: 21}) == "The files of 21 documents are gone."
    counts = NONE | {DocumentState.FINDABLE: 3, DocumentState.FAILED: 2, DocumentState.MISSING: 1}
    assert done(counts) == (
        "3 of 5 documents can be found by words and meaning; 2 could not be read; "
        "the file of 1 document is gone."
    )


def test_a_paused_library_promises_nothing_soon() -> None:
    paused = with_documents(IDLE, {DocumentState.FINDABLE_WORDS: 2}, paused=True)
    assert summary(paused, 0) == ("Paused. 2 documents findable by words, by meaning after the pause.")
