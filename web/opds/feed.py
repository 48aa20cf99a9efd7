"""A feed of the catalogue, before it is Atom or JSON: what both versions of OPDS say of it. Pure.

Addresses stand as they follow the catalogue's root ("/titles?shelf=water"), for
the roots differ and nothing else does. Its hard rule: text leaves through
`sayable`, since a title may hold what XML cannot.
"""

import enum
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

import msgspec

from library.holdings import Choice, Group
from library.values import Document
from web.media import media_type, picture_type

TITLE = "Almanac"
ATOM_ROOT, JSON_ROOT = "/opds", "/opds/v2"
LIST_LIMIT = 50
_LONGEST_TITLE, _LONGEST_DESCRIPTION, _MOST_NAMES = 500, 4000, 100
# Char of XML 1.0, turned round; a lone surrogate is no character at all.
_UNSAYABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAMESPACE = uuid.UUID("7d5e4a53-7f0c-5b8e-9a51-6b0f0c6d2c11")
_URN_UUID = re.compile(r"(?:urn:)?uuid:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)
_ISBN = re.compile(r"isbn:([0-9-]{9,17}[0-9Xx])", re.IGNORECASE)
_URI = re.compile(r"(?:urn:|https?://|doi:)[A-Za-z0-9!#$%&'()*+,/:;=?@._~-]{1,500}", re.IGNORECASE)
_LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "eo": "Esperanto", "es": "Spanish", "et": "Estonian", "fa": "Persian",
    "fi": "Finnish", "fr": "French", "ga": "Irish", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian",
    "hu": "Hungarian", "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "la": "Latin", "lt": "Lithuanian", "lv": "Latvian", "nb": "Norwegian Bokmål",
    "nl": "Dutch", "nn": "Norwegian Nynorsk", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish",
    "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


class Kind(enum.StrEnum):
    NAVIGATION = "navigation"  # links to further feeds
    ACQUISITION = "acquisition"  # documents


class Signpost(msgspec.Struct, frozen=True):
    """An entry of a navigation feed: where it leads, and what is there."""

    title: str
    says: str
    to: str
    kind: Kind = Kind.ACQUISITION
    rel: str = "subsection"
    documents: int | None = None


class Facet(msgspec.Struct, frozen=True):
    """The same list, narrowed to one value of a group."""

    group: str
    title: str
    to: str
    documents: int
    active: bool


class Feed(msgspec.Struct, frozen=True):
    title: str
    here: str
    updated: datetime
    kind: Kind
    up: str | None = ""  # None for the root itself
    signposts: Sequence[Signpost] = ()
    documents: Sequence[Document] = ()
    facets: Sequence[Facet] = ()
    total: int | None = None  # None for a feed that is whole
    start: int = 1
    per_page: int = LIST_LIMIT
    first: str | None = None
    next: str | None = None
    previous: str | None = None
    query: str | None = None  # of a search


def to(path: str, parameters: Mapping[str, str | None]) -> str:
    """An address below the catalogue's root; parameters that are None or empty are left out."""
    given = urlencode({name: value for name, value in parameters.items() if value}, quote_via=quote)
    return f"{path}?{given}" if given else path


def chosen(choice: Choice) -> dict[str, str | None]:
    """A choice as the parameters of an address."""
    return {name: getattr(choice, name) for name in choice.__struct_fields__}


def facets(path: str, asked: Mapping[str, str | None], counted: Mapping[str, Sequence[Group]]) -> list[Facet]:
    """What the list can be narrowed by. A group with a single value that is not chosen narrows nothing."""
    found = []
    for name, groups in counted.items():
        active = asked.get(name)
        if len(groups) < 2 and not active:
            continue
        if active:
            everything = sum(group.documents for group in groups)
            found.append(Facet(name.capitalize(), "All", to(path, {**asked, name: None}), everything, False))
        for group in groups[:_MOST_NAMES]:
            title = language_name(group.name) if name == "language" else group.name
            address = to(path, {**asked, name: group.name})
            found.append(Facet(name.capitalize(), title, address, group.documents, group.name == active))
    return found


def language_name(tag: str) -> str:
    """The language's name in English where it is a common one, else its tag."""
    return _LANGUAGES.get(tag, tag)


def feed_id(here: str) -> str:
    """A feed's id: an IRI that stays, whatever the house is called on the network."""
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, here)}"


def document_id(document: Document) -> str:
    return f"urn:uuid:{document.id}"


def sayable(text: str, longest: int | None = None) -> str:
    """Without what XML has no place for, and no longer than a small screen's memory bears."""
    said = _UNSAYABLE.sub("\ufffd", text)
    return said if longest is None or len(said) <= longest else f"{said[: longest - 1]}…"


def title_of(document: Document) -> str:
    return sayable(" ".join(document.title.split()), _LONGEST_TITLE) or document.path.rpartition("/")[2]


def authors_of(document: Document) -> list[str]:
    return _names(document.authors)


def subjects_of(document: Document) -> list[str]:
    return _names(document.subjects)


def description_of(document: Document) -> str:
    return sayable(document.description.strip(), _LONGEST_DESCRIPTION)


def identifiers_of(document: Document) -> list[str]:
    """What the file states, as URNs and addresses: nothing else is an identifier to another program."""
    found = []
    for stated in document.identifiers[:_MOST_NAMES]:
        identifier = stated.strip()
        if isbn := _ISBN.fullmatch(identifier):
            found.append(f"urn:isbn:{isbn[1]}")
        elif uuid_ := _URN_UUID.fullmatch(identifier):
            found.append(f"urn:uuid:{uuid_[1].lower()}")
        elif _URI.fullmatch(identifier):
            found.append(identifier)
    return list(dict.fromkeys(found))


def language_of(document: Document) -> str | None:
    """The language if it is written as BCP 47 has it; books state all sorts of things."""
    tag = document.language or ""
    return tag if re.fullmatch(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*", tag) else None


def year_of(document: Document) -> str | None:
    return f"{document.year:04}" if document.year is not None and 0 < document.year < 10_000 else None


def file_href(document: Document) -> str:
    return f"/api/documents/{document.id}/file"


def file_type(document: Document) -> str:
    return media_type(document.path)


def cover_href(document: Document) -> str:
    return f"/api/documents/{document.id}/cover"


def cover_type(document: Document) -> str | None:
    """The type of a cover that clients can show, else None."""
    return picture_type(document.cover) if document.cover else None


def moment(time: datetime) -> str:
    """RFC 3339, in UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _names(names: Sequence[str]) -> list[str]:
    said = (sayable(" ".join(name.split()), _LONGEST_TITLE) for name in names[:_MOST_NAMES])
    return list(dict.fromkeys(name for name in said if name))
