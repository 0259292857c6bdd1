"""Which of the waiting items make the next batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.batching.policy import BatchPolicy, choose, is_full
from clipsearch.errors import ConfigError

lengths_strategy = st.lists(st.integers(1, 77), min_size=1, max_size=80)
policies = st.builds(
    BatchPolicy,
    max_items=st.integers(1, 64),
    max_cost=st.integers(1, 1024),
    batch_overhead=st.integers(0, 128),
    padding_cost=st.sampled_from([0.0, 0.05, 1.0]),
)


def test_equal_lengths_fill_the_budget_in_order_of_arrival() -> None:
    assert choose([1] * 10, BatchPolicy(max_items=4, max_cost=100)) == [0, 1, 2, 3]
    assert choose([8] * 10, BatchPolicy(max_items=64, max_cost=30)) == [0, 1, 2]


def test_the_oldest_goes_alone_when_it_exceeds_the_budget() -> None:
    assert choose([77, 5], BatchPolicy(max_items=8, max_cost=50, batch_overhead=1000)) == [0]


def test_lengths_are_grouped_around_the_oldest() -> None:
    policy = BatchPolicy(max_items=8, max_cost=1000, batch_overhead=4)
    assert choose([10, 70, 11, 9, 71, 10], policy) == [0, 2, 3, 5]
    assert choose([70, 10, 11, 9, 71, 10], policy) == [0, 4]


def test_padding_is_wasted_only_while_it_is_cheaper_than_another_batch() -> None:
    lengths = [10, 20]
    assert choose(lengths, BatchPolicy(max_items=8, max_cost=1000, batch_overhead=10)) == [0, 1]
    assert choose(lengths, BatchPolicy(max_items=8, max_cost=1000, batch_overhead=9)) == [0]


def test_cheap_padding_is_wasted_for_more() -> None:
    lengths = [10, 20]
    policy = BatchPolicy(max_items=8, max_cost=1000, batch_overhead=1, padding_cost=0.1)
    assert choose(lengths, policy) == [0, 1]
    assert choose([10, 30], policy) == [0]
    assert choose([10, 77, 10], BatchPolicy(max_items=8, max_cost=100, batch_overhead=1000, padding_cost=0.1)) == [0, 2]


@given(lengths_strategy, policies)
def test_every_batch_holds_the_oldest_and_keeps_the_limits(lengths: list[int], policy: BatchPolicy) -> None:
    chosen = choose(lengths, policy)
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= policy.max_items
    if len(chosen) > 1:
        real = sum(lengths[i] for i in chosen)
        padding = policy.padding(len(chosen), max(lengths[i] for i in chosen), real)
        assert real + padding <= policy.max_cost
        assert padding <= policy.batch_overhead


@given(lengths_strategy, policies)
def test_batches_in_turn_serve_everything_once(lengths: list[int], policy: BatchPolicy) -> None:
    waiting = list(enumerate(lengths))
    served: list[int] = []
    while waiting:
        chosen = set(choose([length for _, length in waiting], policy))
        served += [place for i, (place, _) in enumerate(waiting) if i in chosen]
        waiting = [entry for i, entry in enumerate(waiting) if i not in chosen]
    assert sorted(served) == list(range(len(lengths)))


def test_full_means_that_waiting_cannot_improve_the_batch() -> None:
    policy = BatchPolicy(max_items=3, max_cost=20)
    assert not is_full([5, 5], policy)
    assert is_full([5, 5, 5], policy)
    assert is_full([10, 10], policy)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_items": 0, "max_cost": 1},
        {"max_items": 1, "max_cost": 0},
        {"max_items": 1, "max_cost": 1, "batch_overhead": -1},
        {"max_items": 1, "max_cost": 1, "bulk_share": 1.0},
        {"max_items": 1, "max_cost": 1, "max_delay_s": -0.1},
        {"max_items": 1, "max_cost": 1, "padding_cost": 1.1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        BatchPolicy(**wrong)  # type: ignore[arg-type]
