"""Converting: a model file written anew so that ctransformers can run it.

What changes: GGUF version 2; of a byte-level vocabulary the bytes themselves in
place of their letters, with the letters' merges kept beside for our own
tokenizer; scores, all zero, where there are none; a second copy of the token
table as `output.weight` where one served for both. The weights are copied as
they are, some megabytes at a time.

Its hard rule: the file appears under its name when it is whole and has passed
the preflight, or not at all; nothing that is there is written over unasked.
"""

import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from library.errors import InvalidRequest, ModelFileInvalid, SetupError
from llm.engines.ctransformers.preflight import inspect_for_ctransformers, obstacles, refusal
from llm.model_files.byte_alphabet import as_bytes
from llm.model_files.card import CTRANSFORMERS, ENGINE_KEY
from llm.model_files.contents import FLOAT32, Contents, Tensor, Value, read_contents
from llm.model_files.gguf import ARRAY, STRING

_COPY_BYTES = 8 * 2**20
_KEPT_FREE_BYTES = 64 * 2**20  # a disk that is filled to the brim stops the rest of the house
_NORMAL = 1  # a token of text, in tokenizer.ggml.token_type; others are not written in letters
_TOKENS, _MERGES = "tokenizer.ggml.tokens", "tokenizer.ggml.merges"

Progress = Callable[[int, int], None]


class _Piece(msgspec.Struct, frozen=True):
    """A tensor of the new file, and where its bytes are in the old one."""

    tensor: Tensor
    at: int


def converted_name(source: Path) -> Path:
    """Where the new file goes if nobody says: beside the old one."""
    return source.with_name(f"{source.stem}.ctransformers.gguf")


def convert(
    source: Path, target: Path, *, force: bool = False, progress: Progress = lambda _done, _of: None
) -> None:
    """Write `source` anew as `target`; `progress` is told bytes written and bytes in all.

    Raises ModelFileInvalid if the engine could not run the new file either,
    InvalidRequest if `target` is there already (unless `force`) or is `source`,
    SetupError if the disk has no room.
    """
    model = read_contents(source)
    lasting = [obstacle for obstacle in obstacles(model) if not obstacle.convert_helps]
    if lasting:
        raise ModelFileInvalid(refusal(model.name, lasting))
    _check_target(source, target, force=force)
    header, pieces = _rewritten(model)
    total = len(header) + sum(_padded(piece.tensor.size_bytes) for piece in pieces)
    free = shutil.disk_usage(target.parent).free
    if total + _KEPT_FREE_BYTES > free:
        raise SetupError(
            f"The new file takes {total / 2**20:,.0f} MiB, and {target.parent} has {free / 2**20:,.0f} MiB left. "
            "Make room, or name another place with --out."
        )
    # Hidden, and not named as a model: the models folder is watched.
    descriptor, name = tempfile.mkstemp(prefix=".converting-", suffix=".part", dir=target.parent)
    unfinished = Path(name)
    try:
        with source.open("rb") as old, os.fdopen(descriptor, "wb") as new:
            _write(old, new, header, pieces, lambda done: progress(done, total))
            os.fchmod(new.fileno(), 0o644)
            new.flush()
            os.fsync(new.fileno())
        inspect_for_ctransformers(unfinished)
        _check_target(source, target, force=force)
        unfinished.replace(target)
    except OSError as error:
        raise SetupError(f"{target} could not be written: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _check_target(source: Path, target: Path, *, force: bool) -> None:
    if not target.parent.is_dir():
        raise InvalidRequest("--out", f"names a folder that is not there: {target.parent}.")
    if target.is_dir() or (target.exists() and target.samefile(source)):
        raise InvalidRequest("--out", f"must be another file than {target}.")
    if target.exists() and not force:
        raise InvalidRequest("--out", f"is there already: {target}. Give --force to write it anew.")


def _rewritten(model: Contents) -> tuple[bytes, list[_Piece]]:
    """The new header with its padding, and the tensors that follow it."""
    values = _values(model)
    pieces = [_Piece(tensor, model.data_at + tensor.offset) for tensor in model.tensors]
    if not any(tensor.name == "output.weight" for tensor in model.tensors):
        table = next(piece for piece in pieces if piece.tensor.name == "token_embd.weight")
        pieces.append(_Piece(msgspec.structs.replace(table.tensor, name="output.weight"), table.at))
    offset, placed = 0, []
    for piece in pieces:
        placed.append(_Piece(msgspec.structs.replace(piece.tensor, offset=offset), piece.at))
        offset += _padded(piece.tensor.size_bytes)
    header = b"".join(
        (
            struct.pack("<4sIQQ", b"GGUF", 2, len(placed), len(values)),
            *(
                _string(key.encode()) + struct.pack("<I", value.kind) + value.raw
                for key, value in values.items()
            ),
            *(_described(piece.tensor) for piece in placed),
        )
    )
    return header + bytes(_padded(len(header)) - len(header)), placed


def _values(model: Contents) -> dict[str, Value]:
    # The default alignment, so that there is one way to lay out a file.
    values = {key: value for key, value in model.values.items() if key != "general.alignment"}
    tokens = model.strings(_TOKENS)
    if b"\n" not in tokens and model.text("tokenizer.ggml.model") == "gpt2":
        types = model.values["tokenizer.ggml.token_type"].numbers()
        merges = model.strings(_MERGES)
        values["almanac.merges"] = _strings(merges)
        values[_MERGES] = _strings(_joined(merges))
        values[_TOKENS] = _strings(
            _raw(token) if kind == _NORMAL else token for token, kind in zip(tokens, types, strict=True)
        )
    if "tokenizer.ggml.scores" not in values:
        count = len(tokens)
        values["tokenizer.ggml.scores"] = Value(ARRAY, struct.pack("<IQ", FLOAT32, count) + bytes(4 * count))
    values[ENGINE_KEY] = Value(STRING, _string(CTRANSFORMERS.encode()))
    return values


def _joined(merges: list[bytes]) -> Iterator[bytes]:
    for merge in merges:
        yield b" ".join(_raw(side) for side in merge.split(b" "))


def _raw(token: bytes) -> bytes:
    """The bytes a token stands for; one that is not in the alphabet stays as it is."""
    raw = as_bytes(token.decode("utf-8", "replace"))
    return token if raw is None else raw


def _strings(strings: Iterator[bytes] | list[bytes]) -> Value:
    listed = [_string(one) for one in strings]
    return Value(ARRAY, struct.pack("<IQ", STRING, len(listed)) + b"".join(listed))


def _string(raw: bytes) -> bytes:
    return struct.pack("<Q", len(raw)) + raw


def _described(tensor: Tensor) -> bytes:
    shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
    return _string(tensor.name.encode()) + shape + struct.pack("<IQ", tensor.kind, tensor.offset)


def _write(
    old: BinaryIO, new: BinaryIO, header: bytes, pieces: list[_Piece], written: Callable[[int], None]
) -> None:
    new.write(header)
    for piece in pieces:
        old.seek(piece.at)
        left = piece.tensor.size_bytes
        while left:
            copied = old.read(min(left, _COPY_BYTES))
            if not copied:
                raise ModelFileInvalid(
                    f"{old.name} became shorter while it was read. Wait until it is copied."
                )
            new.write(copied)
            left -= len(copied)
            written(new.tell())
        new.write(bytes(_padded(piece.tensor.size_bytes) - piece.tensor.size_bytes))


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // 32) * 32
