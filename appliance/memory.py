"""Memory: wishes to the allocator and the collector, so that the main process stays small and quick.

Where there is no glibc, a call to it does nothing.
"""

import ctypes
import gc

_M_ARENA_MAX = -8  # from malloc.h


def keep_memory_together() -> None:
    """Two arenas and not eight a core: many threads of short searches would leave each half empty."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)


def give_memory_back() -> None:
    """Return what is free to the kernel; worth it after a model was read and unpacked."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def take_for_granted() -> None:
    """What is there now stays: the collector need not look through it for every few searches."""
    gc.collect()
    gc.freeze()
