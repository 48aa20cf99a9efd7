"""GGUF: what a model file says, read and checked before any native code sees it.

Knows nothing of engines, and not what the facts mean. The engine maps a file
and trusts its header; a truncated or hostile one costs the whole process there,
and here one sentence. So every count, length and offset is checked against a
limit or against the file before it is used, and little is kept: at most one
window of the header is in memory at a time, of long texts the beginning, and of
lists their length and, if they are short, their numbers.

    file    = magic "GGUF", version u32, tensors u64, keys u64,
              keys x (string, type u32, value), tensors x description,
              padding to the alignment, tensor data
    string  = length u64, bytes
    array   = type u32, count u64, values
    tensor  = name string, dimensions u32, dimensions x u64, type u32, offset u64

Tensors follow one another without gaps but for the padding: the specification
allows more, the engine does not, and with it nothing can overlap.

Source: the GGUF specification, github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import os
import stat
import struct
from collections import Counter
from pathlib import Path
from typing import NoReturn

import msgspec

from library.errors import ModelFileInvalid
from llm.model_files.ggml import TYPES

# Limits, each several times what the largest published models need (2026:
# about 60 keys, 20,000 tensors, 800,000 strings in vocabulary and merges).
MAX_KEYS = 4_096
MAX_TENSORS = 65_536
MAX_STRINGS = 2_000_000
MAX_NUMBERS = 65_536  # that are kept, of all short lists together
MAX_LISTED = 1_024  # a list with more is not short: one number a layer is what is looked for
MAX_HEADER_BYTES = 256 * 2**20
MAX_KEY_BYTES = 512
MAX_TEXT_BYTES = 1_024
LAST_BIAS = "mm.2.bias"  # of a projector of two layers: as long as what it makes is wide
TEMPLATE = "tokenizer.chat_template"  # a text of several thousand; what it speaks of stands anywhere in it
MAX_TEMPLATE_BYTES = 2**17
MAX_NAME_BYTES = 63  # of a tensor; GGML_MAX_NAME with its closing zero
WINDOW_BYTES = 2**18

STRING, ARRAY = 8, 9
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")
# GGUF value type -> its form in the file; strings and arrays have no fixed one.
SCALARS = {
    kind: struct.Struct("<" + code)
    for kind, code in zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIifBQqd", strict=True)
}


class Listed(msgspec.Struct, frozen=True):
    """A list: how long it is, and its numbers where it is short."""

    count: int
    numbers: tuple[float, ...] = ()


Fact = int | float | str | Listed


class Header(msgspec.Struct, frozen=True):
    """What one file says. The facts are its own words: true or not, and any key may lack or be of another type."""

    facts: dict[str, Fact]
    tensors: int
    values: dict[int, int]  # tensor type -> how many numbers are stored in it
    classifies: bool  # it has a head that judges (a tensor "cls...."): rerankers do
    size_bytes: int
    projected: int = 0  # numbers in LAST_BIAS; 0 where there is none

    def whole(self, key: str) -> int:
        """A fact as a count; 0 for one that is no whole positive number of 32 bits."""
        value = self.facts.get(key)
        return value if isinstance(value, int) and 0 < value < 2**32 else 0

    def text(self, key: str) -> str:
        """A file's own words may be hostile: no control characters, at most 120 characters."""
        value = self.facts.get(key)
        return printable(value) if isinstance(value, str) else ""


def read_header(path: Path) -> Header:
    """Read and check the header of a GGUF file, version 2 or 3.

    Raises ModelFileInvalid, and nothing else, for anything that is not a
    whole GGUF file: missing, no regular file, another format, cut short.
    """
    name = printable(path.name)
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ModelFileInvalid(f"{name} is not a file. Give the path of one .gguf file.")
            return _Reader(name, descriptor, status.st_size).header()
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        why = getattr(error, "strerror", None) or str(error)
        raise ModelFileInvalid(
            f"{name} cannot be read ({why}). Check that it exists and that Almanac may read it."
        ) from error


def printable(words: str) -> str:
    """At most 120 characters that can be shown; what is no text at all (half a surrogate) is left out."""
    return "".join(c for c in words[:1_000] if c.isprintable())[:120].strip()


