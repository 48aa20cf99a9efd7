"""The query: what a reader typed, taken apart.

Values only at the top; `parse` turns text into them and never fails: what it
cannot make sense of is searched as plain words, and `notices` say so. What is
no operator to a person (a dash, a time, an address, C++) is none here. Knows
neither index.
"""

import enum
import re
from collections.abc import Mapping
from difflib import get_close_matches

import msgspec

from search.scanning import Lexeme, cleaned, lexemes


class Field(enum.StrEnum):
    """Where a term has to stand."""

    ANY = "any"  # text, headings or title
    TITLE = "title"
    AUTHOR = "author"


class Term(msgspec.Struct, frozen=True):
    """One word or phrase, as it was typed; each index analyses it itself."""

    text: str
    field: Field = Field.ANY
    phrase: bool = False  # its words in this order, side by side
    prefix: bool = False  # every word that begins so


class Clause(msgspec.Struct, frozen=True):
    """Terms of which any one will do. Neither required nor excluded: it only adds to the score."""

    any_of: tuple[Term, ...]
    required: bool = False
    excluded: bool = False


class Filters(msgspec.Struct, frozen=True):
    """What a document has to be. Within a tuple any one will do; an empty tuple asks for nothing."""

    shelves: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()  # "en" also takes "en-gb"
    formats: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    after: int | None = None  # the year, itself included
    before: int | None = None  # the year, itself included


class Query(msgspec.Struct, frozen=True):
    text: str  # what is embedded: the words that are wanted, without operators
    clauses: tuple[Clause, ...] = ()
    filters: Filters = Filters()
    notices: tuple[str, ...] = ()  # sentences: what was not understood
    typed: str = ""  # all of it, as far as it was searched for


# A question has a few dozen words. What is longer is a pasted page; its beginning says enough.
MOST_TERMS = 64
_MOST_CHARACTERS = 2_000
_SHORTEST_PREFIX = 2

_FIELDS = {
    "title": "title", "intitle": "title", "author": "author", "by": "author",
    "shelf": "shelf", "lang": "lang", "language": "lang", "type": "type", "format": "type", "filetype": "type",
    "tag": "tag", "subject": "tag", "after": "after", "before": "before",
}  # fmt: skip
# Fields that readers know from elsewhere; met here, they hear that there is no such field.
_FOREIGN = frozenset(
    [
        "site",
        "inurl",
        "intext",
        "allintitle",
        "isbn",
        "publisher",
        "series",
        "date",
        "year",
        "genre",
        "category",
        "cat",
    ]
)
_FORMATS = {
    "epub": "epub", "ebook": "epub", "pdf": "pdf", "markdown": "markdown", "md": "markdown",
    "text": "text", "txt": "text", "html": "html", "htm": "html", "xhtml": "html",
}  # fmt: skip
_LANGUAGES = {
    "english": "en", "german": "de", "deutsch": "de", "french": "fr", "français": "fr", "spanish": "es",
    "español": "es", "italian": "it", "italiano": "it", "portuguese": "pt", "português": "pt", "dutch": "nl",
    "nederlands": "nl", "russian": "ru", "русский": "ru", "arabic": "ar", "chinese": "zh", "japanese": "ja",
    "korean": "ko", "polish": "pl", "swedish": "sv", "turkish": "tr", "greek": "el", "hebrew": "he",
}  # fmt: skip
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8}){0,3}")
_YEAR = re.compile(r"(\d{3,4})(?:-\d{1,2}){0,2}")


def parse(typed: str, *, formats: Mapping[str, str] = _FORMATS) -> Query:
    """Take a query apart. Never raises; time is linear in what was typed.

    `formats` maps what may stand behind `type:` to the format that is meant.
    """
    text = cleaned(typed[: 4 * _MOST_CHARACTERS])
    parsing = _Parsing(formats)
    if len(typed) > 4 * _MOST_CHARACTERS or len(text) > _MOST_CHARACTERS:
        text = text[:_MOST_CHARACTERS]
        parsing.say(f"Only the first {_MOST_CHARACTERS:,} characters were searched for.")
    shouting = _is_shouted(text)
    for lexeme in lexemes(text):
        if parsing.terms >= MOST_TERMS:
            parsing.say(f"Only the first {MOST_TERMS} words were searched for.")
            break
        parsing.take(lexeme, shouting=shouting)
    return parsing.query(text)


