"""GGUF: what a model file says about itself, read before any native code sees it.

Knows nothing of engines. The engine maps a file and trusts its header; a
truncated or hostile one costs the whole process there, and here one
sentence. So every count, length and offset is checked against a limit or
against the file before it is used, and nothing is kept but the few facts of
`GgufSummary`: at most one window of the header is in memory at a time.

    file    = magic "GGUF", version u32, tensors u64, keys u64,
              keys x (string, type u32, value), tensors x description,
              padding to the alignment, tensor data
    string  = length u64, bytes
    array   = type u32, count u64, values
    tensor  = name string, dimensions u32, dimensions x u64, type u32, offset u64

Source: the GGUF specification, github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import os
import re
import stat
import struct
from pathlib import Path
from typing import NoReturn

import msgspec

from library.errors import ModelFileInvalid

# Limits, each several times what the largest published models need (2026:
# about 60 keys, 20,000 tensors, 800,000 strings in vocabulary and merges).
MAX_KEYS = 4_096
MAX_TENSORS = 65_536
MAX_STRINGS = 2_000_000
MAX_HEADER_BYTES = 256 * 2**20
MAX_KEY_BYTES = 512
MAX_TEXT_BYTES = 1_024
WINDOW_BYTES = 2**18

STRING, ARRAY = 8, 9
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")
# GGUF value type -> its form in the file; strings and arrays have no fixed one.
SCALARS = {
    kind: struct.Struct("<" + code)
    for kind, code in zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIifBQqd", strict=True)
}

# ggml tensor type -> (values in a block, bytes of a block), from ggml.c. A type
# newer than this table is no fault: its tensor is only asked to begin inside the file.
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110),
    22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8),
    29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip

# general.file_type, as llama.h names it.
QUANTISATIONS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


class GgufSummary(msgspec.Struct, frozen=True):
    """The facts of a model file that the rest of the appliance asks for."""

    architecture: str  # "llama", "qwen3", ...
    name: str  # as the file calls itself; "" where it does not
    context_tokens: int  # the context it was trained for; 0 where it does not say
    template: bool  # it brings its own chat template
    tensors: int
    size_bytes: int
    quantisation: str | None  # of most of its tensors; None where unknown


def inspect(path: Path) -> GgufSummary:
    """Read and check the header of a GGUF file, version 2 or 3.

    Raises ModelFileInvalid, and nothing else, for anything that is not a
    whole GGUF file: missing, no regular file, another format, cut short.
    """
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ModelFileInvalid(f"{path.name} is not a file. Give the path of one .gguf file.")
            return _Header(path.name, descriptor, status.st_size).summary()
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        why = getattr(error, "strerror", None) or str(error)
        raise ModelFileInvalid(
            f"{path.name} cannot be read ({why}). Check that it exists and that Almanac may read it."
        ) from error


class _Header:
    """A cursor over the header. `_need` is the only place that reads the file."""

    def __init__(self, name: str, descriptor: int, size_bytes: int) -> None:
        self._name = name
        self._descriptor = descriptor
        self._size = size_bytes
        self._window = b""
        self._start = 0  # offset of the window in the file
        self._at = 0  # offset of the cursor in the window
        self._strings_left = MAX_STRINGS

    def summary(self) -> GgufSummary:
        self._check_format()
        tensors, keys = self._count(), self._count()
        if keys > MAX_KEYS or tensors > MAX_TENSORS:
            self._damaged(f"claims {keys} keys and {tensors} tensors")
        if tensors == 0:
            raise ModelFileInvalid(
                f"{self._name} holds a vocabulary and no weights. Use the file of the whole model."
            )
        facts: dict[str, object] = {}
        for _ in range(keys):
            self._key(facts)
        self._check_split(facts)
        self._check_tensors(tensors, facts)
        architecture = facts.get("general.architecture")
        if not isinstance(architecture, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", architecture):
            self._damaged("names no architecture")
        kind = facts.get("general.file_type")
        return GgufSummary(
            architecture=architecture,
            name=_printable(facts.get("general.name")),
            context_tokens=_whole(facts.get(f"{architecture}.context_length")),
            template=bool(facts.get("tokenizer.chat_template")),
            tensors=tensors,
            size_bytes=self._size,
            quantisation=QUANTISATIONS.get(kind) if isinstance(kind, int) else None,
        )

    def _check_format(self) -> None:
        magic = self._take(4) if self._size >= 4 else b""
        if magic != b"GGUF":
            old = magic in {b"lmgg", b"fmgg", b"tjgg", b"algg"}
            what = "a model file of the GGML era" if old else "not a GGUF model file"
            raise ModelFileInvalid(f"{self._name} is {what}. Download the model in the GGUF format.")
        version = self._type()
        if version & 0xFFFF == 0:
            raise ModelFileInvalid(
                f"{self._name} was written for a big-endian machine. Download its little-endian edition."
            )
        if version not in {2, 3}:
            raise ModelFileInvalid(
                f"{self._name} is GGUF version {version}; versions 2 and 3 can be read. "
                "Convert it, or download a current edition."
            )

    def _key(self, facts: dict[str, object]) -> None:
        length = self._count()
        if length > MAX_KEY_BYTES:
            self._damaged(f"has a key of {length} bytes")
        key = self._take(length).decode("utf-8", "replace")
        if key in facts:
            self._damaged(f"says {_printable(key)} twice")
        kind = self._type()
        if kind in SCALARS:
            facts[key] = self._scalar(SCALARS[kind])
        elif kind == STRING:
            length = self._count()
            facts[key] = self._take(min(length, MAX_TEXT_BYTES)).decode("utf-8", "replace")
            self._skip(length - min(length, MAX_TEXT_BYTES))
        elif kind == ARRAY:
            facts[key] = ""
            self._skip_array()
        else:
            self._damaged(f"has a value of the unknown type {kind}")

    def _skip_array(self) -> None:
        kind, count = self._type(), self._count()
        if kind in SCALARS:
            self._skip(count * SCALARS[kind].size)
        elif kind == STRING:
            # Taken off before the walk: the count is the file's word, the limit is ours.
            self._strings_left -= count
            if self._strings_left < 0:
                self._damaged(f"claims a list of {count} strings")
            self._skip_strings(count)
        else:  # the engine reads no lists of lists either
            self._damaged(f"has a list of the unknown type {kind}")

    def _skip_strings(self, count: int) -> None:
        """The vocabulary: hundreds of thousands of strings, so this loop has no calls in it."""
        unpack = U64.unpack_from
        for _ in range(count):
            if self._at + 8 > len(self._window):
                self._need(8)
            self._at += 8 + unpack(self._window, self._at)[0]
            if self._at > len(self._window):
                self._skip(0)

    def _check_split(self, facts: dict[str, object]) -> None:
        part, parts = _whole(facts.get("split.no")), _whole(facts.get("split.count"))
        if part > 0:
            raise ModelFileInvalid(
                f"{self._name} is part {part + 1} of {parts} of a model. "
                "Name the first part; the others are found beside it."
            )

    def _check_tensors(self, tensors: int, facts: dict[str, object]) -> None:
        """Every tensor must end inside the file: this is how a broken download shows."""
        alignment = _whole(facts.get("general.alignment", 32))
        if alignment == 0 or alignment & (alignment - 1):
            self._damaged(f"has an alignment of {alignment}")
        end = 0
        for _ in range(tensors):
            end = max(end, self._tensor_end())
        data = -(-(self._start + self._at) // alignment) * alignment
        if data + end > self._size:
            raise ModelFileInvalid(
                f"{self._name} is cut short: {self._size:,} bytes of {data + end:,}. "
                "Wait until it is copied, or download it again."
            )

    def _tensor_end(self) -> int:
        """Offset of one tensor's last byte + 1 from the start of the tensor data."""
        length = self._count()
        if length > MAX_KEY_BYTES:
            self._damaged(f"has a tensor name of {length} bytes")
        self._skip(length)
        dimensions = self._type()
        if dimensions > 4:
            self._damaged(f"has a tensor of {dimensions} dimensions")
        values = 1
        for _ in range(dimensions):
            values *= self._count()
        kind, offset = self._type(), self._count()
        block_values, block_bytes = BLOCKS.get(kind, (1, 0))
        return offset + values // block_values * block_bytes

    def _scalar(self, form: struct.Struct) -> float:
        self._need(form.size)
        value: float = form.unpack_from(self._window, self._at)[0]
        self._at += form.size
        return value

    def _count(self) -> int:
        return int(self._scalar(U64))

    def _type(self) -> int:
        return int(self._scalar(U32))

    def _take(self, length: int) -> bytes:
        self._need(length)
        self._at += length
        return self._window[self._at - length : self._at]

    def _skip(self, length: int) -> None:
        self._at += length
        if self._at > len(self._window):
            self._need(0)

    def _need(self, length: int) -> None:
        """Have `length` bytes (a few at most) at the cursor in the window, or raise."""
        if self._at + length <= len(self._window):
            return
        position = self._start + self._at
        if position + length > self._size:
            raise ModelFileInvalid(
                f"{self._name} ends in the middle of its header. "
                "Wait until it is copied, or download it again."
            )
        if position + length > MAX_HEADER_BYTES:
            self._damaged(f"has a header of more than {MAX_HEADER_BYTES // 2**20} MiB")
        self._window = os.pread(self._descriptor, max(length, WINDOW_BYTES), position)
        self._start, self._at = position, 0
        if len(self._window) < length:  # shortened while it was read
            self._damaged("changed while it was read")

    def _damaged(self, fact: str) -> NoReturn:
        raise ModelFileInvalid(f"{self._name} is damaged: its header {fact}. Download it again.")


def _whole(value: object) -> int:
    """A key's value as a count; 0 for one that is no whole positive number of 32 bits."""
    return value if isinstance(value, int) and 0 < value < 2**32 else 0


def _printable(value: object) -> str:
    """A file's own words may be hostile: no control characters, at most 120 characters."""
    if not isinstance(value, str):
        return ""
    return "".join(c for c in value if c.isprintable())[:120].strip()
