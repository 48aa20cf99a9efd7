"""Processes: what every child of the appliance has in common.

Linux only where it must be; elsewhere a call does nothing.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent dies, `kill -9` included.

    Called first thing in a child. `parent` is the pid that the parent handed
    over of itself: it may have died before the call, and whoever inherited this
    process then has another pid. That the heir has pid 1 would not say it, for
    in a container Almanac itself may be process 1.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
