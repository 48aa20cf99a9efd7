"""Limits: how much of a file is read before it is refused.

Light, since the main process hands them from the configuration to its workers.
"""

from typing import Annotated

import msgspec

_Positive = Annotated[int, msgspec.Meta(ge=1)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much of a file is read before it is refused. Far above any real book."""

    max_entries: _Positive = 20_000  # members of an archive
    max_expanded_mib: _Positive = 512  # text unpacked from one archive, pictures and fonts not counted
    max_member_mib: _Positive = 16  # one unpacked text; its parsed tree may take thirty times that
    max_ratio: _Positive = (
        250  # unpacked to packed, above 4 MiB; real chapters stay below 30, a bomb is at 1,000
    )
    max_text_mib: _Positive = 64  # a plain text or Markdown file
    max_pages: _Positive = 20_000  # of a PDF
    max_sections: _Positive = 100_000  # of one document; a dictionary has thirty thousand
    max_chunks: _Positive = 200_000  # of one document: some hundred million letters
    max_markdown_nesting: Annotated[int, msgspec.Meta(ge=8, le=200)] = (
        90  # lists and quotes inside each other; the parser recurses
    )


DEFAULT_LIMITS = Limits()
