"""Generations: an index and its successor, each in a folder of its own.

    index/lexical/{schema}~{a few digits}      one of them serves, another may be being built
    index/vectors/{model}~{a few digits}       (without digits: from before there were generations)

Which one serves stands in the record, so that the change from one to the next
is a transaction; what is named there neither as serving nor as being built is
removed. `schema.txt` in the folder says by which schema it was made. Knows
folders; opens no index. Its hard rule: a new generation never reuses a folder,
so that one which cannot even be deleted is in nobody's way.
"""

import logging
import os
import shutil
import uuid
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_MARK = "schema.txt"


def new_generation(stem: str) -> str:
    return f"{stem}~{uuid.uuid4().hex[:8]}"


def stem_of(generation: str) -> str:
    """The schema or the model that a generation was made by."""
    return generation.partition("~")[0]


def schema_of(folder: Path) -> str | None:
    """By which schema the index in a folder was made; None where that is not said."""
    try:
        return (folder / _MARK).read_text().strip()
    except (OSError, ValueError):
        return None


def mark_schema(folder: Path, schema: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).write_text(schema)


def make_usable(folder: Path) -> None:
    """Have a folder there that can be written; one that cannot be is moved aside. Raises OSError."""
    if folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        with suppress(OSError):
            folder.chmod(0o755)
    if (folder.exists() or folder.is_symlink()) and not (
        folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    ):
        aside = folder.with_name(f"{folder.name}-unusable-{uuid.uuid4().hex[:8]}")
        log.warning("%s cannot be used; it is moved to %s", folder, aside.name)
        folder.rename(aside)
    folder.mkdir(parents=True, exist_ok=True)


def keep_only(root: Path, generations: Collection[str | None]) -> None:
    """Remove every other generation's folder; what cannot be removed is left."""
    for folder in root.iterdir():
        if folder.name not in generations:
            discard(folder)


def discard(folder: Path) -> None:
    """Remove a generation, also one whose folder is a file or may not be listed."""
    if not folder.is_dir() or folder.is_symlink():
        with suppress(OSError):
            folder.unlink(missing_ok=True)
        return
    with suppress(OSError):
        folder.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
