import numpy as np

from benchmarks.index_harness.measure import OnCurve, Truth, fastest, frontier, recall

FAST = OnCurve((1.0,), 0.97, 0.90, 900.0)
GOOD = OnCurve((2.0,), 0.98, 0.96, 500.0)
SLOW = OnCurve((3.0,), 0.99, 0.97, 100.0)


def test_the_fastest_point_reaches_the_recall_for_both_kinds_of_query() -> None:
    assert fastest([FAST, GOOD, SLOW], 0.95) is GOOD
    assert fastest([FAST, GOOD, SLOW], 0.98) is None


def test_the_frontier_has_the_points_that_no_other_beats() -> None:
    points = [(0.9, 100.0), (0.95, 90.0), (0.94, 80.0), (0.99, 10.0), (0.9, 50.0), (0.99, 5.0)]
    assert frontier(points) == [(0.9, 100.0), (0.95, 90.0), (0.99, 10.0)]


def test_recall_counts_equal_scores_alike_and_places_without_a_result_not() -> None:
    base = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    truth = Truth(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1.0], dtype=np.float32))
    assert recall(base, truth, np.array([[1, 0]])) == 1.0
    assert recall(base, truth, np.array([[0, 2]])) == 0.5
    assert recall(base, truth, np.array([[0, -1]])) == 0.5
