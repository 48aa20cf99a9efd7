"""Word pieces: how many of a tokeniser's a text costs, asking the tokeniser for little.

BERT's tokenisers cut at every punctuation mark and around every ideograph,
whatever stands beside them, and a run of letters that is in the vocabulary is
one piece. So most of a book is looked up, and the tokeniser reads only the
runs that are new and rare. Knows no model and no file. Its hard rule: the
count is the tokeniser's own, for every text; a tokeniser of another kind is
asked for all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers

_KNOWN_RUNS = 100_000  # remembered with their counts; some 10 MiB
# Only marks and ideographs that Unicode and BERT have always called so. What is not named here
# stays in a run, and the tokeniser cuts that itself.
_APART = r"!-/:-@\[-`{-~" + "«»·–—‘’‚“”„•…、。「」" + "㐀-䶿一-鿿"


class PieceCounts:
    """Counts texts. Not safe for threads: it remembers."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, int] = {}
        self._parts: re.Pattern[str] | None = None
        self._whole: frozenset[str] = frozenset()
        if (
            type(tokenizer.pre_tokenizer).__name__ == "BertPreTokenizer"
            and type(tokenizer.normalizer).__name__ == "BertNormalizer"
            and tokenizer.normalizer.lowercase
            and tokenizer.normalizer.handle_chinese_chars
        ):
            # "[SEP]" written in a book is one piece, brackets and all.
            added = "".join(
                f"{re.escape(token.content)}|" for token in tokenizer.get_added_tokens_decoder().values()
            )
            self._parts = re.compile(f"{added}[{_APART}]|[^{_APART}]+")
            self._whole = frozenset(
                word for word in tokenizer.get_vocab() if word.isascii() and word.isalnum()
            )

    def __call__(self, texts: Sequence[str]) -> list[int]:
        if self._parts is None:
            return self._ask(texts)
        split = [self._parts.findall(text) for text in texts]
        parts: set[str] = set().union(*split)
        if len(self._known) > _KNOWN_RUNS:
            self._known.clear()
        unknown = parts.difference(self._known)
        rare = [part for part in unknown if not (part.isascii() and part.lower() in self._whole)]
        self._known.update(dict.fromkeys(unknown, 1))
        self._known.update(zip(rare, self._ask(rare), strict=True))
        known = self._known.__getitem__
        return [sum(map(known, parts)) for parts in split]

    def _ask(self, texts: Sequence[str]) -> list[int]:
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encoded]
