"""Threads of the two libraries that compute here: OpenMP inside FAISS, BLAS inside numpy.

Both default to every core. That is right for a build and wrong for a server: their pools spin while they wait, so on
cores that the encoders and the event loop also want, a search that takes 0.3 ms on one thread was measured at 8 to
16 ms on two. Serving therefore takes a quarter of the cores, at least one, unless told otherwise.
"""

import os

import faiss
from threadpoolctl import threadpool_limits


def available_cores() -> int:
    """Return the cores this process may run on (affinity honoured where the platform has it)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def serving_threads() -> int:
    """Return the default number of threads of a served search."""
    return max(1, available_cores() // 4)


def limit_blas(threads: int) -> None:
    """Set numpy's BLAS threads for the whole process, until set again."""
    threadpool_limits(limits=threads, user_api="blas")


def limit_openmp(threads: int) -> None:
    """Set FAISS's OpenMP threads for the *calling* thread: OpenMP keeps this number per thread. Costs about 0.2 µs."""
    faiss.omp_set_num_threads(threads)
