"""The C library's allocator, told to keep what a training loop frees: every step asks for the same memory again.

glibc gives blocks from 32 MiB on back to the kernel as soon as they are free, and gets them anew, page by page and
zeroed, in the next step. Eager passes over large batches spend up to half of their time on that.
"""

import ctypes
import os

# From glibc's malloc.h: parameter → bytes. Larger blocks are still returned at once, and so is more than 2 GiB of
# unused memory at the end of the heap.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_KEPT = {_M_MMAP_THRESHOLD: 1 << 30, _M_TRIM_THRESHOLD: (1 << 31) - 1}


def keep_freed_memory() -> bool:
    """Keep freed blocks of up to 1 GiB for this process's next allocations; returns whether that was possible.

    Changes no result. Leaves alone what the user has set (`MALLOC_*`, `GLIBC_TUNABLES`), and C libraries but glibc.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018  (others have a mallopt that does nothing)
    except (AttributeError, OSError, TypeError):
        return False
    return all([mallopt(parameter, size) for parameter, size in _KEPT.items()])
