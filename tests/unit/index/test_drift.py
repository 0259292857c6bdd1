"""When to rebuild, and how."""

import numpy as np
import pytest

from benchmarks.clustered_vectors import unit
from clipsearch.index.drift import DRIFT, MIN_DELTA, Action, Sizes, assignment_drift, delta_limit, rebuild_due
from clipsearch.index.rules import FLAT_LIMIT, choose_nlist

MILLION = 1_000_000
LISTS = choose_nlist(MILLION)
MANY = delta_limit(MILLION)


@pytest.mark.parametrize(
    ("sizes", "drift", "action", "reason"),
    [
        (Sizes(MILLION, 0, 0, 0, LISTS), 1.0, Action.NONE, ""),
        (Sizes(MILLION, 100_000, MANY - 1, 0, LISTS), 1.0, Action.NONE, ""),
        (Sizes(MILLION, 0, MANY, 0, LISTS), 1.0, Action.READD, "delta: 12000 "),
        (Sizes(MILLION, 250_000, 0, 0, LISTS), 1.0, Action.READD, "dead: 250000 of 1000000 "),
        # Eight times as many as the lists were trained for, although each step there was small.
        (Sizes(MILLION, 0, MANY, 0, choose_nlist(MILLION // 8)), 1.0, Action.RETRAIN, "delta: "),
        (Sizes(MILLION, 950_000, 0, 0, LISTS), 1.0, Action.RETRAIN, "dead: "),
        # Everything deleted: nothing to train on.
        (Sizes(MILLION, MILLION, 0, 0, LISTS), 1.0, Action.READD, "dead: "),
        # A flat index that has grown out of itself, and one that has not.
        (Sizes(FLAT_LIMIT, 0, MIN_DELTA, 0, None), 1.0, Action.RETRAIN, "delta: "),
        (Sizes(3000, 0, MIN_DELTA, 0, None), 1.0, Action.READD, "delta: "),
        # Nothing but a delta.
        (Sizes(0, 0, 500, 0, None), 1.0, Action.NONE, ""),
        (Sizes(0, 0, MIN_DELTA, MIN_DELTA, None), 1.0, Action.READD, "delta: "),
        # A handful of dead in a handful of items.
        (Sizes(900, 800, 0, 0, None), 1.0, Action.NONE, ""),
        # New vectors of another kind, enough and not enough of them; a flat index has no lists to fit.
        (Sizes(30_000, 0, 4000, 0, 512), DRIFT + 0.1, Action.RETRAIN, "drift: new vectors are 2.10 times"),
        (Sizes(30_000, 0, 2000, 0, 512), DRIFT + 0.1, Action.NONE, ""),
        (Sizes(30_000, 0, 4000, 4000, 512), DRIFT + 0.1, Action.NONE, ""),
        (Sizes(10_000, 0, 4000, 0, None), DRIFT + 0.1, Action.NONE, ""),
    ],
)
def test_when_and_how(sizes: Sizes, drift: float, action: Action, reason: str) -> None:
    due = rebuild_due(sizes, drift)
    assert due.action is action
    assert due.reason.startswith(reason) and bool(due.reason) == bool(reason)


def test_drift_tells_vectors_of_the_lists_clusters_from_others() -> None:
    rng = np.random.default_rng(0)
    centroids = unit(rng.standard_normal((40, 32), dtype=np.float32))

    def around(centres: np.ndarray, n: int) -> np.ndarray:
        noise = rng.standard_normal((n, 32), dtype=np.float32)
        return unit(centres[rng.integers(0, len(centres), n)] + 0.1 * noise)

    old, alike = around(centroids, 1000), around(centroids, 1000)
    others = around(unit(rng.standard_normal((40, 32), dtype=np.float32)), 1000)
    assert assignment_drift(old, alike, centroids) == pytest.approx(1, abs=0.05)
    assert assignment_drift(old, others, centroids) > DRIFT
    assert assignment_drift(others, old, centroids) < 1
    assert assignment_drift(old, old[:0], centroids) == assignment_drift(old[:0], old, centroids) == 1
    assert np.isfinite(assignment_drift(centroids, others, centroids))
