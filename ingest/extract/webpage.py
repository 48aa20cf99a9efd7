"""Web page: one HTML file in, its title, its text and what its head says about it out.

The same strictness as for a book's page: nothing is run, fetched or included,
whatever the page refers to. Knows what saved pages look like: the site's own
navigation is left out where the page says that it is navigation, and nothing
else is, because a wrong guess would lose text. Its hard rule: never fetch.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingest.extract import html, markup, metadata
from ingest.extract.encoding import decode_page_or_guess
from ingest.extract.outline import MIB, Outline, first_heading, language_tag, one_line, title_of_file, year_in
from ingest.limits import DEFAULT_LIMITS, Limits
from library.errors import UnreadableFile
from library.values import Extracted

_NAVIGATION = frozenset({"navigation", "search", "menu", "menubar"})
_PAGE_FRAME = frozenset({"banner", "contentinfo"})  # the site's own head and foot, where the page says so
_DESCRIPTIONS = ("description", "dcterms.abstract", "dc.description", "dcterms.description", "og:description")
_AUTHORS = ("author", "dc.creator", "dcterms.creator", "citation_author", "article:author", "book:author")
_DATES = (
    "dcterms.issued", "dcterms.created", "dc.date", "dcterms.date", "citation_publication_date",
    "citation_date", "article:published_time", "book:release_date", "date", "pubdate",
)  # fmt: skip
_SUBJECTS = ("keywords", "news_keywords", "dc.subject", "dcterms.subject", "article:tag", "book:tag")
_IDENTIFIERS = (
    ("dc.identifier", ""), ("dcterms.identifier", ""), ("citation_isbn", "isbn"), ("book:isbn", "isbn"),
    ("citation_doi", "doi"), ("isbn", "isbn"),
)  # fmt: skip


def tree(path: Path, limits: Limits) -> Any:
    """The page as the tree that its text is taken from. Raises as `extract_webpage` does."""
    root = _parsed(path, limits)
    _leave_out_navigation(root)
    return root


def _parsed(path: Path, limits: Limits) -> Any:
    if path.stat().st_size > limits.max_member_mib * MIB:
        raise UnreadableFile(
            f"The page is larger than {limits.max_member_mib} MiB, which is more than one page may have. "
            "Save it without its pictures inside, or split it."
        )
    root = markup.parse(decode_page_or_guess(path.read_bytes()))
    if root is None:
        raise UnreadableFile("The file holds no page, only white space or comments. Save it again.")
    return root


def extract_webpage(path: Path, limits: Limits = DEFAULT_LIMITS) -> Extracted:
    """Raises UnreadableFile if the file is too large, is no text, or is nested beyond reading."""
    root = _parsed(path, limits)
    head = _Head(root)
    _leave_out_navigation(root)
    events = html.events(root)
    title = head.title() or first_heading(events) or title_of_file(path)
    outline = Outline(title)
    outline.add(events)
    return Extracted(
        title=title,
        authors=metadata.names(
            text for text in head.all(_AUTHORS) if not text.startswith(("http:", "https:"))
        ),
        language=head.language(),
        year=next((year for text in head.all(_DATES) if (year := year_in(text))), None),
        sections=outline.sections(),
        identifiers=metadata.identifiers(
            (text, scheme) for name, scheme in _IDENTIFIERS for text in head.all((name,))
        ),
        subjects=metadata.subjects(word for text in head.all(_SUBJECTS) for word in metadata.keywords(text)),
        description=metadata.plain(next(iter(head.all(_DESCRIPTIONS)), "")),
    )


class _Head:
    """What the page says about itself: meta elements by lowercase name, Dublin Core and OpenGraph alike."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._said: dict[str, list[str]] = {}
        for meta in root.iter("{*}meta", "meta"):
            name = one_line(meta.get("name") or meta.get("property") or meta.get("itemprop") or "").lower()
            text = one_line(meta.get("content") or "")
            if name and text:
                self._said.setdefault(name, []).append(text)

    def all(self, names: tuple[str, ...]) -> list[str]:
        """What stands under the first of these names that the page uses."""
        return next((self._said[name] for name in names if name in self._said), [])

    def title(self) -> str:
        for element in self._root.iter("{*}title", "title"):
            parent = element.getparent()
            if parent is not None and html.local_name(parent) == "head":
                title = one_line("".join(element.itertext()))
                if title:
                    return title
        return next(
            iter(self.all(("og:title", "dc.title", "dcterms.title", "citation_title", "twitter:title"))), ""
        )

    def language(self) -> str | None:
        stated = self._root.get("lang") or self._root.get("{http://www.w3.org/XML/1998/namespace}lang") or ""
        others = self.all(("dc.language", "dcterms.language", "content-language", "language", "og:locale"))
        return next((tag for text in (stated, *others) if (tag := language_tag(text))), None)


def _leave_out_navigation(root: Any) -> None:
    """Take out what the page itself calls navigation, unless that is all there is."""
    has_main = any(html.local_name(element) in {"main", "article"} for element in root.iter())
    found = [element for element in root.iter() if _is_navigation(element, has_main=has_main)]
    if not found or _letters(root) - sum(map(_letters, _outermost(found))) < _letters(root) // 20:
        return  # a page of links, like a site's map, is read as it is
    for element in found:
        parent = element.getparent()
        if parent is None:
            continue
        tail = element.tail or ""
        before = element.getprevious()
        if before is not None:
            before.tail = (before.tail or "") + tail
        else:
            parent.text = (parent.text or "") + tail
        parent.remove(element)


def _is_navigation(element: Any, *, has_main: bool) -> bool:
    if not isinstance(element.tag, str):
        return False
    roles = set((element.get("role") or "").lower().split())
    name = html.local_name(element)
    if roles & _NAVIGATION or (name == "nav" and not roles):
        return True
    # The frame of the page, not of an article in it, and only where the page shows what it frames.
    in_body = html.local_name(element.getparent()) == "body"
    is_frame = roles & _PAGE_FRAME or (name in {"header", "footer"} and in_body)
    return bool(has_main and is_frame) and not _holds_the_text(element)


def _holds_the_text(element: Any) -> bool:
    return any(html.local_name(inner) in {"main", "article", "h1"} for inner in element.iter())


def _outermost(elements: list[Any]) -> Iterator[Any]:
    chosen = set(elements)
    for element in elements:
        if not any(above in chosen for above in element.iterancestors()):
            yield element


def _letters(element: Any) -> int:
    return sum(len(text.strip()) for text in element.itertext())
