"""The cache of queries' embeddings: what is found, what is dropped, and that its bound holds."""

import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from clipsearch.services.query_cache import OVERHEAD_BYTES, QueryCache
from clipsearch.services.serving import ModelFacts

FACTS = ModelFacts("model", "abc", 4, 77, 224, "fp32", 100.0)
SIZE = OVERHEAD_BYTES + 4 * len("text-0") + 4 * 4
"""Bytes that one of these entries counts for."""


def vector(seed: int, dimension: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=dimension).astype(np.float32)


def held(cache: QueryCache, *seeds: int) -> list[bool]:
    return [cache.get(FACTS, f"text-{seed}") is not None for seed in seeds]


def filled(cache: QueryCache, *seeds: int) -> QueryCache:
    for seed in seeds:
        cache.put(FACTS, f"text-{seed}", vector(seed), seed % 2 == 1)
    return cache


def test_what_was_put_is_found_as_it_was() -> None:
    cache = filled(QueryCache(10 * SIZE), 0, 1)
    kept = cache.get(FACTS, "text-1")
    assert kept is not None
    np.testing.assert_array_equal(kept[0], vector(1))
    assert kept[1]
    assert cache.get(FACTS, "text-2") is None
    assert (cache.hits, cache.misses) == (1, 1)


def test_another_model_or_precision_has_entries_of_its_own() -> None:
    cache = filled(QueryCache(10 * SIZE), 0)
    assert cache.get(replace(FACTS, weight_hash="other"), "text-0") is None
    assert cache.get(replace(FACTS, precision="int8"), "text-0") is None
    cache.put(replace(FACTS, precision="int8"), "text-0", vector(9), truncated=False)
    kept = cache.get(FACTS, "text-0")
    assert kept is not None
    np.testing.assert_array_equal(kept[0], vector(0))


def test_what_nobody_asked_for_longest_goes_first() -> None:
    cache = filled(QueryCache(3 * SIZE), 0, 1, 2)
    assert held(cache, 0) == [True]
    filled(cache, 3)
    assert held(cache, 0, 1, 2, 3) == [True, False, True, True]
    assert cache.held_bytes == 3 * SIZE


def test_the_same_text_again_counts_once() -> None:
    cache = filled(QueryCache(3 * SIZE), 0, 0, 0)
    assert (len(cache), cache.held_bytes) == (1, SIZE)
    filled(cache, 1, 0, 2, 3)
    assert held(cache, 0, 1, 2, 3) == [True, False, True, True], "put again is asked for again"


def test_a_text_beyond_the_bound_is_not_kept_and_drives_nothing_out() -> None:
    cache = filled(QueryCache(2 * SIZE), 0)
    cache.put(FACTS, "x" * SIZE, vector(1), truncated=True)
    assert held(cache, 0) == [True]
    assert len(cache) == 1


def test_without_a_bound_nothing_is_kept_or_counted() -> None:
    cache = filled(QueryCache(0), 0)
    assert held(cache, 0) == [False]
    assert (len(cache), cache.hits, cache.misses) == (0, 0, 0)


def test_an_entry_does_not_keep_its_batch_alive() -> None:
    batch = np.zeros((64, 4), np.float32)
    cache = QueryCache(10 * SIZE)
    cache.put(FACTS, "text-0", batch[3], truncated=False)
    kept = cache.get(FACTS, "text-0")
    assert kept is not None
    assert kept[0].base is None
    assert sys.getrefcount(batch) == 2


@pytest.mark.parametrize("letters", [20, 400])
def test_entries_take_no_more_memory_than_is_counted(letters: int) -> None:
    bound = 2_000_000
    cache = QueryCache(bound)
    tracemalloc.start()
    for i in range(6000):
        cache.put(FACTS, f"{i:08d}" + "ü" * letters, vector(i, 512), truncated=False)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.5 * bound < taken < bound + 300_000, "the table itself grows in steps"
