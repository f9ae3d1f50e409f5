"""Returns memory that the C library would keep, and spares the garbage collector memory that never becomes garbage."""

from __future__ import annotations

import ctypes
import gc

# From glibc's malloc.h.
_M_MMAP_THRESHOLD = -3

_LARGE = 256 * 1024


def return_large_blocks() -> None:
    """Makes this process return each block of 256 KiB or more to the system as soon as it is free.

    glibc does so by itself from 128 KiB on, but only at first: each time it frees such a block, it treats blocks up to
    that size as common, up to 32 MiB, and from then on keeps them, separately for each thread (mallopt(3),
    M_MMAP_THRESHOLD). A broker needs such blocks only briefly, in many threads, while it reads a list of renders or
    makes a mask. With 100,000 hosts they were about 20 MB of 125 (measured).

    Other C libraries (musl, macOS) do not have this setting and are left as they are.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Returns free memory to the system, from anywhere in the heaps (malloc_trim(3)). Takes some milliseconds; worth it
    after peers that held much have left."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def set_aside() -> None:
    """Excludes everything that exists now from later garbage collections. Objects without references are still freed;
    only reference cycles would stay, and pools and what is derived from them form none.

    A full collection stops all threads. With 10,000 pools of 50 hosts it took 25 ms each time, and afterwards less than
    0.1 (measured). This call takes that long once.
    """
    gc.collect()
    gc.freeze()
