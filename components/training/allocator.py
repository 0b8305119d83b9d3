"""Memory that a step frees and the next one takes again stays with the process (CPU, glibc).

By default glibc hands the top of its heap back to the system as soon as it is free, and gets large pieces from it one by one. A training step
frees all of its activations at its end, so each step's memory came as new pages: LeNet-5 in batches of 64 had some 750 page faults, 1 ms of the
8.7 ms of a step.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_TRIM_BYTES = 1 << 30  # free memory at the top of the heap beyond which it is handed back
_MMAP_BYTES = 32 << 20  # pieces from this size on come from the system one by one; glibc takes no greater value


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed, for the life of the process; say whether it was told. Nothing happens where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES))
