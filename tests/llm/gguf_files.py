"""GGUF files made up for tests: whole ones, and pieces from which broken ones are put together."""

import struct
from collections.abc import Iterable

U32, BOOL, STRING, ARRAY = 4, 7, 8, 9  # types of values
F32, F16, Q4_1 = 0, 1, 3  # types of tensors


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def said(name: str, value: str) -> bytes:
    return key(name, STRING, text(value))


def counted(name: str, value: int) -> bytes:
    return key(name, U32, struct.pack("<I", value))


def listed(name: str, *values: int) -> bytes:
    return key(name, ARRAY, struct.pack(f"<IQ{len(values)}I", U32, len(values), *values))


def tensor(name: str, dimensions: tuple[int, ...], kind: int, offset: int) -> bytes:
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


KEYS = (
    said("general.architecture", "llama"),
    said("general.name", "A Model\x1b[31m"),
    counted("general.file_type", 15),
    counted("llama.context_length", 2048),
    key(
        "tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, 3) + text("a") + text("b" * 300) + text("")
    ),
    key("tokenizer.ggml.scores", ARRAY, struct.pack("<IQ3f", 6, 3, 0, 0, 0)),
    said("tokenizer.chat_template", "{{ messages }}" * 200),
)
TENSORS = (tensor("token_embd.weight", (64, 4), Q4_1, 0), tensor("output.weight", (64,), F32, 160))
DATA = bytes(160 + 256)


def gguf(
    keys: Iterable[bytes] = KEYS, tensors: Iterable[bytes] = TENSORS, *, version: int = 3, data: bytes = DATA
) -> bytes:
    keys, tensors = list(keys), list(tensors)
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join((*keys, *tensors))
    return header + bytes(-len(header) % 32) + data


WHOLE = gguf()
