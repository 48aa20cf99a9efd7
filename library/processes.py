"""Processes: what every child of the appliance has in common.

Linux only where it must be; elsewhere a call does nothing.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies, `kill -9` included.

    Called first thing in a child. The parent may have died before the call,
    which is why its pid is looked at afterwards.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        sys.exit(1)
