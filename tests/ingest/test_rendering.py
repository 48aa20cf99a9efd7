"""Rendering: leaves and pictures of real files through a real worker; what cannot be laid out says why."""

import datetime as dt
import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from lxml import html

from ingest.extract import extract
from ingest.limits import Limits
from ingest.link import WorkerLink
from ingest.rendering import Renderer, View, part_of
from ingest.wire import Mark, Rendered, WorkerOrders
from library.errors import UnreadableFile
from library.values import Document, DocumentState, Section
from tests.browser.reader_books import png
from tests.ingest.books import write_epub, xhtml

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


class Room:
    """A library folder, its record kept in a dictionary, and the renderer over both."""

    def __init__(
        self, folder: Path, *, timeout_s: float = 30, memory_mib: int = 1024, idle_s: float = 60
    ) -> None:
        self.library = folder / "library"
        self.library.mkdir()
        orders = WorkerOrders(
            socket_fd=-1,
            model_folder="",
            threads=1,
            memory_mib=memory_mib,
            library=str(self.library),
            limits=Limits(),
            scratch=str(folder / "scratch"),
            nice=0,
        )
        self.link = WorkerLink(orders, timeout_s=timeout_s, module="ingest.render.worker")
        self.sections: dict[str, tuple[Section, ...]] = {}
        excerpts = SimpleNamespace(sections_at=self._sections_at)
        self.renderer = Renderer(self.link, excerpts, idle_s=idle_s)  # type: ignore[arg-type]

    def _sections_at(self, document_id: str, part: str | None = None) -> list[Section]:
        return [one for one in self.sections[document_id] if part is None or part_of(one) == part]

    def read(self, path: Path) -> Document:
        extracted = extract(path)
        self.sections[path.name] = extracted.sections
        formats = {".epub": "epub", ".md": "markdown", ".html": "html"}
        return Document(
            id=path.name, path=path.name, shelf=None, title=extracted.title, authors=(), language=None, year=None,
            identifiers=(), subjects=(), description="", cover=extracted.cover, format=formats[path.suffix],
            size_bytes=1, state=DocumentState.FINDABLE, reason=None, chunks=1, embedded=1, received_at=NOON,
            updated_at=NOON,
        )  # fmt: skip

    def page(self, document: Document, **view: object) -> Rendered:
        return self.renderer.page(document, View(**view), address="/read/x")  # type: ignore[arg-type]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    room.renderer.close()


def test_links_lead_to_parts_and_notes_on_the_leaf_stay_on_it(room: Room) -> None:
    path = write_epub(
        room.library / "b.epub",
        {
            "t/one.xhtml": xhtml('<p>See <a href="two.xhtml#x&amp;y">two</a>, <a href="#n">a note</a>, <a href="no.css">css</a></p><p id="n">N</p>'),
            "t/two.xhtml": xhtml('<p id="x&amp;y">Two</p><p><a href="../../../etc/passwd">up</a><a href="/root">root</a></p>'),
        },
    )  # fmt: skip
    document = room.read(path)
    one = room.page(document, part="t/one.xhtml")
    assert 'href="/read/x?part=t/two.xhtml%23x%26y#b-x&amp;y"' in one.html
    assert 'href="#b-n"' in one.html
    assert "css</p>" in one.html
    assert one.parts == ("t/one.xhtml", "t/two.xhtml")
    assert "href" not in room.page(document, part="t/two.xhtml").html


def test_a_long_note_is_cut_into_leaves_and_opens_at_the_passage(room: Room) -> None:
    path = room.library / "long.md"
    path.write_text(
        "# Long\n\n"
        + "\n\n".join(f"## Part {n}\n\n{'Rain fell on the hill again. ' * 60}{n}" for n in range(120))
        + "\n\n[first](#part-0)\n"
    )
    document = room.read(path)
    section = next(one for one in room.sections["long.md"] if one.heading_path[-1] == "Part 90")
    end = len(section.text)
    opened = room.page(
        document,
        section=section.ordinal,
        marks=(Mark(section.ordinal, end - 10, end, "passage", "passage", True),),
    )
    assert opened.exact
    assert 0 < opened.leaf < opened.leaves
    assert 'id="passage"' in opened.html
    assert len(opened.html) < 200_000
    last = room.page(document, leaf=-1)
    assert last.leaf == last.leaves - 1
    assert 'href="/read/x?part=&amp;leaf=0#b-part-0"' in last.html
    every = [room.page(document, leaf=number) for number in range(opened.leaves)]
    begun = [ordinal for leaf in every for ordinal in leaf.sections]
    assert begun == [one.ordinal for one in room.sections["long.md"]]


