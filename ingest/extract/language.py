"""Language: the tongue a text is written in, where its file does not say.

Compact Language Detector 3 reads a few pieces of the text, on this machine
and in a few milliseconds; it is loaded when the first file needs it. Knows
nothing of formats. Its hard rule: a guess that is not confident is None, for
a wrong language is worse than none.
"""

import functools
from collections.abc import Callable, Sequence

from library.values import Section

# What files write when they do not know: undetermined, multiple, no linguistic content, uncoded.
UNDETERMINED = frozenset({"und", "mul", "zxx", "mis"})
_PIECES = 5
_PIECE_CHARS = 600
_LEAST_LETTERS = 24  # "Milk, eggs, bread" is Frisian to the detector
_LEAST_PROBABILITY = 0.95
_NAMES = {"iw": "he", "jw": "jv", "in": "id"}  # as BCP 47 has called them since 1989


def stated_or_detected(stated: str | None, sections: Sequence[Section]) -> str | None:
    """What the file says, or what most pieces of its text agree on, or None."""
    if stated and stated.split("-")[0] not in UNDETERMINED:
        return stated
    return detect(sections)


def detect(sections: Sequence[Section]) -> str | None:
    """The language of a whole document, by BCP 47's primary tag; None unless most of its pieces agree."""
    votes = [_language(piece) for piece in _pieces(sections)]
    if not votes:
        return None
    best = max(set(votes), key=votes.count)
    return best if best and 2 * votes.count(best) > len(votes) else None


def _pieces(sections: Sequence[Section]) -> list[str]:
    """Pieces from all over the document: its first pages may be a licence in another language."""
    sizes = [len(section.text) for section in sections]
    total = sum(sizes)
    count = max(1, min(_PIECES, total // _PIECE_CHARS))
    pieces: list[str] = []
    wanted = [total * at // count for at in range(count)]
    before = 0
    for at, size in enumerate(sizes):
        while wanted and wanted[0] < before + size:
            pieces.append(_gathered(sections, at, wanted.pop(0) - before))
        before += size
    return [piece for piece in pieces if sum(map(str.isalpha, piece)) >= _fewest_letters(piece)]


def _gathered(sections: Sequence[Section], at: int, start: int) -> str:
    """Six hundred characters from a place on, through as many sections as it takes."""
    text = sections[at].text[start : start + _PIECE_CHARS]
    while len(text) < _PIECE_CHARS and at + 1 < len(sections):
        at += 1
        text += "\n" + sections[at].text[: _PIECE_CHARS - len(text)]
    return text


def _fewest_letters(piece: str) -> int:
    """A script of its own tells its language sooner than the Latin alphabet does."""
    return _LEAST_LETTERS if piece.isascii() else _LEAST_LETTERS // 2


def likeliest(text: str) -> tuple[str, float]:
    """The language that a text resembles most and how much, from 0 to 1; however little it is sure."""
    tag, probability, _ = _detector()(" ".join(text.split())[: 4 * _PIECE_CHARS])
    return _NAMES.get(tag, tag), probability


def _language(piece: str) -> str | None:
    tag, probability, is_reliable = _detector()(" ".join(piece.split()))
    if not is_reliable or probability < _LEAST_PROBABILITY or "-" in tag:
        return None  # "zh-Latn" and its kin are how the detector says that it is guessing
    return _NAMES.get(tag, tag)


@functools.cache
def _detector() -> Callable[[str], tuple[str, float, bool]]:
    import gcld3  # noqa: PLC0415 - only for a file that does not state its language

    identifier = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=4 * _PIECE_CHARS)

    def detect(text: str) -> tuple[str, float, bool]:
        found = identifier.FindLanguage(text)
        return found.language, found.probability, found.is_reliable

    return detect
