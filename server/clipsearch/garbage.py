"""Memory that is used no more: what Python's garbage collector and C's heap are told about a server."""

import ctypes
import gc

_YOUNG = 20_000
"""Objects between two looks at the young ones; Python's 700 is some ten calls."""

_M_MMAP_THRESHOLD = -3
"""Of glibc's malloc.h."""

_LARGE_BYTES = 1 << 20
"""Fewer system calls than glibc's 128 KiB would cost, and little enough to be left behind."""


def spare_what_stays() -> None:
    """Never look again at what is there now: models and modules, in which a look takes tens of milliseconds of all.

    Much stays for ever, and calls leave no cycles.

    To be called once, when everything is loaded and warm. What became garbage until then is collected first.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])


def keep_large_blocks_apart() -> None:
    """Have C's heap ask the system for each large block and give it back when it is freed, where the heap is glibc's.

    Left alone, glibc raises the size that counts as large, up to 32 MiB, whenever such a block is freed. Those of the
    next rebuild then come from heaps that never shrink, one for every few threads: 30 MiB more after each rebuild.
    To be called before anything large is allocated.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _LARGE_BYTES)
