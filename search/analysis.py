"""Analysis: from text to the terms that the lexical index holds.

One analyser for indexing, for queries and for highlighting, so that what is
marked in a snippet is exactly what was matched. Words are letters, digits and
combining marks; Han and Kana, which are written without spaces, are taken
character by character; then lower case, accents folded, English stems.
"""

from typing import NamedTuple

import tantivy

ANALYSER = "almanac_1"  # the name under which the index knows it; changes when the analysis does

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
_WORDS = rf"[{_UNSPACED}]|[\p{{L}}\p{{N}}\p{{M}}&&[^{_UNSPACED}]]+"
_LONGEST_WORD_BYTES = 60  # longer runs are encodings and keys, not words


class Term(NamedTuple):
    text: str
    start: int  # characters into the text that was analysed
    end: int


def analyser() -> tantivy.TextAnalyzer:
    """The analyser, to be registered under the name ANALYSER."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(_WORDS))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.remove_long(_LONGEST_WORD_BYTES))
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


_ANALYSER = analyser()


def terms(text: str) -> list[Term]:
    """The terms of `text` in order, each with where it stands."""
    tokens = _ANALYSER.pre_tokenize(text).tokens
    return [Term(token.text, token.char_offset_from, token.char_offset_to) for token in tokens]


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


def subject_terms(text: str) -> set[str]:
    """The distinct terms of `text` that carry a subject."""
    return {term.text for term in terms(text)} - FUNCTION_WORDS
