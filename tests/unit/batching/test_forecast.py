"""When a lane would be done with one more item, on a clock that is told."""

import pytest

from clipsearch.batching.forecast import Forecast, Running
from clipsearch.batching.policy import BatchPolicy
from clipsearch.ports import Priority

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK


def forecast(workers: int = 1, bulk_share: float = 0.2, now: float = 0.0) -> Forecast:
    """A lane of batches of up to ten items, 0.1 s for each item."""
    one = Forecast(BatchPolicy(10, 10, bulk_share=bulk_share), workers, lambda: now)
    one.correction.factor = 1.0
    for _ in range(100):
        one.ran(10, 10, 1.0)
        one.ran(2, 2, 0.2)
    return one


def inside(interactive: int = 0, bulk: int = 0) -> dict[Priority, float]:
    return {INTERACTIVE: interactive, BULK: bulk}


def test_nothing_is_predicted_before_batches_were_seen() -> None:
    one = Forecast(BatchPolicy(10, 10), 1, lambda: 0.0)
    assert one.finish_s(INTERACTIVE, 1, inside(1000)) == 0.0
    one.ran(10, 10, 100.0)
    assert one.finish_s(INTERACTIVE, 1, inside(1000)) == 0.0


def test_an_empty_lane_takes_the_item_s_own_time() -> None:
    assert forecast().finish_s(INTERACTIVE, 2, inside()) == pytest.approx(0.2, rel=0.1)


def test_what_is_ahead_comes_first_and_workers_share_it() -> None:
    assert forecast().finish_s(INTERACTIVE, 1, inside(99)) == pytest.approx(10.0, rel=0.1)
    assert forecast(workers=4).finish_s(INTERACTIVE, 1, inside(99)) == pytest.approx(3.25, rel=0.15)


def test_of_a_running_batch_only_the_rest_counts() -> None:
    one = forecast(now=0.75)
    one.running[0] = Running(INTERACTIVE, 10, 10, 0.0)
    assert one.finish_s(INTERACTIVE, 1, inside(10)) == pytest.approx(0.25 + 0.1, rel=0.15)
    late = forecast(now=50.0)
    late.running[0] = Running(INTERACTIVE, 10, 10, 0.0)
    assert late.finish_s(INTERACTIVE, 1, inside(10)) == pytest.approx(0.1, rel=0.2), "due any moment"


def test_interactive_waits_for_its_own_and_for_the_share_of_bulk() -> None:
    alone = forecast().finish_s(INTERACTIVE, 1, inside(39))
    beside_bulk = forecast().finish_s(INTERACTIVE, 1, inside(39, bulk=10_000))
    assert beside_bulk == pytest.approx(alone / 0.8, rel=0.1)


def test_bulk_counts_on_its_share_while_interactive_queues() -> None:
    light = forecast().finish_s(BULK, 1, inside(5, bulk=9))
    heavy = forecast().finish_s(BULK, 1, inside(500, bulk=9))
    assert light == pytest.approx(1.5, rel=0.1)
    assert heavy == pytest.approx(1.0 / 0.2, rel=0.1)
    assert forecast(bulk_share=0.0).finish_s(BULK, 1, inside(500)) == float("inf")


def test_nobody_is_done_before_the_input_is_ready() -> None:
    assert forecast().finish_s(INTERACTIVE, 1, inside(), ready_s=3.0) == pytest.approx(3.1, rel=0.05)


def test_a_turn_among_callers_comes_before_what_others_have_waiting() -> None:
    one = forecast()
    assert one.finish_s(INTERACTIVE, 1, inside(1000), turns=9.0) == pytest.approx(1.0, rel=0.1)
    # Others who were half served are replaced meanwhile by others who take the same turns.
    assert one.finish_s(INTERACTIVE, 1, inside(2), turns=1e9) == pytest.approx(0.5, rel=0.1)
