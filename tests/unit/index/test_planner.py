"""The plan's table, and what decides between its rows."""

import numpy as np
import pytest

from clipsearch.index.planner import (
    EXACT_ROWS,
    Facts,
    Plan,
    Way,
    is_even,
    lists_to_visit,
    plan,
)

N, NLIST = 1_000_000, 4096


def facts(selected: int, *, even: bool = True, k: int = 10, nprobe: int = 16, overfetch: float = 4.0) -> Facts:
    return Facts(size=N, selected=selected, nlist=NLIST, k=k, nprobe=nprobe, overfetch=overfetch, even=even)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (facts(0), Plan(Way.EXACT)),
        (facts(EXACT_ROWS), Plan(Way.EXACT)),
        (facts(EXACT_ROWS, even=False), Plan(Way.EXACT)),
        (facts(EXACT_ROWS + 1, k=EXACT_ROWS + 1), Plan(Way.EXACT)),
        (facts(N), Plan(Way.PROBE, nprobe=16, overfetch=4.0)),
        (facts(N - N // 100), Plan(Way.PROBE, nprobe=17, overfetch=4.0)),
        (facts(N // 2), Plan(Way.PROBE, nprobe=21, overfetch=4.0)),
        (facts(N // 100), Plan(Way.PROBE, nprobe=81, overfetch=4.0)),
        (facts(N // 2, even=False), Plan(Way.PROBE, fill=3907, overfetch=12.0)),
        # Many results need many candidates, however few a tuned search sees.
        (facts(N // 100, k=1000), Plan(Way.PROBE, nprobe=1639, overfetch=4.0)),
        (facts(N // 100, k=1000, even=False), Plan(Way.PROBE, fill=10000, overfetch=12.0)),
        (facts(N // 100, k=5000), Plan(Way.PROBE, nprobe=NLIST, overfetch=4.0)),
        # What the caller asked for is the starting point, and every list is the end.
        (facts(N // 2, nprobe=1), Plan(Way.PROBE, nprobe=2, overfetch=4.0)),
        (facts(N // 2, nprobe=NLIST), Plan(Way.PROBE, nprobe=NLIST, overfetch=4.0)),
        (facts(N // 2, nprobe=NLIST, even=False), Plan(Way.PROBE, fill=N, overfetch=12.0)),
    ],
)
def test_plan(asked: Facts, wanted: Plan) -> None:
    assert plan(asked) == wanted


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_chance_is_even_and_clusters_are_not(share: float) -> None:
    rng = np.random.default_rng(int(share * 1000))
    sizes = rng.integers(0, 200, 1024)
    whole = np.where(rng.random(1024) < share, sizes, 0)
    assert is_even(rng.binomial(sizes, share), sizes)
    assert not is_even(whole, sizes)


def test_nothing_and_everything_are_even() -> None:
    sizes = np.array([5, 0, 9])
    assert is_even(sizes, sizes) and is_even(0 * sizes, sizes)


def test_a_few_dead_side_by_side_do_not_make_a_large_index_uneven() -> None:
    sizes = np.full(1024, 100)
    selected = sizes.copy()
    selected[7] -= 30
    assert is_even(selected, sizes)
    # Two lists of a thousand lost entirely are queries that would find nothing.
    selected[8:10] = 0
    assert not is_even(selected, sizes)


def test_lists_to_visit() -> None:
    sizes = np.full((4, 8), 10)
    selected = np.array(
        [
            [10, 10, 0, 0, 0, 0, 0, 20],  # whole nearby: a fill is enough
            [0, 0, 0, 0, 0, 0, 20, 20],  # empty nearby: 10 · (4 · √(7 · 10 · 40/80 / 10) - 3) = 45 are wanted
            [5, 5, 5, 5, 5, 5, 5, 5],  # even: as many lists as hold a fill
            [20, 0, 0, 0, 0, 0, 0, 20],
        ]
    )
    assert lists_to_visit(selected, sizes, 10).tolist() == [1, 8, 2, 1]
    # More than there are: all lists.
    assert lists_to_visit(selected, sizes, 1000).tolist() == [8, 8, 8, 8]
