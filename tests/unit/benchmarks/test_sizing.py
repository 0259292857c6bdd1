"""What the sizing benchmark reads of a process."""

import os

import numpy as np

from benchmarks.sizing import memory


def test_own_memory_grows_by_what_is_allocated() -> None:
    before = memory(os.getpid())
    held = np.ones(2**23)  # 64 MiB, written to
    grown = memory(os.getpid())["own_bytes"] - before["own_bytes"]
    assert abs(grown - held.nbytes) < 2**24
    assert before["mapped_bytes"] > 2**20
