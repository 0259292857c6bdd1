"""Selection and exact search against sorting everything."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch.errors import TopKOutOfRange
from clipsearch.index.exact import exact_top_k, top_k
from clipsearch.index.flat import FlatIndex

from .conftest import Built


@given(
    n=st.integers(1, 5), columns=st.integers(1, 700), k=st.integers(1, 60), seed=st.integers(0, 99), few=st.booleans()
)
@settings(max_examples=200, deadline=None)
def test_top_k_is_what_sorting_gives(n: int, columns: int, k: int, seed: int, few: bool) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct values: ties everywhere, also at the k-th place.
    scores = (rng.integers(0, 4, (n, columns)) if few else rng.standard_normal((n, columns))).astype(np.float32)
    k = min(k, columns)
    best, where = top_k(scores, k)
    assert np.array_equal(best, -np.sort(-scores, axis=1)[:, :k])
    assert np.array_equal(np.take_along_axis(scores, where, axis=1), best)
    assert all(len(set(row)) == k for row in where.tolist())


@pytest.mark.parametrize(("n", "columns", "k"), [(300, 1000, 10), (40, 5003, 10), (2, 70_001, 1), (200, 1000, 62)])
def test_top_k_of_much(n: int, columns: int, k: int) -> None:
    scores = np.random.default_rng(k).integers(0, 300, (n, columns)).astype(np.float32)
    best, where = top_k(scores, k)
    assert np.array_equal(best, -np.sort(-scores, axis=1)[:, :k])
    assert np.array_equal(np.take_along_axis(scores, where, axis=1), best)
    assert all(len(set(row)) == k for row in where.tolist())


def test_exact_search_in_blocks_equals_one_product(flat: Built) -> None:
    queries, base = flat.data.image_queries, flat.data.base.astype(np.float16)
    steps: list[int] = []
    many = np.tile(queries, (60, 1))  # enough queries that the base is cut into several blocks
    with ThreadPoolExecutor(2) as pool:
        scores, rows = exact_top_k(many, base, 10, pool, steps.append)
    wanted = many @ flat.stored.T
    assert len(steps) > 1 and sum(steps) == len(base)
    assert np.array_equal(rows, np.argsort(-wanted, axis=1, kind="stable")[:, :10])
    np.testing.assert_allclose(scores, -np.sort(-wanted, axis=1)[:, :10], atol=1e-6)


def test_flat_is_exact_on_what_is_stored(flat: Built) -> None:
    index = flat.loaded.index
    assert isinstance(index, FlatIndex)
    scores, rows = index.search(flat.data.image_queries, 10)
    wanted = flat.data.image_queries @ flat.stored.T
    assert scores.dtype == np.float32 and rows.dtype == np.int64
    assert np.array_equal(rows, np.argsort(-wanted, axis=1, kind="stable")[:, :10])
    np.testing.assert_allclose(scores, -np.sort(-wanted, axis=1)[:, :10], atol=1e-6)
    np.testing.assert_array_equal(index.vectors(rows[0]), flat.stored[rows[0]])


def test_results_are_not_overwritten_by_the_next_search(flat: Built) -> None:
    first = flat.loaded.index.search(flat.data.image_queries[:1], 10)
    kept = first[0].copy(), first[1].copy()
    flat.loaded.index.search(flat.data.image_queries[1:2], 10)
    assert np.array_equal(first[0], kept[0]) and np.array_equal(first[1], kept[1])


@pytest.mark.parametrize("n", [0, 1, 3])
def test_more_results_than_vectors_are_padded(n: int) -> None:
    index = FlatIndex(np.eye(4, dtype=np.float32)[:3])
    scores, rows = index.search(np.eye(4, dtype=np.float32)[:n], 5)
    assert scores.shape == rows.shape == (n, 5)
    assert (rows[:, 3:] == -1).all() and np.isneginf(scores[:, 3:]).all()
    assert all(sorted(row) == [0, 1, 2] for row in rows[:, :3].tolist())


def test_nprobe_means_nothing_to_an_exact_index(flat: Built) -> None:
    assert flat.loaded.index.max_nprobe == 1
    plain = flat.loaded.index.search(flat.data.image_queries, 5)
    asked = flat.loaded.index.search(flat.data.image_queries, 5, nprobe=64)
    assert np.array_equal(plain[1], asked[1])


def test_no_results_is_no_search(flat: Built) -> None:
    with pytest.raises(TopKOutOfRange):
        flat.loaded.index.search(flat.data.image_queries, 0)
