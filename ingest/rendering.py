"""Rendering: a document's own pages and pictures, for whoever reads it now.

Asks a worker of its own, so that it waits for no ingest and is held by none;
the worker is started for the first page and ended when nobody has turned one
for a while. Knows no HTTP. Its hard rule: what cannot be laid out raises, soon
and with a sentence; the reader is then shown the text in the record instead.
"""

import threading
from collections import OrderedDict

import msgspec

from ingest.link import WorkerLink, WorkerLost
from ingest.wire import Mark, Picture, Pictured, Recorded, Render, Rendered, Reply
from library.errors import UnreadableFile
from library.excerpts import Excerpts
from library.values import Document, Section

LAID_OUT = frozenset({"epub", "html", "markdown"})
TIMEOUT_S = 30.0
_IDLE_S = 120.0
_PATIENCE_S = 20.0  # for those before
_KEPT = 24  # leaves


class View(msgspec.Struct, frozen=True):
    """What of a book is wanted: where a mark opens, else a place in a part."""

    part: str = ""
    fragment: str = ""
    section: int | None = None
    leaf: int = 0  # -1 is the last
    marks: tuple[Mark, ...] = ()


class Renderer:
    def __init__(self, link: WorkerLink, excerpts: Excerpts, *, idle_s: float = _IDLE_S) -> None:
        self._link, self._excerpts, self._idle_s = link, excerpts, idle_s
        self._asking = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], Rendered] = OrderedDict()
        self._keeping = threading.Lock()
        self._resting: threading.Timer | None = None

    def page(self, document: Document, view: View, *, address: str) -> Rendered:
        """One leaf. Raises UnreadableFile with the reason where the book cannot be laid out."""
        key = (document.id, document.updated_at, address, view)
        with self._keeping:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        reply = self._asked(
            Render(
                path=document.path,
                format=document.format,
                address=address,
                part=view.part,
                sections=self._recorded(document, view.part),
                marks=list(view.marks),
                fragment=view.fragment,
                section=view.section,
                leaf=view.leaf,
            )
        )
        if not isinstance(reply, Rendered):
            raise UnreadableFile(_reason(reply))
        with self._keeping:
            self._kept[key] = reply
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return reply

    def picture(self, document: Document, name: str) -> Pictured:
        """Raises UnreadableFile if there is none of that name that may be shown."""
        reply = self._asked(Picture(document.path, document.format, name))
        if not isinstance(reply, Pictured):
            raise UnreadableFile(_reason(reply))
        return reply

    def close(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._link.close()

    def _recorded(self, document: Document, part: str) -> list[Recorded]:
        sections = self._excerpts.sections_at(document.id, part if document.format == "epub" else None)
        return [Recorded(one.ordinal, one.heading_path[-1], fragment_of(one), one.text) for one in sections]

    def _asked(self, request: Render | Picture) -> Reply:
        if not self._asking.acquire(timeout=_PATIENCE_S):
            raise UnreadableFile("Other books are being laid out just now; try again in a moment.")
        try:
            return self._link.call(request)
        except WorkerLost as error:
            raise UnreadableFile(f"Its file cannot be laid out: {error}.") from error
        finally:
            self._asking.release()
            self._rest_later()

    def _rest_later(self) -> None:
        with self._keeping:
            if self._resting is not None:
                self._resting.cancel()
            self._resting = threading.Timer(self._idle_s, self._rest)
            self._resting.daemon = True
            self._resting.start()

    def _rest(self) -> None:
        with self._asking:
            self._link.restart()


def part_of(section: Section) -> str:
    """The file of an EPUB that a section stands in."""
    return section.anchor.partition("#")[0]


def fragment_of(section: Section) -> str:
    """The id in its file; a note's or page's anchor is an id by itself."""
    file, _, fragment = section.anchor.rpartition("#")
    return fragment if file or "#" in section.anchor else section.anchor


def _reason(reply: Reply) -> str:
    return getattr(reply, "reason", "The worker gave another answer than it was asked for.")
