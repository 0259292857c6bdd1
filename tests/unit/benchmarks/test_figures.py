"""Statistics of the benchmarks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.figures import harmonic_rate, percentile, ratios, slope, summarise

samples = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50)


def test_a_summary_is_median_and_range() -> None:
    summary = summarise([3.0, 1.0, 2.0, 10.0])
    assert (summary.median, summary.low, summary.high, summary.count) == (2.5, 1.0, 10.0, 4)
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


def test_ratios_pair_the_rounds() -> None:
    assert ratios([1.0, 6.0], [2.0, 3.0]) == [0.5, 2.0]
    with pytest.raises(ValueError, match="zip"):
        ratios([1.0], [1.0, 2.0])


def test_percentiles_are_samples() -> None:
    ordered = [float(n) for n in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match="share"):
            percentile(ordered, bad)


@given(samples, st.floats(0.0, 1.0))
def test_a_percentile_is_reached_by_its_share(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_slope_of_a_line() -> None:
    assert slope([0.0, 1.0, 2.0, 3.0], [5.0, 7.0, 9.0, 11.0]) == pytest.approx(2.0)
    assert slope([10.0, 20.0, 30.0], [4.0, 4.0, 4.0]) == pytest.approx(0.0)


def test_the_rate_of_a_mix_weighs_time_not_rates() -> None:
    # One kind at 1/s and one at 3/s, as many of each: two items take 4/3 s.
    assert harmonic_rate([1.0, 1 / 3], [1.0, 1.0]) == pytest.approx(1.5)
    assert harmonic_rate([0.5, 99.0], [2.0, 0.0]) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="share"):
        harmonic_rate([1.0], [0.0])


@given(samples)
def test_the_rate_of_a_mix_does_not_depend_on_the_scale_of_its_shares(costs: list[float]) -> None:
    assert harmonic_rate(costs, [1.0] * len(costs)) == pytest.approx(harmonic_rate(costs, [8.0] * len(costs)))