def test_a_passage_that_goes_on_upon_the_next_leaf_is_not_called_exact(room: Room) -> None:
    path = room.library / "one.md"
    path.write_text("# One\n\n" + "\n\n".join(f"{n} {'Rain fell on the hill. ' * 50}" for n in range(120)))
    document = room.read(path)
    [section] = room.sections["one.md"]
    found = set()
    for at in range(0, len(section.text) - 3_000, 3_000):
        one = room.page(document, marks=(Mark(0, at, at + 3_000, "passage", "passage", True),))
        marked = "".join(html.fromstring(one.html).xpath("//mark//text()"))
        assert one.exact == (marked.split() == section.text[at : at + 3_000].split())
        found.add(one.exact)
    assert found == {True, False}


def test_a_passage_that_is_not_on_the_page_is_not_said_to_be(room: Room) -> None:
    path = room.library / "n.md"
    path.write_text("# Note\n\nThe colony is called Marigold.\n")
    document = room.read(path)
    path.write_text("# Note\n\nEverything here was written anew since.\n")
    rendered = room.page(document, section=0, marks=(Mark(0, 0, 20, "passage", "passage", True),))
    assert not rendered.exact
    assert "<mark" not in rendered.html


def test_a_picture_comes_with_the_type_its_bytes_have(room: Room) -> None:
    path = write_epub(
        room.library / "p.epub",
        {"c.xhtml": xhtml("<p>Text</p>")},
        extra={"OEBPS/a.jpg": png(), "OEBPS/b.png": b"<html>"},
    )
    document = room.read(path)
    assert room.renderer.picture(document, "OEBPS/a.jpg").media_type == "image/png"
    for name in ("OEBPS/b.png", "OEBPS/c.xhtml", "nowhere.png", "../p.epub"):
        with pytest.raises(UnreadableFile):
            room.renderer.picture(document, name)


def test_room_is_kept_for_a_picture_that_states_its_size(room: Room) -> None:
    pictures = "".join(f'<img src="{name}.png" alt="{name}"/>' for name in ("plate", "page", "bomb", "gone"))
    bomb = bytearray(png())
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    book = write_epub(
        room.library / "p.epub",
        {"c.xhtml": xhtml(f"<p>Text</p>{pictures}")},
        extra={
            "OEBPS/plate.png": png(30, 40),
            "OEBPS/page.png": b"<html>",
            "OEBPS/bomb.png": bytes(bomb),
        },
    )
    note = room.library / "n.md"
    note.write_text("# Note\n\n![plate](in/plate.png) ![away](../p.png) ![gone](gone.png)\n")
    (note.parent / "in").mkdir()
    (note.parent / "in" / "plate.png").write_bytes(png(50, 60))
    for path, expected in (
        (book, {"plate": ("30", "40"), "page": (None, None), "bomb": (None, None)}),
        (note, {"plate": ("50", "60"), "gone": (None, None)}),
    ):
        shown = html.fromstring(room.page(room.read(path)).html).iter("img")
        assert {one.get("alt"): (one.get("width"), one.get("height")) for one in shown} == expected


def test_the_worker_runs_only_while_somebody_reads(tmp_path: Path) -> None:
    room = Room(tmp_path, idle_s=0.1)
    (room.library / "n.md").write_text("# Note\n\nMarigold.\n")
    document = room.read(room.library / "n.md")
    assert room.link.pid is None
    room.page(document)
    ends = time.monotonic() + 20
    while room.link.pid is not None:
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert "Marigold" in room.page(document, leaf=-1).html
    room.renderer.close()


def test_what_takes_too_long_or_is_gone_says_so_and_the_next_page_comes(tmp_path: Path) -> None:
    room = Room(tmp_path)
    (room.library / "n.md").write_text("# Note\n\nMarigold.\n")
    (room.library / "m.md").write_text("# Other\n\nPetunia.\n")
    room.page(room.read(room.library / "m.md"))
    document = room.read(room.library / "n.md")
    assert room.link.pid
    room.link._timeout_s = 1
    os.kill(room.link.pid, signal.SIGSTOP)
    with pytest.raises(UnreadableFile, match="cannot be laid out"):
        room.page(document)
    room.renderer.close()
    (tmp_path / "second").mkdir()
    other = Room(tmp_path / "second")
    (other.library / "n.md").write_text("# Note\n\nMarigold.\n")
    gone = other.read(other.library / "n.md")
    (other.library / "n.md").unlink()
    with pytest.raises(UnreadableFile, match="cannot be opened"):
        other.page(gone)
    (other.library / "n.md").write_text("# Note\n\nMarigold.\n")
    assert "Marigold" in other.page(gone).html
    other.renderer.close()


def test_a_link_to_a_file_outside_is_not_followed(room: Room, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    (room.library / "n.md").write_text("# Note\n\nMarigold. ![s](s.png)\n")
    document = room.read(room.library / "n.md")
    (room.library / "s.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UnreadableFile):
        room.renderer.picture(document, "s.png")
