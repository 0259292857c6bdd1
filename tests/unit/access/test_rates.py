"""The token bucket, on a clock that stands still until it is told."""

import pytest

from clipsearch.access.rates import Rate, TokenBucket


class FakeClock:
    """Seconds, set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def bucket(per_s: float, burst: float) -> tuple[TokenBucket, FakeClock]:
    clock = FakeClock()
    return TokenBucket(Rate(per_s, burst), clock), clock


def test_a_burst_passes_and_what_follows_is_told_when_to_come_back() -> None:
    tokens, _ = bucket(2.0, 3.0)
    assert [tokens.take() for _ in range(3)] == [0.0] * 3
    assert tokens.take() == pytest.approx(0.5)
    assert tokens.take() == pytest.approx(0.5), "a refusal costs nothing"


def test_the_rate_holds_over_a_long_time() -> None:
    tokens, clock = bucket(5.0, 2.0)
    passed = 0
    for _ in range(1000):
        clock.now += 0.01
        passed += tokens.take() == 0.0
    assert passed == pytest.approx(2 + 50, abs=1)


def test_a_pause_fills_it_no_further_than_the_burst() -> None:
    tokens, clock = bucket(10.0, 2.0)
    clock.now += 3600.0
    assert [tokens.take() for _ in range(2)] == [0.0, 0.0]
    assert tokens.take() > 0.0


def test_those_who_wait_do_so_one_behind_the_other() -> None:
    tokens, clock = bucket(4.0, 1.0)
    assert [tokens.reserve() for _ in range(4)] == pytest.approx([0.0, 0.25, 0.5, 0.75])
    clock.now += 0.75
    assert tokens.reserve() == pytest.approx(0.25)


@pytest.mark.parametrize(("per_s", "burst"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.5), (float("nan"), 1.0)])
def test_a_rate_that_lets_nothing_pass_is_refused(per_s: float, burst: float) -> None:
    with pytest.raises(ValueError, match="calls a second"):
        Rate(per_s, burst)
