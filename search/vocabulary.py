"""The vocabulary: the words of one state of the lexical index, how frequent each is, what resembles it.

A state of an index never changes, so whatever was asked of it once is
remembered for as long as it serves: a query is weighed, checked for mistakes
and marked by the same words, and one house asks for the same words again.
Its hard rule: what is remembered is bounded.
"""

from collections.abc import Sequence

import tantivy

from search.spelling import Near, near

# Some megabytes at most: a name and a number each.
_MOST_FREQUENCIES, _MOST_NEAR = 32_768, 1_024


class Vocabulary:
    def __init__(self, searcher: tantivy.Searcher) -> None:
        self._searcher = searcher
        self.chunks = searcher.num_docs
        self._frequencies: dict[tuple[str, str], int] = {}
        self._resembling: dict[str, Sequence[Near]] = {}

    def frequency(self, field: str, term: str) -> int:
        """In how many chunks the term stands in that field, those not yet merged away included."""
        found = self._frequencies.get((field, term))
        if found is None:
            found = self._searcher.doc_freq(field, term)
            if len(self._frequencies) >= _MOST_FREQUENCIES:
                self._frequencies.clear()
            self._frequencies[field, term] = found
        return found

    def beginning(self, prefix: str, most: int) -> list[tuple[str, int]]:
        """Words as they stand that begin so, each with its frequency, the most frequent first."""
        return self._searcher.terms_with_prefix("words", prefix, limit=most)

    def near(self, word: str) -> Sequence[Near]:
        """What resembles a word, best first; see `search.spelling`."""
        found = self._resembling.get(word)
        if found is None:
            found = near(word, self._searcher)
            if len(self._resembling) >= _MOST_NEAR:
                self._resembling.clear()
            self._resembling[word] = found
        return found
