"""What lies between two looks at a server's metrics."""

import pytest

from clipsearch.cli.scrape import Window, parse

BEFORE = """
calls_total{method="A",code="OK"} 10
calls_total{method="A",code="BAD"} 1
calls_total{method="B",code="OK"} 100
seconds_bucket{lane="a",le="0.1"} 5
seconds_bucket{lane="a",le="1.0"} 5
seconds_bucket{lane="a",le="+Inf"} 5
seconds_sum{lane="a"} 0.25
seconds_count{lane="a"} 5
"""
AFTER = """
calls_total{method="A",code="OK"} 30
calls_total{method="A",code="BAD"} 3
calls_total{method="B",code="OK"} 4
seconds_bucket{lane="a",le="0.1"} 13
seconds_bucket{lane="a",le="1.0"} 15
seconds_bucket{lane="a",le="+Inf"} 15
seconds_sum{lane="a"} 2.25
seconds_count{lane="a"} 15
"""
TYPES = "# TYPE calls_total counter\n# TYPE seconds histogram\n"


@pytest.fixture(name="window")
def _window() -> Window:
    return Window(parse(TYPES + BEFORE, 100.0), parse(TYPES + AFTER, 104.0))


def test_a_rate_is_of_all_series_with_the_labels(window: Window) -> None:
    assert window.rate("calls_total", method="A", code="OK") == 5.0
    assert window.rate("calls_total", method="A") == 5.5
    assert window.rate("calls_total", method="C") == 0.0


def test_a_counter_that_fell_is_that_of_a_new_server(window: Window) -> None:
    assert window.rate("calls_total", method="B") == 1.0


def test_means_and_quantiles_are_of_what_came_in_between(window: Window) -> None:
    assert window.mean("seconds", lane="a") == pytest.approx(0.2)
    assert window.sum_rate("seconds", lane="a") == pytest.approx(0.5)
    # Eight of ten are below 0.1, evenly; the ninth and tenth between 0.1 and 1.
    assert window.quantile("seconds", 0.4, lane="a") == pytest.approx(0.05)
    assert window.quantile("seconds", 0.9, lane="a") == pytest.approx(0.55)


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    none = "".join(f'seconds_bucket{{le="{le}"}} 0\n' for le in ("0.1", "1.0", "+Inf"))
    beyond = none.replace('"+Inf"} 0', '"+Inf"} 4')
    window = Window(parse(TYPES + none, 0.0), parse(TYPES + beyond, 1.0))
    assert window.quantile("seconds", 0.5) == 1.0


def test_nothing_seen_has_neither(window: Window) -> None:
    quiet = Window(window.after, window.after)
    assert quiet.mean("seconds", lane="a") is None
    assert quiet.quantile("seconds", 0.5, lane="a") is None
    assert quiet.quantile("absent", 0.5) is None
