"""Metadata: what a file says about itself, in the shape the record keeps.

What every format shares: identifiers, subjects, descriptions. Knows nothing
of where a file keeps them. Its hard rule: metadata is a courtesy and hostile
at once; it is cut to a length, stripped of markup, and never a reason to fail.
"""

import re
from collections.abc import Iterable, Sequence

from ingest.extract import html, markup
from ingest.extract.outline import Block, Heading, one_line
from library.errors import UnreadableFile

MAX_DESCRIPTION_CHARS = 2000
_MAX_SUBJECTS = 60
_MAX_SUBJECT_CHARS = 120
_MAX_IDENTIFIERS = 20
_MAX_IDENTIFIER_CHARS = 200
MAX_AUTHORS = 40

_ISBN_LETTERS = re.compile(r"[\s–—-]+")
_ISBN_PREFIX = re.compile(r"(?:urn:)?isbn(?:[-_ ]?1[03])?[:=\s]*", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+._-]{1,31}", re.IGNORECASE)
_UUID = re.compile(r"(?:urn:uuid:)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)
_MARKUP = re.compile(r"<[a-zA-Z/!][^<>]*>|&(?:#\d+|#x[0-9a-fA-F]+|\w+);")
_BETWEEN_WORDS = re.compile(r"[;,]\s*|\n+")


def isbn(text: str) -> str | None:
    """An ISBN as thirteen digits, whatever its punctuation; None if it is none, by its check digit."""
    digits = _ISBN_LETTERS.sub("", _ISBN_PREFIX.sub("", text.strip(), count=1)).upper()
    if not digits.isascii():
        return None
    if len(digits) == 10 and digits[:9].isdigit() and (digits[9].isdigit() or digits[9] == "X"):
        total = sum((10 - at) * (10 if digit == "X" else int(digit)) for at, digit in enumerate(digits))
        return None if total % 11 else _with_check_digit("978" + digits[:9])
    if len(digits) == 13 and digits.isdigit() and digits[:3] in {"978", "979"}:
        return digits if digits == _with_check_digit(digits[:12]) else None
    return None


def _with_check_digit(twelve: str) -> str:
    total = sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(twelve))
    return f"{twelve}{-total % 10}"


def identifier(text: str, scheme: str = "") -> str | None:
    """As "isbn:9780…", "urn:uuid:…", "scheme:value", or as it stands; None where there is nothing."""
    value = one_line(text)[:_MAX_IDENTIFIER_CHARS]
    if not any(map(str.isalnum, value)) or value.lower() in {"none", "unknown", "n/a", "0"}:
        return None
    scheme = one_line(scheme).lower()
    number = isbn(value) if "isbn" in scheme or _ISBN_PREFIX.match(value) or _could_be_isbn(value) else None
    if number:
        return f"isbn:{number}"
    unique = _UUID.fullmatch(value)
    if unique:
        return f"urn:uuid:{unique[1].lower()}"
    if _SCHEME.fullmatch(scheme) and not value.lower().startswith((scheme + ":", "urn:", "http:", "https:")):
        return f"{scheme}:{value}"
    return value


def identifiers(stated: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """(value, scheme) pairs, each said once, ISBNs first."""
    found = dict.fromkeys(said for value, scheme in stated if (said := identifier(value, scheme)))
    return tuple(sorted(found, key=lambda said: not said.startswith("isbn:"))[:_MAX_IDENTIFIERS])


def _could_be_isbn(value: str) -> bool:
    """Thirteen digits that begin like a book's, or ten in its four groups; ten alone may be any number."""
    return value[:3] in {"978", "979"} or len(_ISBN_LETTERS.findall(value)) == 3


def subjects(stated: Iterable[str]) -> tuple[str, ...]:
    """Each subject once, whatever its case, in the order they stand."""
    found: dict[str, str] = {}
    for text in stated:
        subject = one_line(text).strip(" .;,")
        if subject and len(subject) <= _MAX_SUBJECT_CHARS:
            found.setdefault(subject.casefold(), subject)
    return tuple(found.values())[:_MAX_SUBJECTS]


def keywords(text: str) -> list[str]:
    """The words of one field: "fire; water" or "fire, water"."""
    return [word for word in _BETWEEN_WORDS.split(text) if word.strip()]


def names(stated: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in order."""
    return tuple(dict.fromkeys(name for text in stated if (name := one_line(text))))[:MAX_AUTHORS]


def plain(text: str) -> str:
    """A description as plain text of at most 2,000 characters: markup gone, paragraphs kept."""
    text = text[: 20 * MAX_DESCRIPTION_CHARS]
    if _MARKUP.search(text):
        text = _without_markup(text)
    paragraphs = [one_line(paragraph) for paragraph in re.split(r"\n\s*\n", text)]
    text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
    if len(text) <= MAX_DESCRIPTION_CHARS:
        return text
    cut = text[: MAX_DESCRIPTION_CHARS - 1]
    return cut.rsplit(None, 1)[0].rstrip() + "…"


def _without_markup(text: str) -> str:
    # Some catalogues escape the markup, so that only reading it twice makes text of it.
    for _ in range(2):
        try:
            root = markup.parse(f"<html><body>{text}</body></html>")
        except UnreadableFile:
            return ""
        found: Sequence[object] = html.events(root)
        text = "\n\n".join(event.text for event in found if isinstance(event, Block | Heading))
        if not re.search(r"</?(?:p|div|br|b|i|em|strong|span|a|ul|li)\b[^<>]*>", text):
            break
    return text
