"""Media types: what a document's file or its cover is called on the wire, by its ending. Pure.

A short list of our own: the machine's knows neither EPUB nor Markdown everywhere.
"""

_TYPES = {
    "epub": "application/epub+zip",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "txt": "text/plain",
    "text": "text/plain",
    "html": "text/html",
    "htm": "text/html",
    "xhtml": "application/xhtml+xml",
    "pdf": "application/pdf",
    # What Almanac cannot read, but a reader's device may.
    "mobi": "application/x-mobipocket-ebook",
    "azw": "application/vnd.amazon.ebook",
    "azw3": "application/vnd.amazon.ebook",
    "fb2": "application/x-fictionbook+xml",
    "djvu": "image/vnd.djvu",
    "cbz": "application/vnd.comicbook+zip",
    "cbr": "application/vnd.comicbook-rar",
    "rtf": "application/rtf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "odt": "application/vnd.oasis.opendocument.text",
    "zim": "application/x-zim",
}
# The pictures that every catalogue's client shows.
_PICTURES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif"}


def media_type(path: str) -> str:
    """The media type of a file by its name. It states no character set: a file may be in any."""
    return _TYPES.get(_ending(path), "application/octet-stream")


def picture_type(name: str) -> str | None:
    """The media type of a JPEG, PNG or GIF by its name; None for any other picture."""
    return _PICTURES.get(_ending(name))


def _ending(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[2].lower()
