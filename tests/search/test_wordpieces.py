"""Word pieces are counted as the tokeniser counts them, whoever does the counting."""

from collections.abc import Callable, Sequence

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from search.embedder import TOKENIZER_FILE, TokenCounter
from search.wordpieces import PieceCounts
from tests.places import embedding_model

Count = Callable[[Sequence[str]], list[int]]

# Everything that BERT's normaliser and pre-tokeniser treat in a way of their own.
HARD = [
    *"aZ9 .,-[]_!“”’—…、。「·é\u0301\u00adİßΣ山路がか\u3099ー한ﬁ①²\u200b\x00\x07\x1c\t\u00a0\u2028🔥",
    "[SEP]",
    "[CLS",
    "ing",
    "water",
]


@pytest.fixture(scope="module")
def counters() -> tuple[Count, Count]:
    folder = embedding_model()
    real = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    real.no_truncation()
    real.no_padding()

    def asked(texts: Sequence[str]) -> list[int]:
        return [len(one.ids) for one in real.encode_batch(list(texts), add_special_tokens=False)]

    return TokenCounter(folder), asked


@pytest.mark.models
@settings(max_examples=500)
@given(st.lists(st.one_of(st.lists(st.sampled_from(HARD)).map("".join), st.text()), max_size=4))
def test_any_text_costs_what_the_tokenizer_says(counters: tuple[Count, Count], texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    ours, asked = counters
    assert ours(texts) == asked(texts)


def test_another_kind_of_tokenizer_is_asked_for_everything() -> None:
    letters = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "-": 1, "?": 2}, unk_token="?"))
    letters.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    assert PieceCounts(letters)(["a-a", "", "water"]) == [3, 0, 5]


def test_what_is_known_is_not_asked_again() -> None:
    real = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({"[UNK]": 0, "boil": 1, "##ing": 2}, unk_token="[UNK]")
    )
    real.normalizer = tokenizers.normalizers.BertNormalizer()
    real.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    counts = PieceCounts(real)
    assert counts(["Boiling,boil!"]) == [5]
    assert counts(["boil Boiling", "Boiling"]) == [3, 2]
