"""File names: what a name that came over the network may be called in the library.

Pure; touches no disk. A browser sends what its reader's disk calls the file,
a program may send anything. A file's name is mended where the meaning is clear
(folders before it are dropped, a name that is too long is cut) and refused
where it is not. Its hard rule: what comes out is one name, in one folder, and
no litter; it can lead nowhere else.
"""

import unicodedata
from pathlib import PurePosixPath

from ingest.litter import is_litter
from library.errors import InvalidRequest, UnreadableFile

_LONGEST_BYTES = 255  # of a name, on every file system in use
# Windows knows them as devices; a library on a share is opened from there too.
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10)}
)
# Marks that turn the direction of a name around: "gpj.epub" may be shown for "bupe.jpg".
_TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])


def file_name(sent: str) -> str:
    """The name under which a file may be stored. Raises UnreadableFile, saying why there is none."""
    name = _plain(sent.replace("\\", "/").rsplit("/", 1)[-1])
    problem = _problem(name)
    if problem:
        raise UnreadableFile(f"The file's name {problem}. Rename it, and send it again.")
    return numbered(name, 1)


def shelf_name(sent: str) -> str | None:
    """The shelf that a form's field names; None for none. Raises InvalidRequest.

    Stricter than a file's name: a shelf is typed or chosen, and mending it would
    put books where nobody looks for them.
    """
    name = _plain(sent)
    if not name:
        return None
    problem = "must not contain / or \\" if "/" in name or "\\" in name else _problem(name)
    if not problem and len(name.encode()) > _LONGEST_BYTES:
        problem = f"must not be longer than {_LONGEST_BYTES} bytes"
    if problem:
        raise InvalidRequest("shelf", f"names a folder of the library; the name {problem}.")
    return name


def numbered(name: str, n: int) -> str:
    """The nth name to try: "owls.md", "owls (2).md"; cut before its ending where it is too long."""
    ending = PurePosixPath(name).suffix
    stem = name.removesuffix(ending) if ending else name
    tail = f" ({n}){ending}" if n > 1 else ending
    room = max(1, _LONGEST_BYTES - len(tail.encode()))
    return stem.encode()[:room].decode(errors="ignore").rstrip() + tail


def _plain(sent: str) -> str:
    return unicodedata.normalize("NFC", sent).translate(_TURNING).strip(" ")


def _problem(name: str) -> str | None:
    if not name.strip(". \u3000"):
        return "is empty or made of dots"
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return "contains characters that no name may have (a line break, say)"
    if name.split(".", 1)[0].strip().lower() in _DEVICES:
        return f"is reserved on some systems ({name.split('.', 1)[0]})"
    if is_litter(name):
        return "is one that sync tools and unfinished downloads have, and such files are left out"
    if len(PurePosixPath(name).suffix.encode()) > _LONGEST_BYTES // 2:
        return "has an ending that is too long"
    return None
