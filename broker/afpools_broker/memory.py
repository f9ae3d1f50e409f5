"""Memory that the C library would keep, and memory that is looked through for nothing."""

from __future__ import annotations

import ctypes
import gc

# From glibc's malloc.h.
_M_MMAP_THRESHOLD = -3

_LARGE = 256 * 1024


def return_large_blocks() -> None:
    """Makes this process give each block of 256 KiB and more back to the system as soon as it is free.

    glibc does so by itself from 128 KiB on, at first: each time one is freed it takes blocks up to that size for
    common, up to 32 MiB, and keeps them from then on, for each thread apart (mallopt(3), M_MMAP_THRESHOLD). A broker
    holds such blocks for moments only, in many threads, while it reads a list of renders or makes a mask. With 100,000
    hosts they were about 20 MB of 125 (measured).

    Other C libraries (musl, macOS) know nothing of it, and are left as they are.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Gives memory that is free now back to the system, from wherever in the heaps it lies (malloc_trim(3)). Takes some
    milliseconds; worth it after peers that held much have left."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def set_aside() -> None:
    """Keeps what there is now out of all later garbage collections. What nobody refers to is freed all the same; only
    what would become a ring of objects stays, and pools and what follows from them make none.

    A collection of everything stops all threads. With 10,000 pools of 50 hosts it took 25 ms each time, and after this
    less than 0.1 (measured). This one takes as long as that once.
    """
    gc.collect()
    gc.freeze()