class _Parsing:
    """One query on its way from lexemes to clauses."""

    def __init__(self, formats: Mapping[str, str]) -> None:
        self._formats = formats
        self._clauses: list[Clause] = []
        self._wanted: list[str] = []
        self._filters: dict[str, dict[str, None]] = {}
        self._after: int | None = None
        self._before: int | None = None
        self._notices: dict[str, None] = {}
        self._or: Lexeme | None = None  # an OR that still wants its right side
        self._last: str = ""  # what stood before: "clause", a filter's name, or ""
        self.terms = 0

    def say(self, sentence: str) -> None:
        self._notices.setdefault(sentence)

    def take(self, lexeme: Lexeme, *, shouting: bool) -> None:
        if lexeme.typed == "OR" and not shouting:
            if self._or is not None or not self._last:
                self._misplaced_or(lexeme)
            else:
                self._or = lexeme
            return
        if lexeme.open_ended:
            self.say(
                f"A quotation mark at “{_short(lexeme.typed)}” has no partner; its words were searched one by one."
            )
        if lexeme.typed == "-":
            self.say("A lone “-” leaves nothing out; put it right before a word to search without that word.")
            return
        field = _FIELDS.get(lexeme.field, "")
        if lexeme.field and not field:
            self._unknown_field(lexeme)
        elif field and not lexeme.text:
            self._plain(
                lexeme,
                f"Nothing stands behind “{lexeme.field}:”; write it without a space, as in {_EXAMPLES[field]}.",
            )
        elif field in ("", "title", "author"):
            self._term(lexeme, Field(field) if field else Field.ANY)
        elif lexeme.minus:
            self._plain(
                lexeme, f"“-{lexeme.field}:” is not possible, only words, phrases and titles can be left out."
            )
        else:
            self._filter(lexeme, field)

    def query(self, typed: str) -> Query:
        if self._or is not None:
            self._misplaced_or(self._or)
        text = " ".join(" ".join(self._wanted).split())
        filters = Filters(
            shelves=tuple(self._filters.get("shelf", ())),
            languages=tuple(self._filters.get("lang", ())),
            formats=tuple(self._filters.get("type", ())),
            subjects=tuple(self._filters.get("tag", ())),
            after=self._after,
            before=self._before,
        )
        return Query(text, tuple(self._clauses), filters, tuple(self._notices), typed)

    def _term(self, lexeme: Lexeme, field: Field) -> None:
        prefix = not lexeme.quoted and _is_prefix(lexeme.text)
        term = Term(lexeme.text.rstrip("*") if prefix else lexeme.text, field, lexeme.quoted, prefix)
        if not any(character.isalnum() for character in term.text):
            if lexeme.quoted or lexeme.minus:
                return  # an empty phrase asks for nothing
            # A sign alone is no term, but the embedder may know what it means.
            self._wanted.append(lexeme.typed)
            return
        self.terms += 1
        if self._or is not None and not lexeme.minus and self._last == "clause":
            earlier = self._clauses.pop()
            self._clauses.append(Clause((*earlier.any_of, term), required=True))
        else:
            if self._or is not None:
                self._misplaced_or(self._or)
            required = not lexeme.minus and (term.phrase or field is not Field.ANY)
            self._clauses.append(Clause((term,), required=required, excluded=lexeme.minus))
        self._or = None
        self._last = "excluded" if lexeme.minus else "clause"
        if not lexeme.minus and field is not Field.AUTHOR:
            self._wanted.append(term.text)

    def _filter(self, lexeme: Lexeme, field: str) -> None:
        value = " ".join(lexeme.text.split())
        if field in ("after", "before"):
            year = _YEAR.fullmatch(value)
            if year is None:
                self._plain(
                    lexeme,
                    f"“{lexeme.field}:” wants a year, as in {_EXAMPLES[field]}; “{_short(value)}” is none.",
                )
                return
            if field == "after":
                self._after = max(int(year[1]), self._after or 0)
            else:
                self._before = min(int(year[1]), self._before or 9999)
        else:
            meant = self._meant(field, value)
            if meant is None:
                self._plain(
                    lexeme,
                    f"“{lexeme.field}:{_short(value)}” is not known; write it as in {_EXAMPLES[field]}.",
                )
                return
            self._filters.setdefault(field, {})[meant] = None
        if self._or is not None and self._last != field:
            self._misplaced_or(self._or)
        self._or, self._last = None, field

    def _meant(self, field: str, value: str) -> str | None:
        if field == "type":
            return self._formats.get(value.lower().lstrip("."))
        if field == "lang":
            language = _LANGUAGES.get(value.lower(), value.lower().replace("_", "-"))
            return language if _LANGUAGE.fullmatch(language) else None
        return value

    def _unknown_field(self, lexeme: Lexeme) -> None:
        # Most words with a colon are no fields: "Chapter:", "note:this", "mailto:someone".
        near = get_close_matches(lexeme.field, _FIELDS, n=1, cutoff=0.75)
        if lexeme.text and (near or lexeme.field in _FOREIGN):
            meant = (
                f"“{near[0]}:”" if near else "title:, author:, shelf:, lang:, type:, tag:, after: or before:"
            )
            self.say(f"There is no field “{lexeme.field}:”, it was searched as a word. Did you mean {meant}?")
        self._plain(lexeme)

    def _plain(self, lexeme: Lexeme, notice: str = "") -> None:
        """Search for what was typed as words, whatever it was meant to be."""
        if notice:
            self.say(notice)
        self._term(Lexeme(_plainly(lexeme), lexeme.typed), Field.ANY)

    def _misplaced_or(self, lexeme: Lexeme) -> None:
        self._or = None
        self.terms += 1
        self.say("“OR” joins the words on its two sides; here one is missing, and it was searched as a word.")
        self._clauses.append(Clause((Term(lexeme.text),)))
        self._wanted.append(lexeme.typed)


_EXAMPLES = {
    "title": "title:cabin", "author": "author:london", "shelf": "shelf:water", "lang": "lang:de",
    "type": "type:epub", "tag": "tag:medicine", "after": "after:2019", "before": "before:2019",
}  # fmt: skip


def _is_shouted(text: str) -> bool:
    """Whether it is written in capitals throughout, so that an OR in it joins nothing."""
    words = [word for word in text.split() if word != "OR"]
    return len(words) > 4 and text.upper() == text != text.lower()


def _is_prefix(text: str) -> bool:
    stem = text[:-1]
    return text.endswith("*") and "*" not in stem and len(stem) >= _SHORTEST_PREFIX and stem[-1].isalnum()


def _plainly(lexeme: Lexeme) -> str:
    return lexeme.typed.lstrip("([{-−")


def _short(text: str, longest: int = 40) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def plain_query(text: str, shelf: str | None = None) -> Query:
    """The words of a text, of a long one the first. Marks in it are its writer's own: nothing is an operator."""
    words = text[:_MOST_CHARACTERS].split()
    filters = Filters(shelves=(shelf,) if shelf else ())
    return Query(" ".join(words), tuple(Clause((Term(word),)) for word in words), filters)
