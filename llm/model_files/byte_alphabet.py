"""The byte alphabet: how byte-level BPE writes any bytes as letters that can be seen.

A byte that is a printable letter of Latin-1 stands for itself, each of the
others for one of the letters from U+0100 on: a space is `Ġ`, a new line `Ċ`.

Source: bytes_to_unicode in GPT-2's encoder.py, github.com/openai/gpt-2.
"""

_ITSELF = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
_OTHERS = [byte for byte in range(256) if byte not in _ITSELF]

LETTER = {byte: chr(byte) for byte in sorted(_ITSELF)} | {
    byte: chr(256 + at) for at, byte in enumerate(_OTHERS)
}
BYTE = {letter: byte for byte, letter in LETTER.items()}


def as_letters(raw: bytes) -> str:
    return "".join(LETTER[byte] for byte in raw)


def as_bytes(letters: str) -> bytes | None:
    """None where a letter is not of the alphabet."""
    found = [BYTE.get(letter, -1) for letter in letters]
    return None if -1 in found else bytes(found)
