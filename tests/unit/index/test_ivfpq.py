"""IVF-PQ with re-rank: recall on clustered vectors, exact scores, limits."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.clustered_vectors import clustered
from clipsearch.errors import NprobeOutOfRange, TopKOutOfRange
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.rules import Kind
from clipsearch.selection import Selection

from .conftest import Built, build
from .small_index import small_ivfpq, units


def recall(built: Built, queries: NDArray[np.float32], nprobe: int | None = None) -> float:
    truth = np.argsort(-(queries @ built.stored.T), axis=1)[:, :10]
    found = built.loaded.index.search(queries, 10, nprobe)[1]
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def test_tuned_recall_holds_for_pictures_and_for_texts_it_has_not_seen(ivfpq: Built) -> None:
    assert isinstance(ivfpq.loaded.index, IvfPqIndex)
    # The picture queries here are not items at all; the tuning held out items of its own.
    assert recall(ivfpq, ivfpq.data.image_queries) >= 0.95
    assert recall(ivfpq, ivfpq.data.text_queries) >= 0.95


def test_texts_are_harder_than_pictures_here(ivfpq: Built) -> None:
    """Else tuning for texts would not be tested at all."""
    assert recall(ivfpq, ivfpq.data.text_queries, 4) < recall(ivfpq, ivfpq.data.image_queries, 4) - 0.05


def test_scores_are_exact_cosines_best_first(ivfpq: Built) -> None:
    queries = ivfpq.data.image_queries[:50]
    scores, rows = ivfpq.loaded.index.search(queries, 10)
    exact = np.einsum("nd,nkd->nk", queries, ivfpq.stored[rows])
    np.testing.assert_allclose(scores, exact, atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    np.testing.assert_array_equal(ivfpq.loaded.index.vectors(rows[0]), ivfpq.stored[rows[0]])


def test_batch_and_single_searches_agree(ivfpq: Built) -> None:
    queries = ivfpq.data.image_queries[:16]
    together = ivfpq.loaded.index.search(queries, 10)
    for i, query in enumerate(queries):
        scores, rows = ivfpq.loaded.index.search(query[None], 10)
        assert np.array_equal(rows[0], together[1][i])
        np.testing.assert_allclose(scores[0], together[0][i], atol=1e-6)


def test_more_lists_find_more(ivfpq: Built) -> None:
    one, all_lists = (recall(ivfpq, ivfpq.data.text_queries, nprobe) for nprobe in (1, ivfpq.loaded.index.max_nprobe))
    assert one < 0.7 and all_lists > 0.97


@pytest.mark.parametrize("nprobe", [0, -1, 513])
def test_nprobe_out_of_range(ivfpq: Built, nprobe: int) -> None:
    assert ivfpq.loaded.index.max_nprobe == 512
    with pytest.raises(NprobeOutOfRange):
        ivfpq.loaded.index.search(ivfpq.data.image_queries[:1], 10, nprobe)


def test_no_query_gives_no_result(ivfpq: Built) -> None:
    scores, rows = ivfpq.loaded.index.search(np.empty((0, 64), dtype=np.float32), 10)
    assert scores.shape == rows.shape == (0, 10)


def test_few_visited_vectors_are_padded(ivfpq: Built) -> None:
    scores, rows = ivfpq.loaded.index.search(ivfpq.data.image_queries[:5], 1000, nprobe=1)
    assert (rows[:, -1] == -1).all() and np.isneginf(scores[rows == -1]).all()
    assert (rows[:, :10] >= 0).all() and np.isfinite(scores[rows >= 0]).all()


@pytest.mark.parametrize("n", [1, 2, 5, 300])
def test_tiny_indexes_work_when_asked_for(tmp_path: Path, n: int) -> None:
    built = build(tmp_path, clustered(n, 16, 4, seed=3), Kind.IVFPQ)
    index = built.loaded.index
    scores, rows = index.search(built.data.image_queries, n + 3, index.max_nprobe)
    assert (np.sort(rows[:, :n], axis=1) == np.arange(n)).all()
    assert (rows[:, n:] == -1).all()
    exact = -np.sort(-(built.data.image_queries @ built.stored.T), axis=1)
    np.testing.assert_allclose(scores[:, :n], exact, atol=1e-6)


def test_copies_of_one_picture_are_no_trouble(tmp_path: Path) -> None:
    data = clustered(500, 16, 4, seed=4)
    data.base[:] = data.base[0]
    built = build(tmp_path, data, Kind.IVFPQ)
    scores, rows = built.loaded.index.search(data.base[:1], 10, built.loaded.index.max_nprobe)
    assert len(set(rows[0].tolist())) == 10
    np.testing.assert_allclose(scores, 1, atol=1e-3)
    assert built.manifest.image_recall is not None and built.manifest.image_recall.recall == 1


def selected_truth(built: Built, queries: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    kept = np.flatnonzero(mask)
    return kept[np.argsort(-(queries @ built.stored[kept].T), axis=1)[:, :10]]


def masks(built: Built) -> dict[str, NDArray[np.bool_]]:
    """Chance, whole regions (the query's own in or out), and few enough to be scored one by one."""
    rng = np.random.default_rng(5)
    n = len(built.stored)
    sides = built.stored @ built.stored[rng.choice(n, 6)].T
    region = np.argmax(sides, axis=1)
    return {
        "random half": rng.random(n) < 0.5,
        "random fifth": rng.random(n) < 0.2,
        "all but 1 %": rng.random(n) < 0.99,
        "some regions": np.isin(region, [0, 1, 2]),
        "one region left out": region != 3,
        "few": rng.random(n) < 0.01,
        "one": np.arange(n) == 77,
        "none": np.zeros(n, dtype=np.bool_),
    }


@pytest.mark.parametrize("name", ["random half", "random fifth", "all but 1 %", "some regions", "one region left out"])
def test_recall_holds_under_a_filter(ivfpq: Built, name: str) -> None:
    index = ivfpq.loaded.index
    mask = masks(ivfpq)[name]
    only = Selection.of(len(mask), np.flatnonzero(mask))
    for queries in (ivfpq.data.image_queries[:200], ivfpq.data.text_queries[:200]):
        scores, found = index.search(queries, 10, only=only)
        assert mask[found].all() and (found >= 0).all()
        np.testing.assert_allclose(scores, np.einsum("nd,nkd->nk", queries, ivfpq.stored[found]), atol=1e-6)
        assert (np.diff(scores, axis=1) <= 0).all()
        truth = selected_truth(ivfpq, queries, mask)
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), truth.tolist(), strict=True)])
        assert recall >= 0.94


