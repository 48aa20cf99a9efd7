"""Formats: which files can become documents. Kept apart from their readers, which only a worker loads."""

FORMATS: dict[str, str] = {
    ".epub": "epub",
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "text",
    ".text": "text",
}
