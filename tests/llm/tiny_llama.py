"""A llama model small enough for a test: real in every part, and with nothing learnt.

256 bytes, a few words, one layer; SentencePiece's kind of vocabulary, as Llama 2
had, or the byte-level kind.
"""

import random
import struct
from collections.abc import Callable, Iterable

from llm.model_files.byte_alphabet import LETTER
from tests.llm.gguf_files import ARRAY, F32, STRING, counted, gguf, key, said, tensor, text

WIDTH, INNER, CONTEXT = 32, 64, 256
FLOAT32, INT32 = 6, 5
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
WORDS = ("▁water", "▁is", "▁a", "at", "er", "te", "▁")
TEMPLATE = "{% for m in messages %}{{ bos_token }}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"

SENTENCE_PIECES = [
    ("<unk>", _UNKNOWN),
    ("<s>", _CONTROL),
    ("</s>", _CONTROL),
    *((f"<0x{byte:02X}>", _BYTE) for byte in range(256)),
    *((word, _NORMAL) for word in WORDS),
    *((letter, _NORMAL) for letter in "abcdefghijklmnopqrstuvwxyz"),
]
BYTE_LEVEL = [
    ("<|endoftext|>", _CONTROL),
    ("<|im_start|>", _CONTROL),
    ("<|im_end|>", _CONTROL),
    *((LETTER[byte], _NORMAL) for byte in range(256)),
    ("Ġw", _NORMAL),
    ("at", _NORMAL),
    ("Ġwat", _NORMAL),
]
MERGES = ("Ġ w", "a t", "Ġw at")


def strings(name: str, values: Iterable[str]) -> bytes:
    listed = [text(value) for value in values]
    return key(name, ARRAY, struct.pack("<IQ", STRING, len(listed)) + b"".join(listed))


def numbers(name: str, kind: int, values: Iterable[float]) -> bytes:
    listed = list(values)
    form = "f" if kind == FLOAT32 else "i"
    return key(name, ARRAY, struct.pack(f"<IQ{len(listed)}{form}", kind, len(listed), *listed))


def real(name: str, value: float) -> bytes:
    return key(name, FLOAT32, struct.pack("<f", value))


def keys(vocabulary: list[tuple[str, int]] = SENTENCE_PIECES) -> dict[str, bytes]:
    """By name, so that a test can leave one out or put another in its place."""
    byte_level = vocabulary is BYTE_LEVEL
    made = {
        "general.architecture": said("general.architecture", "llama"),
        "general.file_type": counted("general.file_type", 0),
        "llama.context_length": counted("llama.context_length", CONTEXT),
        "llama.embedding_length": counted("llama.embedding_length", WIDTH),
        "llama.block_count": counted("llama.block_count", 1),
        "llama.feed_forward_length": counted("llama.feed_forward_length", INNER),
        "llama.attention.head_count": counted("llama.attention.head_count", 2),
        "llama.attention.head_count_kv": counted("llama.attention.head_count_kv", 1),
        "llama.rope.dimension_count": counted("llama.rope.dimension_count", WIDTH // 2),
        "llama.attention.layer_norm_rms_epsilon": real("llama.attention.layer_norm_rms_epsilon", 1e-5),
        "tokenizer.ggml.model": said("tokenizer.ggml.model", "gpt2" if byte_level else "llama"),
        "tokenizer.ggml.tokens": strings("tokenizer.ggml.tokens", (token for token, _ in vocabulary)),
        "tokenizer.ggml.token_type": numbers(
            "tokenizer.ggml.token_type", INT32, (kind for _, kind in vocabulary)
        ),
        "tokenizer.ggml.bos_token_id": counted("tokenizer.ggml.bos_token_id", 1),
        "tokenizer.ggml.eos_token_id": counted("tokenizer.ggml.eos_token_id", 2),
        "tokenizer.chat_template": said("tokenizer.chat_template", TEMPLATE),
    }
    if byte_level:
        made["tokenizer.ggml.merges"] = strings("tokenizer.ggml.merges", MERGES)
    else:
        scores = (-float(at) for at in range(len(vocabulary)))
        made["tokenizer.ggml.scores"] = numbers("tokenizer.ggml.scores", FLOAT32, scores)
    return made


def shapes(vocabulary: list[tuple[str, int]] = SENTENCE_PIECES) -> dict[str, tuple[int, ...]]:
    return {
        "token_embd.weight": (WIDTH, len(vocabulary)),
        "blk.0.attn_norm.weight": (WIDTH,),
        "blk.0.attn_q.weight": (WIDTH, WIDTH),
        "blk.0.attn_k.weight": (WIDTH, WIDTH // 2),
        "blk.0.attn_v.weight": (WIDTH, WIDTH // 2),
        "blk.0.attn_output.weight": (WIDTH, WIDTH),
        "blk.0.ffn_norm.weight": (WIDTH,),
        "blk.0.ffn_gate.weight": (WIDTH, INNER),
        "blk.0.ffn_down.weight": (INNER, WIDTH),
        "blk.0.ffn_up.weight": (WIDTH, INNER),
        "output_norm.weight": (WIDTH,),
        "output.weight": (WIDTH, len(vocabulary)),
    }


def tiny_llama(
    vocabulary: list[tuple[str, int]] = SENTENCE_PIECES,
    change: Callable[[dict[str, bytes], dict[str, tuple[int, ...]]], None] = lambda _keys, _shapes: None,
    *,
    version: int = 2,
) -> bytes:
    """The whole file, after `change` has had its way with the keys and the shapes of the tensors."""
    said_of, formed = keys(vocabulary), shapes(vocabulary)
    change(said_of, formed)
    dice = random.Random(1)
    tensors, data = [], b""
    for name, shape in formed.items():
        count = 1
        for length in shape:
            count *= length
        tensors.append(tensor(name, shape, F32, len(data)))
        weights = [1.0] * count if len(shape) == 1 else [dice.gauss(0, 0.2) for _ in range(count)]
        data += struct.pack(f"<{count}f", *weights)
        data += bytes(-len(data) % 32)
    return gguf(said_of.values(), tensors, version=version, data=data)
