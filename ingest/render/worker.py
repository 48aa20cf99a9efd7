"""The rendering worker: a disposable child that lays out pages of books and takes pictures out of them.

Started by `ingest.link` as `python -m ingest.render.worker`, as the ingest
worker is, but beside it: somebody is waiting for the page. It loads no model.
Its hard rule: it writes nothing, and what a file does to it is over when it ends.
"""

import os
import posixpath
import sys
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from ingest.child import serve
from ingest.extract.archive import Archive
from ingest.pinned import open_inside, pinned
from ingest.render.composing import Composed
from ingest.render.drawings import drawing
from ingest.render.pictures import MOST_BYTES, media_type
from ingest.render.sources import open_part
from ingest.wire import Broken, Picture, Pictured, Render, Reply, Request, Unreadable, WorkerOrders
from library.errors import UnreadableFile

_KEPT = 3  # parts that are ready for their next leaf
_NO_PICTURE = "The book has no such picture, or it is of a kind that is not shown."


class Press:
    """Keeps the parts that were laid out last: a reader turns to the next leaf of the same."""

    def __init__(self, orders: WorkerOrders) -> None:
        self._library, self._scratch, self._limits = Path(orders.library), Path(orders.scratch), orders.limits
        self._kept: OrderedDict[tuple[object, ...], Composed] = OrderedDict()

    def answer(self, request: Request) -> Reply:
        try:
            return self._answered(request)
        except UnreadableFile as error:
            return Unreadable(str(error))
        except OSError as error:
            return Unreadable(f"The file cannot be opened ({error.strerror or 'input or output error'}).")
        except MemoryError:
            self._kept.clear()
            return Unreadable("Laying it out takes more memory than one book may have.")

    def _answered(self, request: Request) -> Reply:
        self._scratch.mkdir(parents=True, exist_ok=True)
        if isinstance(request, Render):
            return self._composed(request).leaf(request)
        if isinstance(request, Picture):
            return self._picture(request)
        return Broken("This worker lays out pages, and was asked for something else.")

    def _composed(self, asked: Render) -> Composed:
        with pinned(self._library, asked.path, self._scratch) as path:
            status = path.stat()
            of_record = hash(
                tuple((one.ordinal, one.heading, one.fragment, one.text) for one in asked.sections)
            )
            key = (asked.path, asked.address, asked.part, status.st_mtime_ns, status.st_size, of_record)
            found = self._kept.pop(key, None)
            if found is None:
                beside = partial(self._beginning_beside, asked.path)
                with open_part(
                    path, asked.format, asked.part, self._limits, address=asked.address, beside=beside
                ) as source:
                    part = asked.part or source.parts[0]
                    found = Composed(source, asked.sections, address=asked.address, part=part)
        self._kept[key] = found
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

    def _picture(self, asked: Picture) -> Pictured:
        content = self._out_of_book(asked) if asked.format == "epub" else self._whole_beside(asked)
        if content is not None:
            if (type_ := media_type(content)) is not None:
                return Pictured(content, type_)
            if (drawn := drawing(content)) is not None:
                return Pictured(drawn, "image/svg+xml")
        raise UnreadableFile(_NO_PICTURE)

    def _out_of_book(self, asked: Picture) -> bytes | None:
        with pinned(self._library, asked.path, self._scratch) as path, Archive(path, self._limits) as archive:
            return archive.read(asked.name)

    def _whole_beside(self, asked: Picture) -> bytes | None:
        with self._beside(asked.path, asked.name) as opened:
            if os.fstat(opened.fileno()).st_size > MOST_BYTES:
                return None
            return opened.read()

    def _beginning_beside(self, path: str, name: str, most: int) -> bytes | None:
        try:
            with self._beside(path, name) as opened:
                return opened.read(most)
        except (OSError, UnreadableFile):
            return None

    def _beside(self, path: str, name: str) -> BinaryIO:
        """A picture of a note or saved page: in its folder or below it, never above.

        Raises OSError, and UnreadableFile for a name that leads elsewhere.
        """
        name = posixpath.normpath(name)
        if name.startswith(("/", "../")) or name in (".", ".."):
            raise UnreadableFile(_NO_PICTURE)
        return open_inside(self._library, posixpath.join(posixpath.dirname(path), name))


if __name__ == "__main__":
    given = msgspec.json.decode(sys.argv[1], type=WorkerOrders)
    serve(given, Press(given).answer)
