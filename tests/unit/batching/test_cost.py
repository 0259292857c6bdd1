"""What the cost model learns of batches, and how predictions are corrected."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.batching.cost import MEMORY, MOST_MISSED, Correction, CostModel


def learned(costs: list[int], a: float = 0.010, b: float = 0.002) -> CostModel:
    model = CostModel()
    for cost in costs:
        model.observe(cost, a + b * cost)
    return model


def test_nothing_is_known_before_the_first_batch() -> None:
    assert CostModel().predict(100) == 0.0


def test_a_straight_line_is_found() -> None:
    model = learned([1, 8, 3, 64, 17, 5, 32, 2] * 20)
    for cost in (1, 10, 64, 128):
        assert model.predict(cost) == pytest.approx(0.010 + 0.002 * cost, rel=0.1)


def test_batches_of_one_size_are_predicted_and_others_between_constant_and_proportional() -> None:
    model = learned([8] * 100)
    assert model.predict(8) == pytest.approx(0.026)
    assert 0.013 <= model.predict(4) <= 0.026
    assert 0.026 <= model.predict(16) <= 0.052


def test_a_lane_that_becomes_ten_times_slower_is_known_within_tens_of_batches() -> None:
    model = learned([8] * 100)
    for _ in range(2 * MEMORY):
        model.observe(8, 0.26)
    assert model.predict(8) > 0.2


def test_one_pause_of_the_machine_moves_little() -> None:
    model = learned([8] * 100)
    model.observe(8, 30.0)
    assert model.predict(8) < 1.2 * 0.026


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_what_is_no_time_is_not_learned_from(seconds: float) -> None:
    model = learned([8] * 10)
    model.observe(8, seconds)
    assert model.batches == 10
    assert model.predict(8) == pytest.approx(0.026)


BATCHES = st.lists(st.tuples(st.integers(1, 4096), st.floats(0.0, 1e4)), min_size=1, max_size=100)


@given(BATCHES, st.integers(1, 4096), st.integers(1, 4096))
def test_predictions_are_finite_and_grow_with_the_cost(batches: list[tuple[int, float]], one: int, other: int) -> None:
    model = CostModel()
    for cost, seconds in batches:
        model.observe(cost, seconds)
    less, more = sorted((one, other))
    assert 0.0 <= model.predict(less) <= model.predict(more) * (1 + 1e-9) + 1e-12
    assert math.isfinite(model.predict(more))


def test_the_correction_finds_the_stretch_that_few_exceed() -> None:
    draw, correction = random.Random(7), Correction()
    late = 0
    for number in range(60_000):
        took = draw.uniform(0.5, 1.5)  # of what was predicted
        held = took <= correction.factor
        correction.learn(held=held)
        late += not held and number > 20_000
    assert late / 40_000 < 3 * MOST_MISSED
    assert 1.3 < correction.factor < 1.6


def test_the_correction_is_bounded_and_comes_back() -> None:
    correction = Correction()
    for _ in range(1000):
        correction.learn(held=False)
    assert correction.factor == 2.0
    for _ in range(5000):
        correction.learn(held=True)
    assert 0.0 < correction.factor < 1.0