@pytest.mark.parametrize("left_out", [5, 30, 50])
def test_the_regions_around_the_query_left_out(ivfpq: Built, left_out: int) -> None:
    """The hardest filter: what is left near the query is nothing."""
    index, recalls = ivfpq.loaded.index, []
    pivots = ivfpq.stored[np.random.default_rng(6).choice(len(ivfpq.stored), 60)]
    region = np.argmax(ivfpq.stored @ pivots.T, axis=1)
    for query in np.concatenate([ivfpq.data.image_queries[:40], ivfpq.data.text_queries[:40]]):
        mask = ~np.isin(region, np.argsort(-(pivots @ query))[:left_out])
        found = index.search(query[None], 10, only=Selection.of(len(mask), np.flatnonzero(mask)))[1]
        truth = selected_truth(ivfpq, query[None], mask)
        recalls.append(len(set(found[0].tolist()) & set(truth[0].tolist())) / 10)
    assert np.mean(recalls) >= 0.92


@pytest.mark.parametrize("name", ["few", "one", "none"])
def test_a_few_are_scored_exactly(ivfpq: Built, name: str) -> None:
    mask = masks(ivfpq)[name]
    only = Selection.of(len(mask), np.flatnonzero(mask))
    queries = ivfpq.data.text_queries[:20]
    scores, found = ivfpq.loaded.index.search(queries, 10, nprobe=1, only=only)
    n = min(10, only.count)
    assert np.array_equal(found[:, :n], selected_truth(ivfpq, queries, mask))
    assert (found[:, n:] == -1).all() and np.isneginf(scores[:, n:]).all()
    if only.count > 1:
        less = only.without(found[0, :3])
        again = ivfpq.loaded.index.search(queries[:1], 7, only=less)[1]
        assert np.array_equal(again[0], found[0, 3:])


def test_more_results_than_a_tuned_search_sees_are_found_under_a_filter(ivfpq: Built) -> None:
    for name in ("random half", "some regions"):
        mask = masks(ivfpq)[name]
        only = Selection.of(len(mask), np.flatnonzero(mask))
        found = ivfpq.loaded.index.search(ivfpq.data.image_queries[:8], 1000, nprobe=1, only=only)[1]
        assert (found >= 0).all() and mask[found].all()


def test_a_filter_does_not_excuse_nprobe_or_k(ivfpq: Built) -> None:
    only = Selection.of(30_000, np.arange(20_000))
    with pytest.raises(NprobeOutOfRange):
        ivfpq.loaded.index.search(ivfpq.data.image_queries[:1], 10, 513, only)
    with pytest.raises(TopKOutOfRange):
        ivfpq.loaded.index.search(ivfpq.data.image_queries[:1], 0, None, only)
    assert ivfpq.loaded.index.search(ivfpq.data.image_queries[:0], 10, None, only)[0].shape == (0, 10)


def test_no_candidate_is_lost_to_rounding() -> None:
    """27 times 29 / 27 is less than 29 in float32, and of 28 candidates the best 27 may not be those of all."""
    rng = np.random.default_rng(5)
    vectors, queries = units(rng, 29), units(rng, 2_000)
    right = -np.sort(-(queries @ vectors.T), axis=1)
    np.testing.assert_allclose(small_ivfpq(vectors).search(queries, 27)[0], right[:, :27], atol=1e-5)
