"""Patterns: a regular expression of a schema, as one that an engine's grammar can write.

Pure. Engines differ in what they make of one: some copy it into the middle of a
JSON string, where a dot writes quotes, and counted repetitions within each other
fill a memory. So what leaves here is written anew, of sets of printable ASCII,
and matches less than what came in: never more, but for what stands in a
look-around, which is left out. Its hard rule: what it cannot read it gives up (None), it never guesses;
whether a value matches is decided elsewhere, on the pattern as it came.
"""

import functools
from collections.abc import Callable
from string import ascii_letters, digits

_LONGEST = 500
_MOST_REPEATED = 1_000  # characters that counted repetitions may ask for, all told
# What stands in a JSON string as it is.
_PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - {'"', "\\"}
_WORD = frozenset(ascii_letters + digits + "_")
_SETS = {
    "d": frozenset(digits),
    "D": _PLAIN - frozenset(digits),
    "w": _WORD,
    "W": _PLAIN - _WORD,
    "s": frozenset(" "),
    "S": _PLAIN - {" "},
}
_NO_CHARACTERS = frozenset("bBnrtfv0123456789kpPxucAzZG")  # after a backslash: not the letter itself


class _Unreadable(ValueError):
    pass


@functools.lru_cache(maxsize=256)
def writable(pattern: str) -> str | None:
    """As `^…$` for an engine's grammar; None where it cannot be had."""
    if len(pattern) > _LONGEST:
        return None
    try:
        return f"^({_Reader(pattern).whole()})$"
    except (_Unreadable, RecursionError):
        return None


class _Reader:
    """Reads from left to right; each method returns what it read, written anew."""

    def __init__(self, pattern: str) -> None:
        self._left = list(reversed(pattern))

    def whole(self) -> str:
        written, _ = self._alternatives()
        if self._left:
            raise _Unreadable
        return written

    def _next(self) -> str:
        if not self._left:
            raise _Unreadable
        return self._left.pop()

    def _at(self, text: str) -> bool:
        """Whether `text` is next, which is then read."""
        if "".join(reversed(self._left[-len(text) :])) != text:
            return False
        del self._left[-len(text) :]
        return True

    def _alternatives(self) -> tuple[str, int]:
        """And how many characters it repeats at most."""
        written, size = self._sequence()
        while self._at("|"):
            other, more = self._sequence()
            written, size = f"{written}|{other}", size + more
        return written, size

    def _sequence(self) -> tuple[str, int]:
        written, size = "", 0
        while self._left and self._left[-1] not in "|)":
            if self._at("^") or self._at("$"):  # what matches is the whole string
                continue
            atom, one = self._atom()
            repeated, most = self._repetition()
            size += one * most
            if size > _MOST_REPEATED:
                raise _Unreadable
            written += atom + repeated if atom else ""
        return written, size

    def _atom(self) -> tuple[str, int]:
        if self._at("("):
            looks = any(self._at(sign) for sign in ("?=", "?!", "?<=", "?<!"))
            if not looks and not self._at("?:") and self._at("?"):
                raise _Unreadable  # flags, names
            inner, size = self._alternatives()
            if not self._at(")"):
                raise _Unreadable
            return ("", 0) if looks else (f"({inner})", size)
        if self._at("["):
            return _written(self._set()), 1
        character = self._next()
        if character in "*+?{}])":
            raise _Unreadable
        return _written(_PLAIN if character == "." else self._one(character)), 1

    def _one(self, character: str) -> frozenset[str]:
        if character != "\\":
            return frozenset(character)
        escaped = self._next()
        if escaped in _SETS:
            return _SETS[escaped]
        if escaped in _NO_CHARACTERS:
            raise _Unreadable
        return frozenset(escaped)

    def _set(self) -> frozenset[str]:
        without = self._at("^")
        found: frozenset[str] = frozenset()
        while not self._at("]"):
            first = self._one(self._next())
            if len(self._left) > 1 and self._left[-1] == "-" and self._left[-2] != "]":
                self._next()
                last = self._one(self._next())
                if len(first) != 1 or len(last) != 1:
                    raise _Unreadable
                low, high = ord(min(first)), ord(min(last))
                first = frozenset(character for character in _PLAIN if low <= ord(character) <= high)
            found |= first
        return _PLAIN - found if without else found

    def _repetition(self) -> tuple[str, int]:
        written, most = "", 1
        for sign in "*+?":
            if self._at(sign):
                written = sign
                break
        else:
            if self._at("{"):
                low, comma, high = self._until("}").partition(",")
                if not low.isdecimal() or (high and not high.isdecimal()) or len(low + high) > 8:
                    raise _Unreadable
                written, most = f"{{{low}{comma}{high}}}", max(int(low), int(high or 0), 1)
        self._at("?")  # as few as will do: the same strings
        return written, most

    def _until(self, end: str) -> str:
        read: list[str] = []
        append: Callable[[str], None] = read.append
        while not self._at(end):
            append(self._next())
        return "".join(read)


def _written(characters: frozenset[str]) -> str:
    """A set as an engine reads it, each of its runs by the codes of its ends."""
    codes = sorted(ord(character) for character in characters & _PLAIN)
    if not codes:
        raise _Unreadable
    runs: list[list[int]] = []
    for code in codes:
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return (
        "[" + "".join(f"\\x{low:02X}" + (f"-\\x{high:02X}" if high > low else "") for low, high in runs) + "]"
    )
