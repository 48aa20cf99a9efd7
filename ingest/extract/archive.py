"""Archive: a book's zip file, asked for texts by name.

Knows nothing of what an EPUB is but where its locks are named. Its hard rule:
the archive is hostile. Only texts are unpacked, in memory, counted, within
the limits, by names the archive itself lists; nothing is ever written.
"""

import stat
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from ingest.extract import markup
from ingest.extract.encoding import decode_page
from ingest.extract.outline import MIB, one_line
from ingest.limits import Limits
from library.errors import UnreadableFile

COPY_AGAIN = "Copy the file again from its source."
_ENCRYPTION = "META-INF/encryption.xml"
# Font obfuscation hides no text.
_OBFUSCATION = frozenset({"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"})
_LOCKS = (  # a file in META-INF → whose lock it is
    ("META-INF/license.lcpl", b"", "Readium LCP"),
    ("META-INF/rights.xml", b"adobe.com/adept", "Adobe"),
    ("META-INF/sinf.xml", b"", "Apple"),
)
_PLAIN_STARTS = (b"<?xml", b"<!doctype", b"<html", b"<svg")
_ENCRYPTED = 0x1  # the bit of a member's flags
_UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
_SMALL_BYTES = 4 * MIB  # below this no ratio matters: an empty table packs a thousandfold and harms nobody


def damaged(detail: str) -> UnreadableFile:
    return UnreadableFile(f"The archive is damaged: {detail}. {COPY_AGAIN}")


class Archive:
    """The zip file, asked for texts by name. Counts what it unpacks."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits = limits
        self._unpacked = 0
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, struct.error) as error:
            with path.open("rb") as opened:
                if opened.read(2) != b"PK":
                    raise UnreadableFile(
                        "The file is named like an EPUB but is not one. "
                        "Check what kind of file it is, and give it the right ending."
                    ) from error
            raise damaged("its table of contents cannot be read") from error
        try:
            self._index()
        except BaseException:
            self._zip.close()
            raise

    def _index(self) -> None:
        members = self._zip.infolist()
        if len(members) > self._limits.max_entries:
            raise UnreadableFile(
                f"The archive holds {len(members):,} files, more than the {self._limits.max_entries:,} that a "
                "book may have. Split it, or add the chapters as files of their own."
            )
        # Books name their own files in another case or Unicode form than the
        # archive does; an exact name wins, and of equals the first.
        self._members = {_folded(member.filename): member for member in reversed(members)}
        self._members |= {member.filename: member for member in reversed(members)}
        self.locked = self._locked_names()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def name_of(self, name: str) -> str | None:
        """The archive's own spelling of a name, or None if there is no such file."""
        member = self._members.get(name) or self._members.get(_folded(name))
        return member.filename if member else None

    def names(self, ending: str) -> list[str]:
        return [name for name in self._zip.namelist() if name.lower().endswith(ending)]

    def beginning(self, name: str, most: int) -> bytes | None:
        """The first bytes of a file, at most so many; None if they cannot be had."""
        member = self._member(name)
        if member is None or member.flag_bits & _ENCRYPTED:
            return None
        try:
            with self._zip.open(member) as packed:
                return packed.read(most)
        except _UNPACKING_ERRORS:
            return None

    def read(self, name: str) -> bytes | None:
        """Unpack one text, or None if there is no such file.

        Raises UnreadableFile if it is damaged, locked or unpacks beyond the limits.
        """
        member = self._member(name)
        if member is None:
            return None
        most = min(self._limits.max_member_mib * MIB, self._limits.max_expanded_mib * MIB - self._unpacked)
        ratio = member.file_size / max(member.compress_size, 1)
        if member.file_size > most or (member.file_size > _SMALL_BYTES and ratio > self._limits.max_ratio):
            raise self._bomb(member)
        if member.flag_bits & _ENCRYPTED:
            raise UnreadableFile(
                "The archive is locked with a password. Unpack it and pack it again without one."
            )
        try:
            with self._zip.open(member) as packed:
                content = packed.read(most + 1)  # never trust the size the archive states
        except _UNPACKING_ERRORS as error:
            raise damaged(f"“{one_line(member.filename)[:80]}” inside it cannot be unpacked") from error
        if len(content) > most:
            raise self._bomb(member)
        self._unpacked += len(content)
        return content

    def _member(self, name: str) -> zipfile.ZipInfo | None:
        """A regular file of the archive."""
        member = self._members.get(name) or self._members.get(_folded(name))
        if member is None or member.is_dir() or stat.S_ISLNK(member.external_attr >> 16):
            return None
        return member

    def read_xml(self, name: str) -> bytes | None:
        """The same, as UTF-8 without a document type: no entity survives for a parser to expand."""
        content = self.read(name)
        return None if content is None else markup.plain_xml(decode_page(content))

    def refuse_locked_book(self) -> None:
        """Raises UnreadableFile where a vendor's licence lies beside the book."""
        for name, sign, vendor in _LOCKS:
            licence = self.read(name)
            if licence is not None and sign in licence:
                raise self.locked_by(vendor)

    @staticmethod
    def locked_by(vendor: str) -> UnreadableFile:
        return UnreadableFile(
            f"The book is locked by {vendor}{' ' * bool(vendor)}copy protection, so its text cannot be read. "
            "Use a copy without copy protection."
        )

    def _locked_names(self) -> dict[str, str]:
        """Files that something more than font obfuscation encrypts."""
        source = self.read_xml(_ENCRYPTION)
        if source is None:
            return {}
        root = markup.parse_xml(source)
        names: dict[str, str] = {}
        for encrypted in root.iter("{*}EncryptedData") if root is not None else ():
            method = encrypted.find("{*}EncryptionMethod")
            algorithm = "" if method is None else method.get("Algorithm", "")
            if algorithm not in _OBFUSCATION:
                for reference in encrypted.iter("{*}CipherReference"):
                    names[_folded(unquote(reference.get("URI", "")))] = algorithm
        return names

    def is_locked(self, name: str) -> bool:
        """Whether the archive says that a file is encrypted, and it is: some say so of plain text."""
        if _folded(name) not in self.locked:
            return False
        content = self.read(name) or b""
        return not content.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith(_PLAIN_STARTS)

    def is_link(self, name: str) -> bool:
        """Whether a file is there but only points to another, which is never followed."""
        member = self._members.get(name) or self._members.get(_folded(name))
        return member is not None and stat.S_ISLNK(member.external_attr >> 16)

    def _bomb(self, member: zipfile.ZipInfo) -> UnreadableFile:
        return UnreadableFile(
            f"“{one_line(member.filename)[:80]}” inside the archive unpacks to {member.file_size // MIB:,} MiB, "
            "far more than a chapter can have. Get the book from another source."
        )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
