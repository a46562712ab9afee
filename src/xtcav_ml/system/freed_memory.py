"""Freed memory stays with this process: else the system clears the same pages again for every minibatch."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of glibc's mallopt(3): the free memory at the end of the heap that is returned to the system, and how many large
blocks may lie outside the heap, of which each is returned at once."""


def keep() -> None:
    """Let glibc's malloc keep what this process frees from now on; other C libraries have no such switch."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
