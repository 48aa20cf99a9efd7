"""Free memory: how much this process and its children may still take.

What the kernel could give without swapping, or what the control groups around
this process (a container, a systemd unit) still allow, whichever is less. Page
cache counts as free in both: the kernel drops it when memory is asked for.
"""

from collections.abc import Iterator
from pathlib import Path


def free_memory(root: Path = Path("/")) -> int | None:
    """In bytes; None where the machine does not tell (it is no Linux)."""
    rooms = [*_machine(root / "proc/meminfo"), *_groups(root)]
    return max(0, min(rooms)) if rooms else None


def _machine(meminfo: Path) -> Iterator[int]:
    for line in _lines(meminfo):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _groups(root: Path) -> Iterator[int]:
    """What each group from ours up to the topmost leaves: a limit above binds as one of our own does."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            top, limit, usage, idle = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            top, limit = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
            usage, idle = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # Inside a container the path may be the host's, and its own group is mounted at the top.
        ours = Path(path.lstrip("/"))
        for group in dict.fromkeys((top / ours, *(top / above for above in ours.parents), top)):
            allowed, taken = _number(group / limit), _number(group / usage)
            if allowed is not None and taken is not None:
                yield allowed - taken + _idle(group / "memory.stat", idle)


def _idle(stat: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in _lines(stat) if line.startswith(f"{name} ")), 0)


def _number(file: Path) -> int | None:
    """None where there is no such file, and for "max"."""
    first = next(iter(_lines(file)), "")
    return int(first) if first.isdecimal() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def own_memory(pid: int | None, root: Path = Path("/")) -> int:
    """Bytes that a process has for itself, mapped files not counted: those can be dropped. 0 if there is none."""
    for line in _lines(root / f"proc/{pid}/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
