"""Mounts: what a folder stands on, and whether the kernel will tell of changes there.

inotify tells of what this machine does. What another machine writes to a
shared disk, or a program below a FUSE mount, comes without any event. Reads
Linux's own table of mounts and nothing else; where there is none, every folder
is taken for a local one.
"""

import os
import re
from pathlib import Path

import msgspec

MOUNT_TABLE = Path("/proc/self/mountinfo")

# Of these, changes can come from elsewhere. FUSE is in question as a whole: sshfs, rclone, mergerfs, glusterfs
# and davfs2 all mount as `fuse` or `fuse.<name>`. `fuseblk` is a local disk (NTFS, exFAT) and tells.
_UNTOLD = frozenset(
    {
        "9p", "acfs", "afs", "aufs", "beegfs", "ceph", "cifs", "coda", "davfs", "drvfs", "fuse", "gfs2", "glusterfs",
        "gpfs", "kafs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb3",
        "smbfs", "vboxsf", "virtiofs", "vmhgfs",
    }
)  # fmt: skip
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(msgspec.Struct, frozen=True):
    """A file system where it is mounted."""

    at: str
    kind: str  # "ext4", "nfs4", "fuse.sshfs"

    @property
    def tells(self) -> bool:
        """Whether every change there reaches inotify."""
        return self.kind not in _UNTOLD and not self.kind.startswith("fuse.")


class Ground(msgspec.Struct, frozen=True):
    """What a folder stands on. Two unequal grounds mean that watches set on the first are dead."""

    device: int
    inode: int
    mount: Mount | None
    inside: tuple[Mount, ...]  # mounted below the folder

    @property
    def untold(self) -> tuple[Mount, ...]:
        """The mounts among these whose changes may come without an event."""
        mounts = (self.mount, *self.inside) if self.mount else self.inside
        return tuple(mount for mount in mounts if not mount.tells)


def ground(folder: Path, table: Path = MOUNT_TABLE) -> Ground | None:
    """What the folder stands on; None when it cannot be seen."""
    try:
        real = os.path.realpath(folder, strict=True)
        seen = os.stat(real)  # noqa: PTH116 - of what realpath has just found
    except OSError:
        return None
    mounts = _mounts(table)
    below = real.rstrip("/") + "/"
    over = [mount for mount in mounts if below.startswith(mount.at.rstrip("/") + "/")]
    # Of two mounts in one place the later hides the earlier; max() takes the first of equals.
    under = max(reversed(over), key=lambda mount: len(mount.at), default=None)
    inside = tuple(mount for mount in mounts if mount.at.startswith(below))
    return Ground(seen.st_dev, seen.st_ino, under, inside)


def _mounts(table: Path) -> list[Mount]:
    """The table, in the order of mounting. Its lines: `36 35 98:0 /root /at opts [more] - kind source opts`."""
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.partition(" ")[0]
        if len(fields) > 4 and kind:
            mounts.append(Mount(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4]), kind))
    return mounts
