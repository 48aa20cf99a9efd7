"""Vocabulary: a model's tokens, from text and back to it.

For engines that cannot do it themselves: ctransformers' own tokenizer dies at a
byte that a byte-level vocabulary has no token for, and knows no control tokens.
Byte-level vocabularies are read with the `tokenizers` library, SentencePiece
ones by a function of the engine's. Knows no templates.

A text may hold control tokens by their names (`<|im_end|>`): a chat template
writes them so.
"""

import re
from collections.abc import Callable

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split

from llm.model_files.byte_alphabet import as_letters
from llm.model_files.contents import Contents

# tokenizer.ggml.token_type
_NORMAL, _CONTROL, _USER_DEFINED, _BYTE = 1, 3, 4, 6
# Control tokens that end an answer, whatever the file calls its end: a chat model
# is taught one, and its file often still names the other (llama.cpp's list).
_ENDS = frozenset(
    {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "<end_of_turn>", "</s>"}
)
# More fits into no context, and is cut only to be counted: 3 million letters at once
# took 500 MB, and a cut between two tokens more or less changes no refusal.
_SLICE_CHARACTERS = 2**19
_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Vocabulary:
    def __init__(self, model: Contents, sentence_pieces: Callable[[str], list[int]]) -> None:
        """`sentence_pieces` is the engine's own tokenizer; it sees no control token and no null byte.

        Raises ValueError if the tokens and merges do not belong together.
        """
        tokens = model.strings("tokenizer.ggml.tokens")
        types = [int(kind) for kind in model.values["tokenizer.ggml.token_type"].numbers()]
        named = {
            token.decode("utf-8", "replace"): at
            for at, (token, kind) in enumerate(zip(tokens, types, strict=True))
            if kind in {_CONTROL, _USER_DEFINED} and token
        }
        self._byte_level = model.text("tokenizer.ggml.model") == "gpt2"
        self._pieces = [self._piece(token, kind) for token, kind in zip(tokens, types, strict=True)]
        self.size = len(tokens)
        self._opening = self._opening_token(model)
        self.ends = frozenset({self._special(model, "eos"), self._special(model, "eot")} - {None}) | {
            named[text] for text in _ENDS & named.keys()
        }
        self._encode = (
            _byte_level(model, tokens, types) if self._byte_level else _split(named, sentence_pieces)
        )
        self.opening_text = self._text_of(tokens, self._special(model, "bos"))
        self.closing_text = self._text_of(tokens, self._special(model, "eos"))

    def tokens(self, text: str) -> list[int]:
        """With the model's opening token before it, if it wants one and the text does not bring it."""
        slices = range(0, len(text), _SLICE_CHARACTERS)
        tokens = [token for at in slices for token in self._encode(text[at : at + _SLICE_CHARACTERS])]
        if self._opening is not None and tokens[:1] != [self._opening]:
            return [self._opening, *tokens]
        return tokens

    def piece(self, token: int) -> bytes:
        """What a token adds to a text: often half a letter, nothing for a control token."""
        return self._pieces[token] if 0 <= token < self.size else b""

    def _piece(self, token: bytes, kind: int) -> bytes:
        if kind in {_NORMAL, _USER_DEFINED}:
            return token if self._byte_level else token.replace("▁".encode(), b" ")
        if kind == _BYTE and (byte := re.fullmatch(rb"<0x([0-9A-F]{2})>", token)):
            return bytes.fromhex(byte[1].decode())
        return b""

    def _opening_token(self, model: Contents) -> int | None:
        wanted = model.whole("tokenizer.ggml.add_bos_token")
        if wanted is None:  # the file does not say: SentencePiece models were taught with it
            wanted = not self._byte_level
        return self._special(model, "bos") if wanted else None

    def _special(self, model: Contents, name: str) -> int | None:
        given = model.whole(f"tokenizer.ggml.{name}_token_id")
        default = None if self._byte_level else {"bos": 1, "eos": 2}.get(name)
        return given if given is not None and 0 <= given < len(self._pieces) else default

    @staticmethod
    def _text_of(tokens: list[bytes], token: int | None) -> str:
        return "" if token is None else tokens[token].decode("utf-8", "replace")


def _split(named: dict[str, int], sentence_pieces: Callable[[str], list[int]]) -> Callable[[str], list[int]]:
    """Control tokens by their names, what is between them by the engine."""
    longest_first = sorted(named, key=len, reverse=True)
    between = re.compile(f"({'|'.join(map(re.escape, longest_first))})" if named else r"(\Z.)")

    def encode(text: str) -> list[int]:
        found: list[int] = []
        for at, part in enumerate(between.split(text.replace("\0", ""))):
            if at % 2:
                found.append(named[part])
            elif part:
                found += sentence_pieces(part)
        return found

    return encode


def _byte_level(model: Contents, tokens: list[bytes], types: list[int]) -> Callable[[str], list[int]]:
    """With the merges as they were published, in letters, which `llm.engines.ctransformers.convert` keeps."""
    vocabulary = {
        as_letters(token) if kind == _NORMAL else token.decode("utf-8", "replace"): at
        for at, (token, kind) in enumerate(zip(tokens, types, strict=True))
    }
    merges = []
    for merge in model.strings("almanac.merges"):
        left, _, right = merge.decode("utf-8", "replace").partition(" ")
        if left in vocabulary and right in vocabulary and left + right in vocabulary:
            merges.append((left, right))
    try:
        tokenizer = Tokenizer(BPE(vocabulary, merges))
    except Exception as error:  # the library raises no narrower one
        raise ValueError("its tokens and merges do not belong together") from error
    tokenizer.pre_tokenizer = _cuts(model.text("tokenizer.ggml.pre"))
    tokenizer.add_special_tokens(
        [
            AddedToken(token.decode("utf-8", "replace"), normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if kind in {_CONTROL, _USER_DEFINED} and token
        ]
    )
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def _cuts(name: str) -> PreTokenizer:
    """Where words end before pieces are merged. An unknown name is cut as GPT-2 was: near enough to be read."""
    match name:
        case "smollm" | "starcoder" | "refact" | "command-r":
            return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
        case "llama-bpe" | "llama-v3" | "llama3" | "smaug-bpe":
            letters = ByteLevel(add_prefix_space=False, use_regex=False)
            return Sequence([Split(Regex(_LLAMA_3), "isolated"), letters])
        case _:
            return ByteLevel(add_prefix_space=False)
