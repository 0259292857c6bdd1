"""Live recall: what is sampled, what is measured, and that nobody is kept waiting."""

import threading
from typing import Any

import numpy as np
import pytest

from clipsearch.index.allowed import AllowedRows
from clipsearch.index.live import LiveIndex
from clipsearch.index.view import View
from clipsearch.services.recall import WAITING, QueryKind, RecallMonitor, Sample, measure
from tests.unit.index.small_index import DIMENSION, small_ivfpq, units
from tests.waiting import eventually

N = 600
VECTORS = units(np.random.default_rng(5), N)
QUERIES = units(np.random.default_rng(6), 40)


@pytest.fixture(name="view", scope="module")
def _view() -> View:
    """An index that visits one list of four, and a few newer rows."""
    return live(removed=0)


def live(removed: int) -> View:
    index = LiveIndex(DIMENSION, small_ivfpq(VECTORS[: N - 50], nprobe=1, overfetch=1.0), np.arange(N - 50), 1)
    index.apply(np.arange(N - 50, N), VECTORS[N - 50 :], np.arange(removed), 2)
    return index.view


def sample(view: View, query: Any, k: int = 10, allowed: AllowedRows | None = None, **changes: Any) -> Sample:
    scores, rows = view.search(query[None], k, allowed=allowed)
    return Sample("c", QueryKind.TEXT, view, query, scores[0][rows[0] >= 0], k, allowed, **changes)


def exact(query: Any, k: int, rows: Any) -> set[int]:
    scores = VECTORS[rows] @ query
    return {int(row) for row in rows[np.argsort(-scores, kind="stable")[:k]]}


def recall(view: View, k: int, rows: Any, allowed: AllowedRows | None = None) -> float:
    """Recall as the monitor measures it, held against sets of rows."""
    found = wanted = 0
    for query in QUERIES:
        hits = view.search(query[None], k, allowed=allowed)[1][0].tolist()
        expected = (k, len(exact(query, k, rows) & set(hits)))
        assert measure(sample(view, query, k, allowed)) == expected
        wanted, found = wanted + expected[0], found + expected[1]
    return found / wanted


@pytest.mark.parametrize("k", [3, 10])
def test_recall_is_the_share_of_the_exact_neighbours_that_were_found(view: View, k: int) -> None:
    assert 0.2 < recall(view, k, np.arange(N)) < 0.95, "one list of four must miss some"


def test_filters_and_tombstones_count_for_the_exact_neighbours_too() -> None:
    # So few rows are scored exactly, so nothing is missed; what is dead or filtered out must not be missed either.
    dead = live(removed=20)
    assert recall(dead, 10, np.arange(20, N)) == 1.0
    assert recall(dead, 10, np.arange(20, N, 2), AllowedRows(np.arange(0, N, 2))) == 1.0


def test_a_share_of_the_queries_is_due() -> None:
    monitor = RecallMonitor(0.25)
    assert [monitor.is_due(1) for _ in range(8)] == [False, False, False, True] * 2
    assert monitor.is_due(64)
    assert not RecallMonitor(0.0).is_due(10**6)
    monitor.stop()


def test_what_is_offered_is_measured_and_kept_apart_by_collection_and_kind(view: View) -> None:
    monitor = RecallMonitor(1.0)
    wanted = found = 0
    for query in QUERIES[:10]:
        one = sample(view, query)
        wanted, found = wanted + measure(one)[0], found + measure(one)[1]
        monitor.offer(one)
    eventually(lambda: monitor.measured("c")[QueryKind.TEXT].queries == 10 if monitor.measured("c") else False)
    measured = monitor.measured("c")
    assert set(measured) == {QueryKind.TEXT}
    assert measured[QueryKind.TEXT].recall == pytest.approx(found / wanted)
    assert monitor.measured("another") == {}
    monitor.forget("another")
    assert set(monitor.measured("c")) == {QueryKind.TEXT}
    monitor.forget("c")
    assert monitor.measured("c") == {}
    monitor.stop()


def test_what_cannot_be_measured_is_logged_and_the_next_one_is(view: View, caplog: pytest.LogCaptureFixture) -> None:
    monitor = RecallMonitor(1.0)
    monitor.offer(Sample("c", QueryKind.IMAGE, view, np.zeros(3, np.float32), np.zeros(0, np.float32), 10, None))
    monitor.offer(sample(view, QUERIES[0]))
    eventually(lambda: bool(monitor.measured("c")))
    assert "could not be measured" in caplog.text
    assert set(monitor.measured("c")) == {QueryKind.TEXT}
    monitor.stop()


def test_nobody_waits_for_a_slow_measurement(view: View) -> None:
    gate = threading.Event()

    class Slow(View):
        def search_exactly(self, *_: Any) -> Any:
            gate.wait(10)
            raise RuntimeError("never mind")

    slow = Slow.__new__(Slow)
    monitor = RecallMonitor(1.0)
    for _ in range(WAITING * 3):
        monitor.offer(Sample("c", QueryKind.TEXT, slow, QUERIES[0], np.zeros(0, np.float32), 10, None))
    gate.set()
    monitor.stop()
