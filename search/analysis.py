"""Analysis: from text to the terms that the lexical index holds.

One analysis for indexing, for queries and for highlighting, so that what is
marked in a snippet is exactly what was matched. Words are letters, digits and
combining marks, in lower case, stemmed in the language of their document,
accents folded. Scripts without spaces between words (Han, Kana, Thai, ...) are
taken character by character, and the index holds each pair of neighbours, too.

Its hard rule: a term says which analysis made it. English ones stand as they
are, German ones as "de:wass", so that no stem of one language meets a word of
another.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import tantivy

# The name under which the index knows the English analysis; it changes when any analysis does.
ANALYSER = "almanac_2"
SURFACE = "surface_2"  # words as they stand, folded: for prefixes, spelling and names

ENGLISH = "en"  # also of documents that do not say what they are written in
_UNSTEMMED = "x"  # of languages without a stemmer
_STEMMERS = {
    "ar": "arabic", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "fi": "finnish", "fr": "french", "hu": "hungarian", "it": "italian", "nb": "norwegian", "nl": "dutch",
    "nn": "norwegian", "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian",
    "sv": "swedish", "ta": "tamil", "tr": "turkish",
}  # fmt: skip
_WITH_STOP_WORDS = frozenset(
    ["da", "nl", "en", "fi", "fr", "de", "hu", "it", "nb", "nn", "no", "pt", "ru", "es", "sv"]
)

# Kana with its long-vowel mark, Han, Hangul (its particles hang on the word), Thai, Lao, Myanmar, Khmer.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3038-\u303b"
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_SPACED_WORDS = rf"[\p{{L}}\p{{N}}\p{{M}}&&[^{_UNSPACED}]]+"
_WORDS = rf"[{_UNSPACED}&&[\p{{L}}\p{{N}}\p{{M}}]]\p{{M}}*|{_SPACED_WORDS}"
_LONGEST_WORD_BYTES = 60  # longer runs are encodings and keys, not words


class Term(NamedTuple):
    text: str
    start: int  # characters into the text that was analysed
    end: int


def family(language: str | None) -> str:
    """Which analysis a language gets: of BCP 47 lowercase, or None where it is not known."""
    if not language:
        return ENGLISH
    base = language.partition("-")[0]
    return ("no" if base in ("nb", "nn") else base) if base in _STEMMERS else _UNSTEMMED


def analyser() -> tantivy.TextAnalyzer:
    """The English analyser, to be registered under the name ANALYSER."""
    return _analyser(ENGLISH)


def surface_analyser() -> tantivy.TextAnalyzer:
    """Spaced words, folded but not stemmed, to be registered under the name SURFACE."""
    return _folded_words(_SPACED_WORDS).build()


def terms(text: str, language: str | None = None) -> list[Term]:
    """The terms of `text` in order, each with where it stands; `language` is its document's."""
    return _terms(text, family(language))


def for_index(text: str, language: str | None) -> str | tantivy.PreTokenizedString:
    """What is given to a field of the analyser ANALYSER, so that it holds this language's terms."""
    text = unicodedata.normalize("NFC", text)
    group = family(language)
    if group == ENGLISH and not _IS_UNSPACED.search(text):
        return text
    tokens = [
        tantivy.Token(token.text, token.position, token.start, token.end)
        for token in _with_pairs(_placed(text, group))
    ]
    return tantivy.PreTokenizedString(text, tokens)


class Placed(NamedTuple):
    """A term with its position among the words."""

    text: str
    position: int
    start: int
    end: int


def query_terms(text: str, group: str, *, pairs: bool = True) -> list[Placed]:
    """The terms of a query's word or phrase in one family; without `pairs`, those that stand in a row."""
    text = unicodedata.normalize("NFC", text)
    placed = _placed(text, group)
    return _with_pairs(placed) if pairs else placed


def surface(text: str) -> list[str]:
    """The spaced words of a query, folded as the index holds them under SURFACE."""
    return list(_SURFACE.analyze(unicodedata.normalize("NFC", text)))


