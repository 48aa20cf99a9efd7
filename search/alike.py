"""Alike: what makes one passage tell where its like is, and when two say the same.

Pure: texts in, words and verdicts out.
"""

from collections import Counter

from search.analysis import FUNCTION_WORDS, terms

# A query of that many words is as long as a long question; BM25 weighs them by their rarity.
_MOST_WORDS = 24
# Two passages that share this much of their vocabulary differ in punctuation, edition or page breaks.
_SAME = 0.8


def telling_words(text: str) -> list[str]:
    """The subject words of `text` as they stand in it, the most frequent first, equals in their order."""
    seen: dict[str, str] = {}
    count: Counter[str] = Counter()
    for term in terms(text):
        if term.text not in FUNCTION_WORDS and not term.text.isdigit():
            seen.setdefault(term.text, text[term.start : term.end])
            count[term.text] += 1
    return [seen[term] for term, _ in count.most_common(_MOST_WORDS)]


def vocabulary(text: str) -> frozenset[str]:
    return frozenset(term.text for term in terms(text))


def say_the_same(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two vocabularies are those of near-duplicates (Jaccard)."""
    return len(one & other) >= _SAME * len(one | other)
