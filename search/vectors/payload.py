"""The payload: what a vector carries beside itself, and how filters ask for it.

Pure, and free of either vendor: conditions are plain values that each index
writes in its own terms. Its hard rule: whoever changes what `payload` returns
raises VERSION, and indexes of an earlier version are relabelled from the
record (`ingest.relabelling`), no vector is computed for that.
"""

import unicodedata

import msgspec

from library.errors import IndexUnavailable
from library.values import Labels
from search.query import Filters

VERSION = 2  # 1 carried the shelf alone

KEYWORDS = ("shelf", "authors", "language", "format", "subjects")
INTEGERS = ("year",)
_LONGEST = 256  # characters of a name that count


class AnyOf(msgspec.Struct, frozen=True):
    """The field has one of these values."""

    field: str
    values: tuple[str, ...]


class Between(msgspec.Struct, frozen=True):
    """The field's number lies between the two, themselves included; None is no bound."""

    field: str
    lowest: int | None
    highest: int | None


def payload(labels: Labels) -> dict[str, str | int | list[str]]:
    """The fields that are there; a document without a year matches no range of years."""
    fields: dict[str, str | int | list[str]] = {"shelf": _sound(labels.shelf or "")}
    if labels.authors:
        fields["authors"] = [folded(author) for author in labels.authors]
    if labels.language:
        fields["language"] = _with_base(labels.language)
    if labels.format:
        fields["format"] = folded(labels.format)
    if labels.subjects:
        fields["subjects"] = [folded(subject) for subject in labels.subjects]
    if labels.year is not None:
        fields["year"] = labels.year
    return fields


def conditions(filters: Filters) -> list[AnyOf | Between]:
    """What has to hold, all of it; empty when nothing is asked."""
    wanted: list[AnyOf | Between] = [
        AnyOf(field, values)
        for field, values in (
            ("shelf", tuple(map(_sound, filters.shelves))),
            ("authors", tuple(map(folded, filters.authors))),
            ("language", tuple(map(_tag, filters.languages))),
            ("format", tuple(map(folded, filters.formats))),
            ("subjects", tuple(map(folded, filters.subjects))),
        )
        if values
    ]
    if filters.after is not None or filters.before is not None:
        wanted.append(Between("year", filters.after, filters.before))
    return wanted


def conditions_for(filters: Filters, *, labelled: bool) -> list[AnyOf | Between]:
    """As `conditions`. Raises IndexUnavailable where an index of an earlier version lacks the field.

    Asking it all the same would find nothing and look like an answer.
    """
    wanted = conditions(filters)
    if not labelled and any(condition.field != "shelf" for condition in wanted):
        raise IndexUnavailable(
            "After the upgrade the vector index is being told authors, languages, formats, subjects and years; "
            "that takes some minutes at most."
        )
    return wanted


def folded(text: str) -> str:
    """A name as it is compared: accents, case and runs of blanks do not matter."""
    plain = unicodedata.normalize("NFKD", _sound(text).casefold())
    return " ".join("".join(char for char in plain if not unicodedata.combining(char)).split())


def _tag(language: str) -> str:
    return folded(language).replace("_", "-")


def _sound(text: str) -> str:
    """Text that both vendors take: half a surrogate pair is none, and would stop a whole batch of chunks."""
    return text[:_LONGEST].encode("utf-8", "replace").decode()


def _with_base(language: str) -> list[str]:
    """A tag and all that are less particular: zh-hant-tw, zh-hant, zh. So "en" also takes "en-gb"."""
    parts = _tag(language).split("-")
    return ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