def is_stop_word(word: str, group: str) -> bool:
    """Whether a word says nothing in that language."""
    stops = _stop_words(group)
    return stops is not None and not stops.analyze(word)


def folded(name: str) -> str:
    """A name without case and accents, one space between its words: what filters compare."""
    bare = unicodedata.normalize("NFKD", " ".join(name.split()).casefold())
    return "".join(character for character in bare if not unicodedata.combining(character))


def _folded_words(pattern: str) -> tantivy.TextAnalyzerBuilder:
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(pattern))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.remove_long(_LONGEST_WORD_BYTES))
    )


@functools.cache
def _analyser(group: str) -> tantivy.TextAnalyzer:
    if group == ENGLISH:
        return _folded_words(_WORDS).filter(tantivy.Filter.stemmer("english")).build()
    if group == _UNSTEMMED:
        return _folded_words(_WORDS).build()
    # Accents go last: most stemmers know endings by them.
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(_WORDS))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.remove_long(_LONGEST_WORD_BYTES))
        .filter(tantivy.Filter.stemmer(_STEMMERS[group]))
        .filter(tantivy.Filter.ascii_fold())
        .build()
    )


@functools.cache
def _stop_words(group: str) -> tantivy.TextAnalyzer | None:
    if group not in _WITH_STOP_WORDS:
        return None
    lowered = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(_WORDS)).filter(tantivy.Filter.lowercase())
    return lowered.filter(tantivy.Filter.stopword(_STEMMERS[group])).build()


_SURFACE = surface_analyser()


def _placed(text: str, group: str) -> list[Placed]:
    tag = "" if group == ENGLISH else f"{group}:"
    return [
        Placed(
            token.text if _IS_UNSPACED.match(token.text) else tag + token.text,
            token.position,
            token.char_offset_from,
            token.char_offset_to,
        )
        for token in _analyser(group).pre_tokenize(text).tokens
    ]


def _with_pairs(placed: Sequence[Placed]) -> list[Placed]:
    """The same terms, and behind each that stands right before another of an unspaced script, the two as one."""
    paired: list[Placed] = []
    for at, term in enumerate(placed):
        paired.append(term)
        if not _IS_UNSPACED.match(term.text) or at + 1 == len(placed):
            continue
        after = placed[at + 1]
        if after.start == term.end and _IS_UNSPACED.match(after.text):
            paired.append(Placed(term.text + after.text, term.position, term.start, after.end))
    return paired


def _terms(text: str, group: str) -> list[Term]:
    if unicodedata.is_normalized("NFC", text):
        return [Term(term.text, term.start, term.end) for term in _placed(text, group)]
    # Composing would move every place: so word by word.
    found: list[Term] = []
    for term in _placed(text, _UNSTEMMED):
        composed = _placed(unicodedata.normalize("NFC", text[term.start : term.end]), group)
        found += [Term(one.text, term.start, term.end) for one in composed]
    return found


# Words that carry no subject. They still count in the lexical score (where
# BM25 gives them next to nothing), but a snippet that marks them, or an answer
# that claims support from them, would mislead.
FUNCTION_WORDS = frozenset(
    term.text
    for term in terms(
        "a about after all also am an and any are as at be because been before being between both but by can "
        "could did do does doing don down during each few for from further had has have having he her here "
        "hers him his how i if in into is it its just let many may me might more most much must my no nor not "
        "now of off on once one only or other our out over own per same shall she should so some such than "
        "that the their them then there these they this those through to too under until up upon us use used "
        "very was we were what when where which while who whom why will with would you your s t"
    )
)


def subject_terms(text: str, language: str | None = None) -> set[str]:
    """The distinct terms of `text` that carry a subject."""
    group = family(language)
    if group == ENGLISH:
        return {term.text for term in terms(text)} - FUNCTION_WORDS
    return {
        term.text for term in terms(text, language) if not is_stop_word(text[term.start : term.end], group)
    }
