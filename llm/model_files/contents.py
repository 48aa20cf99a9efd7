"""Contents: every key and every tensor of a GGUF file as it stands there.

For those who need more than `llm.model_files.gguf` keeps: whole vocabularies, and shapes.
Values stay the bytes of the file until somebody asks what they mean; tensor
data is never read here. Its hard rule: a file's header is checked by
`llm.model_files.gguf` before a byte of it is taken in.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from library.errors import ModelFileInvalid
from llm.model_files.ggml import TYPES
from llm.model_files.gguf import ARRAY, SCALARS, STRING, U32, U64, printable, read_header

# All at once in memory; several times what the largest vocabulary with its merges needs.
MAX_BYTES = 64 * 2**20
UINT32, INT32, FLOAT32, BOOL = 4, 5, 6, 7  # types of values, as are STRING and ARRAY


class Value(msgspec.Struct, frozen=True):
    """What is said of one key: its type, and its bytes as they are in the file."""

    kind: int
    raw: bytes

    def whole(self) -> int | None:
        """As a whole number; None for what is none."""
        if self.kind not in SCALARS or self.kind == FLOAT32:
            return None
        value = SCALARS[self.kind].unpack(self.raw)[0]
        return value if isinstance(value, int) else None

    def text(self) -> str:
        return self.raw[8:].decode("utf-8", "replace") if self.kind == STRING else ""

    def listed(self) -> tuple[int, int]:
        """Of a list: the type of what is in it, and how many there are."""
        if self.kind != ARRAY:
            return (-1, 0)
        return U32.unpack_from(self.raw)[0], U64.unpack_from(self.raw, 4)[0]

    def strings(self) -> Iterator[bytes]:
        """Of a list of strings: each, as its bytes."""
        kind, count = self.listed()
        at = 12
        for _ in range(count if kind == STRING else 0):
            end = at + 8 + U64.unpack_from(self.raw, at)[0]
            yield self.raw[at + 8 : end]
            at = end

    def numbers(self) -> tuple[float, ...]:
        """Of a list of numbers: each."""
        kind, count = self.listed()
        if kind not in SCALARS:
            return ()
        return struct.unpack_from(f"<{count}{SCALARS[kind].format[1:]}", self.raw, 12)


class Tensor(msgspec.Struct, frozen=True):
    name: str
    shape: tuple[int, ...]  # the row's length first
    kind: int
    offset: int  # from where the tensor data begins

    @property
    def size_bytes(self) -> int:
        _, block_values, block_bytes = TYPES[self.kind]
        values = 1
        for length in self.shape:
            values *= length
        return values // block_values * block_bytes


class Contents(msgspec.Struct, frozen=True):
    name: str  # the file's, fit to be shown
    version: int
    values: dict[str, Value]
    tensors: list[Tensor]
    data_at: int  # where the tensor data begins in the file

    def whole(self, key: str) -> int | None:
        value = self.values.get(key)
        return value.whole() if value else None

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return value.text() if value else ""

    def strings(self, key: str) -> list[bytes]:
        value = self.values.get(key)
        return list(value.strings()) if value else []


def read_contents(path: Path) -> Contents:
    """Raises ModelFileInvalid, and nothing else, for what `read_header` refuses or is too much to be kept."""
    header, name = read_header(path), printable(path.name)
    weights = (count // TYPES[kind][1] * TYPES[kind][2] for kind, count in header.values.items())
    if header.size_bytes - sum(weights) > MAX_BYTES:
        raise ModelFileInvalid(
            f"{name} says more beside its weights than can be read ({MAX_BYTES // 2**20} MiB)."
        )
    try:
        with path.open("rb") as file:
            return _read(name, file)
    except (OSError, struct.error, KeyError, ZeroDivisionError) as error:
        raise ModelFileInvalid(f"{name} changed while it was read. Wait until it is copied.") from error


def _read(name: str, file: BinaryIO) -> Contents:
    _, version, tensors, keys = struct.unpack("<4sIQQ", file.read(24))
    values = {}
    for _ in range(keys):
        key = _string(file).decode("utf-8", "replace")
        kind = _u32(file)
        values[key] = Value(kind, _raw(file, kind))
    described = [_tensor(file) for _ in range(tensors)]
    alignment = values["general.alignment"].whole() if "general.alignment" in values else None
    step = alignment or 32
    return Contents(name, version, values, described, -(-file.tell() // step) * step)


def _raw(file: BinaryIO, kind: int) -> bytes:
    if kind in SCALARS:
        return file.read(SCALARS[kind].size)
    if kind == STRING:
        return _counted(file)
    head = file.read(12)
    inner, count = struct.unpack("<IQ", head)
    if inner == STRING:
        return head + b"".join([_counted(file) for _ in range(count)])
    return head + file.read(count * SCALARS[inner].size)


def _tensor(file: BinaryIO) -> Tensor:
    name = _string(file).decode("utf-8", "replace")
    dimensions = _u32(file)
    shape = struct.unpack(f"<{dimensions}Q", file.read(8 * dimensions))
    kind, offset = struct.unpack("<IQ", file.read(12))
    return Tensor(name, shape, kind, offset)


def _u32(file: BinaryIO) -> int:
    return int(U32.unpack(file.read(4))[0])


def _string(file: BinaryIO) -> bytes:
    return _counted(file)[8:]


def _counted(file: BinaryIO) -> bytes:
    """A string with its length before it."""
    head = file.read(8)
    return head + file.read(U64.unpack(head)[0])
