"""Tuning: it reaches its target cheaply, or says that it did not."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from benchmarks.clustered_vectors import clustered
from clipsearch.index.ivfpq import IvfPqIndex
from clipsearch.index.rules import MAX_OVERFETCH, Kind
from clipsearch.index.tuning import find_truth, recall_of, tune

from .conftest import Built, build


def test_the_manifest_tells_both_kinds_of_recall_apart(ivfpq: Built) -> None:
    manifest = ivfpq.manifest
    for recall, queries in ((manifest.image_recall, 500), (manifest.text_recall, 300)):
        assert recall is not None
        assert (recall.k, recall.queries, recall.met) == (10, queries, True)
        assert recall.recall >= manifest.recall_target == 0.95
    assert manifest.image_recall != manifest.text_recall
    assert manifest.text_origin == "test"


def test_parameters_are_no_larger_than_needed(ivfpq: Built) -> None:
    shape = ivfpq.manifest.ivfpq
    assert shape is not None and isinstance(ivfpq.loaded.index, IvfPqIndex)
    assert 1 < shape.nprobe < 64 and shape.overfetch < 8
    with ThreadPoolExecutor(2) as pool:
        truth = find_truth(ivfpq.data.text_queries, None, ivfpq.loaded.index.matrix, pool)
    assert recall_of(ivfpq.loaded.index, truth, shape.nprobe // 2, shape.overfetch).mean() < 0.95


def test_a_higher_target_costs_more(ivfpq: Built) -> None:
    assert isinstance(ivfpq.loaded.index, IvfPqIndex)
    with ThreadPoolExecutor(2) as pool:
        truth = find_truth(ivfpq.data.text_queries, None, ivfpq.loaded.index.matrix, pool)
    low, high = (tune(ivfpq.loaded.index, [truth], target) for target in (0.8, 0.98))
    assert low.nprobe < high.nprobe and low.overfetch <= high.overfetch
    assert recall_of(ivfpq.loaded.index, truth, low.nprobe, low.overfetch).mean() >= 0.8
    assert recall_of(ivfpq.loaded.index, truth, high.nprobe, high.overfetch).mean() >= 0.98


def test_short_of_the_target_is_said(tmp_path: Path) -> None:
    # A prime dimension leaves one byte per code, and nothing short of everything finds everything.
    built = build(tmp_path, clustered(3_000, 61, 40, seed=5), Kind.IVFPQ, recall_target=1.0)
    recall, shape = built.manifest.image_recall, built.manifest.ivfpq
    assert recall is not None and shape is not None
    assert not recall.met and 0.9 < recall.recall < 1
    assert shape.m == 1 and shape.overfetch == MAX_OVERFETCH


def test_own_row_is_not_an_answer(ivfpq: Built) -> None:
    rows = np.array([5, 77, 29_999])
    with ThreadPoolExecutor(2) as pool:
        truth = find_truth(ivfpq.stored[rows], rows, ivfpq.stored.astype(np.float16), pool)
    scores = ivfpq.stored[rows] @ ivfpq.stored.T
    scores[np.arange(3), rows] = -1
    np.testing.assert_allclose(truth.kth, -np.sort(-scores, axis=1)[:, 9], atol=1e-6)


def test_recall_counts_equal_scores_as_found(tmp_path: Path) -> None:
    data = clustered(400, 16, 4, seed=6)
    data.base[100:200] = data.base[0]  # a hundred copies: which ten of them come back is nobody's business
    built = build(tmp_path, data, Kind.IVFPQ)
    assert isinstance(built.loaded.index, IvfPqIndex)
    with ThreadPoolExecutor(1) as pool:
        truth = find_truth(data.base[:1], None, built.loaded.index.matrix, pool)
    assert recall_of(built.loaded.index, truth, built.loaded.index.max_nprobe, 4).tolist() == [1]


def test_progress_reaches_its_end(ivfpq: Built) -> None:
    assert set(ivfpq.stages) == {"writing", "training", "adding", "checking", "tuning"}
    assert all(done == total for done, total in ivfpq.stages.values())


@pytest.mark.parametrize("n", [2, 11, 12])
def test_fewer_neighbours_than_ten(tmp_path: Path, n: int) -> None:
    recall = build(tmp_path, clustered(n, 16, 3, seed=7), Kind.IVFPQ).manifest.image_recall
    assert recall is not None and recall.k == min(10, n - 1) and recall.recall == 1
