"""Which CPUs the threads of a run compute on.

A run splits every operator over its threads and waits for the slowest. Linux may wake a helper on the very CPU whose
thread is spinning for it, and leave it in that queue for milliseconds while another is idle; after a pause it mostly
does where there are two, which is where that was measured. So the threads of a run that spins share no CPU
(docs/decisions/0016-cores-of-lone-runs.md).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise


def dealt(threads: int) -> list[list[int]]:
    """Deal the CPUs that this process may use out among the threads of a run; the caller's come first.

    Neighbours stay together, so where there are more CPUs than threads the system can still choose among some. One
    empty list, the caller's, where nobody is to be pinned: a run has one thread, or there are not enough CPUs, or the
    system does not pin threads.
    """
    if not hasattr(os, "sched_setaffinity"):
        return [[]]
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 < threads <= len(allowed):
        return [[]]
    bounds = [len(allowed) * number // threads for number in range(threads + 1)]
    return [allowed[start:end] for start, end in pairwise(bounds)]


@contextmanager
def kept_to(cpus: Sequence[int]) -> Iterator[None]:
    """Have the calling thread run on ``cpus`` alone meanwhile; anywhere, if there are none that it may use."""
    before = os.sched_getaffinity(0) if cpus else set()
    among = before & set(cpus)
    if not among or among == before:
        yield
        return
    os.sched_setaffinity(0, among)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
