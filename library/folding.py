"""Folding: a name as it is compared and sorted, whatever its accents and capitals. Pure.

"Čapek", "ČAPEK" and "Capek" are one; so are "ﬁre" and "fire". Knows no language:
articles are not moved, and ä sorts as a, not behind z.
"""

import unicodedata
from collections.abc import Iterable

_LONGEST_KEY = 200
_LONGEST_LOOKUP = 8_000


def fold(text: str) -> str:
    """Without case, accents and compatibility forms, with single blanks."""
    # SQLite ends a pattern at a NUL, and what is left would fit everything.
    apart = unicodedata.normalize("NFKD", text.replace("\0", " "))
    bare = "".join(sign for sign in apart if not unicodedata.combining(sign))
    return " ".join(bare.casefold().split())


def sort_key(name: str) -> str:
    """What a title or an author's name is sorted by: folded, beginning with its first letter or figure."""
    folded = fold(name)[: 2 * _LONGEST_KEY]
    first = next((at for at, sign in enumerate(folded) if sign.isalnum()), 0)
    return folded[first : first + _LONGEST_KEY]


def lookup(title: str, authors: Iterable[str] = (), subjects: Iterable[str] = ()) -> str:
    """All that a book may be asked for by, folded, a line each."""
    return "\n".join(fold(part) for part in (title, *authors, *subjects))[:_LONGEST_LOOKUP]


def initial(key: str) -> str:
    """The letter that a sort key stands under; "#" for what begins with none."""
    return key[0] if key and key[0].isalpha() else "#"
