"""Counts in buckets as Prometheus means them."""

import pytest

from clipsearch.telemetry.histogram import Buckets, Histogram, merged


def test_a_value_counts_up_to_the_smallest_bound_that_is_not_below_it() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    histogram.observe_all([0.5, 1.0, 1.5, 4.0, 9.0])
    assert histogram.read() == Buckets([2, 3, 4, 5], 16.0)


def test_a_value_may_be_there_several_times() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(1.5, times=3)
    assert histogram.read() == Buckets([0, 3, 3], 4.5)


def test_reading_changes_nothing() -> None:
    histogram = Histogram((1.0,))
    histogram.observe(0.5)
    assert histogram.read() == histogram.read()


def test_histograms_of_the_same_bounds_add_up() -> None:
    one, other = Histogram((1.0, 2.0)), Histogram((1.0, 2.0))
    one.observe_all([0.5, 1.5])
    other.observe_all([1.5, 3.0])
    assert merged([one, other]) == Buckets([1, 3, 4], 6.5)
    with pytest.raises(ValueError, match="same bounds"):
        merged([one, Histogram((1.0, 3.0))])