class _Reader:
    """A cursor over the header. `_need` is the only place that reads the file."""

    def __init__(self, name: str, descriptor: int, size_bytes: int) -> None:
        self._name = name
        self._descriptor = descriptor
        self._size = size_bytes
        self._window = b""
        self._start = 0  # offset of the window in the file
        self._at = 0  # offset of the cursor in the window
        self._strings_left = MAX_STRINGS
        self._numbers_left = MAX_NUMBERS
        self._projected = 0

    def header(self) -> Header:
        self._check_format()
        tensors, keys = self._count(), self._count()
        if keys > MAX_KEYS or tensors > MAX_TENSORS:
            self._damaged(f"claims {keys} keys and {tensors} tensors")
        facts: dict[str, Fact] = {}
        for _ in range(keys):
            self._key(facts)
        names, values = self._tensors(tensors, facts.get("general.alignment", 32))
        return Header(
            facts=facts,
            tensors=tensors,
            values=values,
            classifies=any(name.startswith(b"cls.") for name in names),
            size_bytes=self._size,
            projected=self._projected,
        )

    def _check_format(self) -> None:
        magic = self._take(4) if self._size >= 4 else b""
        if self._size == 0:
            raise ModelFileInvalid(f"{self._name} is empty. Wait until it is copied, or download it again.")
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

    def _key(self, facts: dict[str, Fact]) -> None:
        length = self._count()
        if not 0 < length <= MAX_KEY_BYTES:
            self._damaged(f"has a key of {length} bytes")
        key = self._take(length).decode("utf-8", "replace")
        if key in facts:
            self._damaged(f"says {printable(key)} twice")
        kind = self._type()
        if kind in SCALARS:
            facts[key] = self._scalar(SCALARS[kind])
        elif kind == STRING:
            length = self._count()
            kept = min(length, MAX_TEMPLATE_BYTES if key == TEMPLATE else MAX_TEXT_BYTES)
            facts[key] = self._take(kept).decode("utf-8", "replace")
            self._skip(length - kept)
        elif kind == ARRAY:
            facts[key] = self._list()
        else:
            self._damaged(f"has a value of the unknown type {kind}")

    def _list(self) -> Listed:
        kind, count = self._type(), self._count()
        if kind == STRING:
            # Taken off before the walk: the count is the file's word, the limit is ours.
            self._strings_left -= count
            if self._strings_left < 0:
                self._damaged(f"claims a list of {count} strings")
            self._skip_strings(count)
            return Listed(count)
        if kind not in SCALARS:  # the engine reads no lists of lists either
            self._damaged(f"has a list of the unknown type {kind}")
        if count > min(MAX_LISTED, self._numbers_left):
            self._skip(count * SCALARS[kind].size)
            return Listed(count)
        self._numbers_left -= count
        return Listed(count, tuple(self._scalar(SCALARS[kind]) for _ in range(count)))

    def _skip_strings(self, count: int) -> None:
        """The vocabulary: hundreds of thousands of strings, so this loop has no calls in it."""
        unpack = U64.unpack_from
        for _ in range(count):
            if self._at + 8 > len(self._window):
                self._need(8)
            self._at += 8 + unpack(self._window, self._at)[0]
            if self._at > len(self._window):
                self._skip(0)

    def _tensors(self, count: int, alignment: Fact) -> tuple[set[bytes], dict[int, int]]:
        """Their names, and how many numbers are stored in each type.

        Every tensor begins where the one before it ends, and the last ends inside
        the file: this is how a broken download shows.
        """
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            self._damaged("has an alignment that is no power of two")
        names, values, end = set[bytes](), Counter[int](), 0
        for _ in range(count):
            name = self._tensor_name(names)
            kind, stored, size_bytes, offset = self._tensor(name)
            begin = -(-end // alignment) * alignment
            if offset != begin:
                wrong = "overlaps the one before it" if offset < begin else "leaves a gap before it"
                self._damaged(f"has a tensor, {name}, that {wrong}")
            values[kind] += stored
            if name == LAST_BIAS:
                self._projected = stored
            end = begin + size_bytes
        data = -(-(self._start + self._at) // alignment) * alignment if count else 0
        if data + end > self._size:
            raise ModelFileInvalid(
                f"{self._name} is cut short: {self._size:,} bytes of {data + end:,}. "
                "Wait until it is copied, or download it again."
            )
        return names, dict(values)

    def _tensor_name(self, names: set[bytes]) -> str:
        length = self._count()
        if length > MAX_NAME_BYTES:
            self._damaged(f"has a tensor name of {length} bytes")
        name = self._take(length)
        shown = printable(name.decode("utf-8", "replace"))
        if name in names:
            self._damaged(f"has the tensor {shown} twice")
        names.add(name)
        return shown

    def _tensor(self, name: str) -> tuple[int, int, int, int]:
        """Its type, how many numbers it holds, in how many bytes, and where it begins in the tensor data."""
        dimensions = self._type()
        if dimensions > 4:
            self._damaged(f"has a tensor, {name}, of {dimensions} dimensions")
        row, rows = self._count() if dimensions else 1, 1
        for _ in range(dimensions - 1):
            rows *= self._count()
        kind, offset = self._type(), self._count()
        if kind not in TYPES:
            raise ModelFileInvalid(
                f"{self._name} stores its tensor {name} in the unknown type {kind}. "
                "Download the model in another quantisation, or bring Almanac up to date."
            )
        _, block_values, block_bytes = TYPES[kind]
        if row % block_values or row * rows >= 2**63:
            self._damaged(f"has a tensor, {name}, of an impossible shape")
        return kind, row * rows, row * rows // block_values * block_bytes, offset

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
            self._damaged(f"is longer than {MAX_HEADER_BYTES // 2**20} MiB")
        self._window = os.pread(self._descriptor, max(length, WINDOW_BYTES), position)
        self._start, self._at = position, 0
        if len(self._window) < length:  # shortened while it was read
            self._damaged("became shorter while it was read")

    def _damaged(self, fact: str) -> NoReturn:
        raise ModelFileInvalid(f"{self._name} is damaged: its header {fact}. Download it again.")
