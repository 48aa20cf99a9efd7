"""Library answers: [n] in the text, where each mark stands, and the sources, as OpenAI's clients read them.

Knows the answer's events, not the endpoint's shapes around them.
"""

from collections.abc import Sequence
from typing import Any

from llm.events import AnswerEvent, Citation, Done, PassagesFound, Token
from search.values import Passage
from web.shapes import passage_href, source_shape


class LibraryText:
    """Put together from an answer's events, in their order."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self.text = ""
        self.passages: Sequence[Passage] = ()
        self.marks: list[dict[str, Any]] = []  # start_index, end_index, title and url of each
        self.sources: list[dict[str, Any]] = []  # of each mark, what OpenAI's shape has no room for

    def add(self, event: AnswerEvent) -> str:
        """The text that the event adds; "" for one that adds none."""
        match event:
            case PassagesFound():
                self.passages, piece = event.passages, ""
            case Token():
                piece = event.text
            case Citation():
                piece = self._mark(event.n)
            case _:
                piece = ""
        self.text += piece
        return piece

    def _mark(self, n: int) -> str:
        mark = f" [{n}]"
        excerpt = self.passages[n - 1].excerpt
        href = passage_href(excerpt.document.id, excerpt.id)
        self.marks.append(
            {
                "start_index": len(self.text) + 1,
                "end_index": len(self.text) + len(mark),
                "title": " › ".join(excerpt.heading_path),
                "url": self._base_url + href,
            }
        )
        self.sources.append(
            {
                "n": n,
                "document_id": excerpt.document.id,
                "passage_id": excerpt.id,
                "path": excerpt.document.path,
                "title": excerpt.document.title,
                "quote": excerpt.text,
                "href": href,
            }
        )
        return mark

    def extension(self, done: Done) -> dict[str, Any]:
        """The field `almanac`, beside what OpenAI's shapes hold."""
        return {
            "kind": done.kind.value,
            "written_by": done.model,
            "sources": [source_shape(n, passage) for n, passage in enumerate(self.passages, start=1)],
            "notices": done.notices,
        }
