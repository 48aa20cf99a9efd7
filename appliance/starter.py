"""The starter library: a first shelf of books for a folder that is still empty.

Copies the chapters that come with Almanac and binds some of them into one
EPUB. Its hard rule: it only ever furnishes a folder that does not exist or has
nothing in it, once; what a reader deletes does not come back.
"""

import os
import shutil
import uuid
from importlib import resources
from pathlib import Path

_FURNISHED_MARK = ".furnished"
_BOUND_SHELVES = ("water", "first-aid")
_BOOK_TITLE = "The Household Almanac: Water and First Aid"
_BOOK_FILE = "household-almanac.epub"


def furnish(library: Path, data: Path) -> bool:
    """Put the starter library into an empty folder; True when it did."""
    mark = data / _FURNISHED_MARK
    if mark.exists() or (library.exists() and any(library.iterdir())):
        return False
    library.mkdir(parents=True, exist_ok=True)
    data.mkdir(parents=True, exist_ok=True)
    with resources.as_file(resources.files("library") / "starter") as starter:
        for shelf in sorted(path for path in starter.iterdir() if path.is_dir()):
            shutil.copytree(shelf, library / shelf.name, dirs_exist_ok=True)
        chapters = [path for shelf in _BOUND_SHELVES for path in sorted((starter / shelf).glob("*.md"))]
        bind(chapters, library / _BOUND_SHELVES[0] / _BOOK_FILE)
    mark.touch()
    return True


def bind(chapters: list[Path], book_path: Path) -> None:
    """Make one EPUB of Markdown chapters. The same chapters give the same identifier."""
    from ebooklib import epub  # noqa: PLC0415 - only the first start binds a book
    from markdown_it import MarkdownIt  # noqa: PLC0415
    from mdit_py_plugins.front_matter import front_matter_plugin  # noqa: PLC0415

    markdown = MarkdownIt("commonmark").enable("table").use(front_matter_plugin)
    book = epub.EpubBook()
    book.set_identifier(f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, _BOOK_TITLE)}")
    book.set_title(_BOOK_TITLE)
    book.set_language("en")
    book.add_author("Almanac contributors")
    book.add_metadata("DC", "rights", "Apache-2.0")
    pages = []
    for path in chapters:
        text = path.read_text(encoding="utf-8")
        title = next(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
        page = epub.EpubHtml(title=title, file_name=f"{path.stem}.xhtml", lang="en")
        page.content = markdown.render(text)
        book.add_item(page)
        pages.append(page)
    book.toc = pages
    book.spine = ["nav", *pages]
    book.add_item(epub.EpubNcx())
    book.add_item(epub.EpubNav())
    # Beside the target first: the folder may be watched already.
    unfinished = book_path.with_name(f".{book_path.name}.part")
    epub.write_epub(str(unfinished), book)
    os.replace(unfinished, book_path)  # noqa: PTH105 - one atomic step
