"""Searching on a lane's worker: groups, trimming, rows, and an encoder batch of which only some ask."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from clipsearch.errors import ComputeFailed
from clipsearch.index.flat import FlatIndex
from clipsearch.ports import Vectors
from clipsearch.services.embed import Encode, Encoded, encode_batch
from clipsearch.services.searcher import Lookup, Probe, Searcher

ITEMS = np.eye(4, dtype=np.float32)


class Watched(FlatIndex):
    """A real index that keeps what it was asked, and notices two callers at once."""

    def __init__(self) -> None:
        super().__init__(ITEMS)
        self.asked: list[tuple[int, int, int | None]] = []
        self._busy = threading.Lock()

    def search(self, queries: Vectors, k: int, nprobe: int | None = None) -> Any:
        assert self._busy.acquire(blocking=False), "one caller at a time is the index's contract"
        try:
            self.asked.append((len(queries), k, nprobe))
            return super().search(queries, k, nprobe)
        finally:
            self._busy.release()


def test_probes_of_one_nprobe_share_a_call_and_each_gets_its_own_top_k() -> None:
    index = Watched()
    probes = [Probe(1), Probe(3), Probe(2, nprobe=1), Probe(9, with_vectors=True)]
    found = Searcher(index).search(ITEMS, probes)
    assert sorted(index.asked, key=str) == [(1, 2, 1), (3, 4, None)]
    assert [len(near.rows) for near in found] == [1, 3, 2, 4]
    assert [near.rows[0] for near in found] == [0, 1, 2, 3]
    assert found[0].vectors is None
    assert np.array_equal(found[3].vectors[0], ITEMS[3])  # type: ignore[index]


def test_a_lookup_searches_around_a_vector_or_a_row() -> None:
    found = Searcher(Watched()).lookup([Lookup(2, Probe(1)), Lookup(ITEMS[1], Probe(1)), Lookup(0, Probe(1))])
    assert [near.rows.tolist() for near in found] == [[2], [1], [0]]
    assert [near.scores.tolist() for near in found] == [[1.0], [1.0], [1.0]]


def test_many_threads_share_the_index() -> None:
    searcher = Searcher(Watched())
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(200):
                assert searcher.search(ITEMS, [Probe(1)] * 4)[3].rows.tolist() == [3]
        except BaseException as error:  # noqa: BLE001  # told to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures


def encode(batch: Sequence[Any]) -> Vectors:
    return np.stack([ITEMS[row] if row < 4 else np.full(4, np.nan, np.float32) for row in batch])


def test_an_encoder_batch_searches_for_those_that_ask() -> None:
    index = Watched()
    batch = [Encode(1, Probe(1)), Encode(9, Probe(1)), Encode(2, None), Encode(3, Probe(2))]
    first, broken, silent, last = encode_batch(encode, Searcher(index), batch)  # type: ignore[type-var]
    assert index.asked == [(2, 2, None)], "the vector that is not finite is not searched with"
    assert isinstance(broken, ComputeFailed)
    assert isinstance(first, Encoded) and first.near is not None
    assert first.near.rows.tolist() == [1]
    assert isinstance(silent, Encoded) and silent.near is None
    assert isinstance(last, Encoded) and last.near is not None
    assert last.near.rows[0] == 3


@pytest.mark.parametrize("searcher", [None, Searcher(Watched())])
def test_without_probes_nothing_is_searched(searcher: Searcher | None) -> None:
    outputs = encode_batch(encode, searcher, [Encode(0, None), Encode(1, None)])  # type: ignore[type-var]
    assert [isinstance(output, Encoded) and output.near is None for output in outputs] == [True, True]
