"""When to rebuild, and when to train."""

import numpy as np
import pytest

from benchmarks.clustered_vectors import unit
from clipsearch.index.drift import (
    DRIFT,
    MIN_DELTA,
    Sizes,
    assignment_drift,
    delta_limit,
    lists_fit,
    misfit,
    rebuild_due,
    training_due,
)
from clipsearch.index.rules import FLAT_LIMIT, choose_nlist

MILLION = 1_000_000
LISTS = choose_nlist(MILLION)
MANY = delta_limit(MILLION)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        (Sizes(MILLION, 0, 0, 0), ""),
        (Sizes(MILLION, 100_000, MANY - 1, 0), ""),
        (Sizes(MILLION, 0, MANY, 0), "delta: 12000 "),
        (Sizes(MILLION, 250_000, 0, 0), "dead: 250000 of 1000000 "),
        (Sizes(3000, 0, MIN_DELTA, 0), "delta: "),
        # Nothing but a delta.
        (Sizes(0, 0, 500, 0), ""),
        (Sizes(0, 0, MIN_DELTA, MIN_DELTA), "delta: "),
        # A handful of dead in a handful of items.
        (Sizes(900, 800, 0, 0), ""),
    ],
)
def test_when_to_rebuild(sizes: Sizes, reason: str) -> None:
    due = rebuild_due(sizes)
    assert due.startswith(reason) and bool(due) == bool(reason)


@pytest.mark.parametrize(
    ("living", "nlist", "unseen", "drift", "reason"),
    [
        (MILLION + MANY, LISTS, MANY, 1.0, ""),
        # Eight times as many as the lists were trained for, although each step there was small, and far fewer.
        (MILLION, choose_nlist(MILLION // 8), MANY, 1.0, "lists: 1024 are not right for 1000000 "),
        (50_000, LISTS, 0, 1.0, "lists: "),
        # Vectors of another kind, enough of them and not enough.
        (30_000, 512, 4000, DRIFT + 0.1, "drift: 4000 newer vectors are 2.10 times "),
        (30_000, 512, 2999, DRIFT + 0.1, ""),
        (30_000, 512, 30_000, DRIFT, ""),
    ],
)
def test_when_to_train(living: int, nlist: int, unseen: int, drift: float, reason: str) -> None:
    due = training_due(living, nlist, unseen, drift)
    assert due.startswith(reason) and bool(due) == bool(reason)


@pytest.mark.parametrize(
    ("living", "nlist", "fit"), [(FLAT_LIMIT, None, True), (FLAT_LIMIT + 1, None, False), (MILLION, LISTS, True)]
)
def test_an_index_without_lists_fits_few_vectors(living: int, nlist: int | None, fit: bool) -> None:
    assert lists_fit(living, nlist) is fit


def test_drift_tells_vectors_of_the_lists_clusters_from_others() -> None:
    rng = np.random.default_rng(0)
    centroids = unit(rng.standard_normal((40, 32), dtype=np.float32))

    def around(centres: np.ndarray, n: int) -> np.ndarray:
        noise = rng.standard_normal((n, 32), dtype=np.float32)
        return unit(centres[rng.integers(0, len(centres), n)] + 0.1 * noise)

    old, alike = around(centroids, 1000), around(centroids, 1000)
    others = around(unit(rng.standard_normal((40, 32), dtype=np.float32)), 1000)
    typical = misfit(old, centroids)
    assert assignment_drift(alike, centroids, typical) == pytest.approx(1, abs=0.05)
    assert assignment_drift(others, centroids, typical) > DRIFT
    assert assignment_drift(old, centroids, misfit(others, centroids)) < 1
    assert assignment_drift(old[:0], centroids, typical) == 1
    # Trained on copies of a few vectors: whatever is not one of them has drifted, by a number that can be written.
    assert misfit(centroids, centroids) == pytest.approx(0, abs=1e-6)
    assert DRIFT < assignment_drift(others, centroids, 0.0) < np.inf
