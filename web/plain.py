"""Plain: a section as the record has it, where a book's own layout is not there or not wanted.

Pure. It is always exact: what is shown is the text that was searched. Its hard
rule: text comes out as text, for a template to escape.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from ingest.wire import Mark

LEAF_CHARS = 60_000


def leaves(text: str, *, most: int = LEAF_CHARS) -> list[tuple[int, int]]:
    """Where each leaf of a long section begins and ends: between paragraphs, else lines, else words."""
    found, start = [], 0
    while len(text) - start > most:
        end = start + most
        for between in ("\n\n", "\n", " "):
            at = text.rfind(between, start + most // 2, end)
            if at >= 0:
                end = at + len(between)
                break
        found.append((start, end))
        start = end
    return [*found, (start, len(text))]


def leaf_at(cuts: Sequence[tuple[int, int]], offset: int) -> int:
    return next((number for number, (_, end) in enumerate(cuts) if offset < end), len(cuts) - 1)


def paragraphs(text: str, marks: Sequence[Mark], *, first: int = 0) -> list[list[dict[str, Any]]]:
    """A leaf's text as paragraphs of spans. `first` is where it begins in its section, as marks count.

    A span is {"text", "kind", "id"}: its kind names the marks over it, its id stands once.
    """
    found, offset, given = [], first, set[str]()
    for block in text.split("\n\n"):
        cuts = {offset, offset + len(block)}
        here = [mark for mark in marks if mark.start < offset + len(block) and mark.end > offset]
        for mark in here:
            cuts |= {max(mark.start, offset), min(mark.end, offset + len(block))}
        ordered = sorted(cuts)
        spans = []
        for start, end in itertools.pairwise(ordered):
            over = [mark for mark in here if mark.start <= start < mark.end]
            id_ = next((mark.id for mark in over if mark.id and mark.id not in given), "")
            given.add(id_)
            kind = " ".join(dict.fromkeys(mark.kind for mark in over))
            spans.append({"text": text[start - first : end - first], "kind": kind, "id": id_})
        if spans:
            found.append(spans)
        offset += len(block) + 2
    return found
