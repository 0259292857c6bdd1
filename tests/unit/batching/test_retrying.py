"""How long a refused caller is told to wait."""

from clipsearch.batching.retrying import LEAST_S, MOST_S, RetryAdvice


def test_the_wait_is_drawn_around_the_backlog() -> None:
    draws = iter([0.0, 0.5, 0.999])
    advice = RetryAdvice(lambda: 0.0, lambda: next(draws))
    waits = [advice.after(0.0, 2.0) for _ in range(3)]
    assert waits[0] == 1.0
    assert waits[1] == 2.0
    assert 2.9 < waits[2] < 3.0


def test_those_refused_of_late_are_ahead_of_who_is_refused_now() -> None:
    now = 0.0
    advice = RetryAdvice(lambda: now, lambda: 0.5)
    first, second = advice.after(0.5, 1.0), advice.after(0.5, 1.0)
    assert (first, second) == (1.5, 2.0)
    now = 60.0
    assert advice.after(0.5, 1.0) < 1.51


def test_the_wait_is_bounded() -> None:
    advice = RetryAdvice(lambda: 0.0, lambda: 0.5)
    assert advice.after(0.0, 0.0) == LEAST_S
    assert advice.after(0.0, 1e9) == MOST_S
