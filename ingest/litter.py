"""Litter: names that are never a document, so that nobody is told sixty thousand times that they are none.

Two kinds. *Litter* is what systems, sync tools, browsers and editors leave
lying about, most of it unfinished or hidden: it is not looked at. *Companions*
are whole files that belong to a book or a saved page but are none (covers,
Calibre's own files, style sheets): they are counted and passed over. Anything
else that cannot be read was dropped by somebody who expects an answer, and
fails with a sentence. Knows names only; opens nothing.
"""

import re
from pathlib import PurePosixPath

# Whole names, lowercase.
_NAMES = frozenset(
    {
        # Synology, QNAP, Windows, macOS, Linux
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "lost+found", "thumbs.db",
        "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "network trash folder",
        "temporary items", "icon\r", "__macosx", "recycler",
        # Dropbox, Seafile, vim asking whether it may write here
        "dropbox.device", "seafile-ignore.txt", "4913",
    }
)  # fmt: skip
_ENDINGS = (
    # Downloads and copies under way: browsers, wget, aria2, torrent programs, rclone, Nextcloud, Windows
    ".part", ".partial", ".crdownload", ".download", ".opdownload", ".aria2", ".!qb", ".!ut", ".bc!", ".filepart",
    ".unconfirmed", ".ctmp", ".owncloudsync", ".tmp", ".temp",
    # Editors and Office programs
    "~", ".swp", ".swo", ".swx", ".lock",
    # KOReader's folder beside each book
    ".sdr",
    # Where a browser on Windows noted that a file came from the network
    ":zone.identifier", ".zone.identifier", ".lnk",
)  # fmt: skip
# A leading dot covers Syncthing (.stfolder, .syncthing.*.tmp), Nextcloud (.~sync, ._sync_*.db), Dropbox
# (.dropbox.cache), GNOME (.goutputstream-*), NFS (.nfs0000…), LibreOffice (.~lock.*#), macOS (._*, .DS_Store).
_STARTS = (".", "~$", "~wrl", "#sync-")
# rsync's and Nextcloud's unfinished copies begin with a dot; LibreOffice's (lu1234abcd.tmp) end in .tmp.
_SHAPES = re.compile(r"#.+#|~.+\.tmp", re.IGNORECASE)

_COMPANION_NAMES = frozenset({"metadata.db", "metadata_db_prefs_backup.json", "metadata_pre_restore.db"})
_COMPANION_ENDINGS = frozenset(
    {
        # pictures: covers, and what a page or a note shows
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".avif", ".heic", ".heif", ".bmp", ".tif", ".tiff",
        ".ico", ".svg", ".svgz", ".jxl",
        # beside a saved web page
        ".css", ".js", ".mjs", ".map", ".woff", ".woff2", ".ttf", ".otf", ".eot",
        # what programs note beside a book, a disc or a download
        ".opf", ".apnx", ".mbp", ".mbs", ".nfo", ".sfv", ".md5", ".sha1", ".sha256", ".cue", ".torrent", ".url",
        ".webloc", ".desktop",
    }
)  # fmt: skip


def is_litter(name: str) -> bool:
    """Whether a file or folder name is never the reader's own."""
    lower = name.lower()
    return (
        lower.startswith(_STARTS)
        or lower.endswith(_ENDINGS)
        or lower in _NAMES
        or _SHAPES.fullmatch(lower) is not None
    )


def is_companion(name: str) -> bool:
    """Whether a file is part of something else by its name, and no document.

    Ask only of a name whose ending has no reader: a plug-in may well read pictures.
    """
    lower = name.lower()
    return lower in _COMPANION_NAMES or PurePosixPath(lower).suffix in _COMPANION_ENDINGS
