"""Material: real texts for the benchmarks, as many files as asked for.

From the shared data where it is there, else the starter chapters again and
again. Its hard rule: no two files are the same, for the same words twice are
no work the second time. Where texts are used again, a line that says so makes
them differ.
"""

import itertools
import json
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.places import ROOT, SHARED_DATA

_LETTERS = str.maketrans("0123456789", "bdfghjklmp")  # no stemmer shortens them into one another
_FEWEST_CHARS = 100  # licence stubs and redirects are no pages


@cache
def _packed(name: str) -> tuple[str, ...]:
    """The Markdown pages of an archive of the shared data; none where it is not there."""
    path = SHARED_DATA / "markdown" / name
    if not path.exists():
        return ()
    pages = []
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".md"):
                found = archive.extractfile(member)
                assert found
                pages.append(found.read().decode("utf-8", errors="replace"))
    return tuple(page for page in pages if len(page) >= _FEWEST_CHARS)


@cache
def _starter() -> tuple[str, ...]:
    return tuple(path.read_text() for path in sorted((ROOT / "library" / "starter").rglob("*.md")))


def tiny_pages() -> Iterator[str]:
    """Pages of some hundred characters without end: tldr's, each with a line of its own."""
    pages = _packed("tldr-en.tar.gz") or tuple(
        f"# {block[:40].strip()}\n\n{block}"
        for chapter in _starter()
        for block in chapter.split("\n\n")
        if len(block) >= _FEWEST_CHARS
    )
    return _varied(pages)


def long_pages() -> Iterator[str]:
    """Pages of some thousand characters without end: PowerShell's manual, each with a line of its own."""
    return _varied(_packed("powershell-7.4.tar.gz") or _starter())


def mixed_pages() -> Iterator[str]:
    """Long and tiny pages in turn."""
    return itertools.chain.from_iterable(zip(long_pages(), tiny_pages(), strict=False))


def each_page() -> Iterator[tuple[str, str]]:
    """Every page at hand once, long and tiny ones in turn: its title and its text."""
    long, tiny = _packed("powershell-7.4.tar.gz"), _packed("tldr-en.tar.gz")
    turns = itertools.chain.from_iterable(itertools.zip_longest(long, tiny, fillvalue=""))
    for page in filter(None, turns if long or tiny else _starter()):
        heading = re.search(r"^(?:#|title:) *(.+)", page, re.MULTILINE)
        yield (heading.group(1) if heading else page[:40]).strip(), page


def abstracts() -> Iterator[tuple[str, str]]:
    """Title and text of every abstract of SciFact; none where the shared data is not there."""
    path = SHARED_DATA / "retrieval-scifact" / "corpus.jsonl"
    if path.exists():
        yield from ((paper["title"], paper["text"]) for paper in map(json.loads, path.open()))


def questions() -> tuple[str, ...]:
    """Natural-language queries: SciFact's claims, else the starter chapters' headings."""
    path = SHARED_DATA / "retrieval-scifact" / "queries.jsonl"
    if path.exists():
        return tuple(json.loads(line)["text"] for line in path.open())
    return tuple(re.findall(r"^#+ (.+)", "\n".join(_starter()), re.MULTILINE))


def plain_texts() -> Iterator[str]:
    """Plain text in files of about a hundred thousand characters: abstracts of papers, without end."""
    papers = [f"{title}\n\n{text}" for title, text in abstracts()]
    if not papers:
        return _varied(tuple("\n\n".join(_starter()[first::4]) for first in range(4)))
    return _varied(tuple("\n\n".join(papers[first : first + 70]) for first in range(0, len(papers), 70)))


def books() -> list[Path]:
    """Real EPUBs; none where the shared data is not there."""
    samples = SHARED_DATA / "epub" / "epub3-samples"
    manual = SHARED_DATA / "survival-manual" / "LigiSurvivalManual.epub"
    return [path for path in (*sorted(samples.glob("*.epub")), manual) if path.exists()]


def long_texts() -> list[Path]:
    """Long Markdown files beside the books: what the questions about chunking are asked of."""
    found = sorted((SHARED_DATA / "questions" / "chunking-evaluation" / "corpora").glob("*.md"))
    return found or sorted((ROOT / "library" / "starter").rglob("*.md"))


def edition(book: Path, copy: int, target: Path) -> None:
    """The same book with another digest: a note at the end of the archive, where no reader looks."""
    shutil.copyfile(book, target)
    target.chmod(0o644)
    if copy:
        with zipfile.ZipFile(target, "a") as archive:
            archive.comment = f"edition {copy}".encode()


def write(folder: Path, pages: Iterator[str], count: int, *, suffix: str = ".md", first: int = 0) -> int:
    """Write `count` pages into a folder as page-000000 and so on; returns their size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    size = 0
    for n, page in enumerate(itertools.islice(pages, count), start=first):
        content = page.encode()
        size += len(content)
        (folder / f"page-{n:06d}{suffix}").write_bytes(content)
    return size


def _varied(pages: tuple[str, ...]) -> Iterator[str]:
    for n, page in enumerate(itertools.cycle(pages)):
        yield f"{page.rstrip()}\n\nThis is sheet {sheet(n)} of its series.\n"


def sheet(n: int) -> str:
    """The word that stands in the n-th file and in no other."""
    return "zq" + f"{n:07d}".translate(_LETTERS)
