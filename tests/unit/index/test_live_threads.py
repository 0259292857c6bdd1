"""Searches beside writes and swaps: each sees one state."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from clipsearch.index.allowed import AllowedRows
from clipsearch.index.flat import FlatIndex
from clipsearch.index.live import LiveIndex
from clipsearch.ports import VectorIndex

from .small_index import DIMENSION, small_ivfpq, units

ITEMS = 24
WRITES = 700
LAP = 50
VECTORS = units(np.random.default_rng(3), 997)
QUERIES = units(np.random.default_rng(4), 3)


@pytest.fixture(autouse=True)
def threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def rows_of(seq: int) -> NDArray[np.int64]:
    """The rows of all items as written by ``seq``: every write updates every item."""
    return np.arange(seq * ITEMS, (seq + 1) * ITEMS)


def vectors_of(rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return VECTORS[rows % len(VECTORS)]


def base_of(seq: int) -> VectorIndex:
    vectors = vectors_of(rows_of(seq))
    return small_ivfpq(vectors) if seq % 2 else FlatIndex(vectors)


def test_every_search_sees_one_write_whole() -> None:
    live = LiveIndex(DIMENSION, base_of(0), rows_of(0), 0)
    done, searched, swapped = threading.Event(), threading.Event(), threading.Event()
    seen: set[int] = set()
    swaps = 0

    def write() -> None:
        for seq in range(1, WRITES + 1):
            live.apply(rows_of(seq), vectors_of(rows_of(seq)), rows_of(seq - 1), seq)
            if seq % LAP == 0:
                # However the threads are scheduled, some searches and a swap fall into every lap.
                for happened in (searched, swapped):
                    happened.clear()
                    while not happened.wait(1):
                        if done.is_set():  # someone failed
                            return

    def swap() -> None:
        nonlocal swaps
        while not done.is_set():
            seq = live.view.seq
            live.swap(base_of(seq), rows_of(seq), seq)
            swaps += 1
            swapped.set()

    def search() -> None:
        allowed = AllowedRows(np.arange(0, (WRITES + 1) * ITEMS, 3))
        while not done.is_set():
            view = live.view
            scores, rows = view.search(QUERIES, ITEMS + 5)
            assert (np.sort(rows[:, :ITEMS], axis=1) == rows_of(view.seq)).all() and (rows[:, ITEMS:] == -1).all()
            exact = np.einsum("nkd,nd->nk", vectors_of(rows[:, :ITEMS]), QUERIES)
            np.testing.assert_allclose(scores[:, :ITEMS], exact, atol=1e-5)
            some = view.search(QUERIES, ITEMS, None, allowed)[1]
            wanted = rows_of(view.seq)[rows_of(view.seq) % 3 == 0]
            assert (np.sort(some[:, : len(wanted)], axis=1) == wanted).all() and (some[:, len(wanted) :] == -1).all()
            seen.add(view.seq)
            searched.set()

    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(task) for task in (write, swap, search, search, search)]
        for task in work:
            # The writer ends it, and so does whoever fails.
            task.add_done_callback(lambda _: done.set())
    for task in work:
        task.result()
    assert live.view.seq == WRITES and live.view.living_rows().tolist() == rows_of(WRITES).tolist()
    assert swaps >= WRITES / LAP and len(seen) > 5
