"""What is counted of a batch, an input and a call."""

from concurrent.futures import Future
from typing import Any

import pytest

from clipsearch.batching.policy import BatchPolicy
from clipsearch.batching.queue import Entry
from clipsearch.errors import ComputeFailed, EmptyText
from clipsearch.ports import Priority
from clipsearch.telemetry.meters import LaneMeter, PreprocessMeter, RequestMeter

POLICY = BatchPolicy(max_items=8, max_cost=40, batch_overhead=0)


def entry(enqueued: float, length: int = 1, priority: Priority = Priority.INTERACTIVE) -> Entry[Any, Any]:
    future: Any = Future()  # nobody waits for it here
    return Entry("item", future, length, priority, float("inf"), enqueued)


def test_a_batch_is_counted_by_its_items_fill_run_and_waits() -> None:
    meter = LaneMeter(POLICY, "search")
    batch = [entry(9.0), entry(9.5), entry(8.0, priority=Priority.BULK)]
    meter(batch, ["a", "b", "c"], 10.0, 10.25)
    assert (meter.items.read().cumulative[-1], meter.items.read().total) == (1, 3.0)
    assert meter.fill.read().total == pytest.approx(3 / 8)
    assert meter.seconds.read().total == pytest.approx(0.25)
    assert meter.waits[Priority.INTERACTIVE].read().total == pytest.approx(1.5)
    assert meter.waits[Priority.BULK].read().total == pytest.approx(2.0)
    stage = meter.stages["search"].read()
    assert (stage.cumulative[-1], stage.total) == (3, pytest.approx(0.75)), "each item spent the batch's time there"


@pytest.mark.parametrize(
    ("lengths", "fill"),
    [([10, 2], 20 / 40), ([1, 1, 1, 1], 4 / 8), ([77], 1.0)],
    ids=["padded to the longest", "items are scarcer", "over the budget, alone"],
)
def test_fill_is_of_what_is_scarcer_and_counts_padding(lengths: list[int], fill: float) -> None:
    meter = LaneMeter(POLICY, "encode")
    meter([entry(0.0, length) for length in lengths], lengths, 1.0, 2.0)
    assert meter.fill.read().total == pytest.approx(fill)


def test_searching_on_an_encoder_lane_is_a_stage_of_its_own() -> None:
    searched = {"searched": 0.1, "not searched": 0.0}
    meter = LaneMeter(POLICY, "encode", lambda output: searched.get(output, 0.0))
    meter([entry(0.0)] * 3, ["searched", "not searched", ComputeFailed("it failed")], 1.0, 1.5)
    encode, search = meter.stages["encode"].read(), meter.stages["search"].read()
    assert (encode.cumulative[-1], encode.total) == (3, pytest.approx(0.4 + 0.5 + 0.5))
    assert (search.cumulative[-1], search.total) == (1, pytest.approx(0.1))


def test_preprocessing_counts_time_where_it_worked_and_the_reason_where_not() -> None:
    meter = PreprocessMeter()
    meter("text", 1.0, 1.5, None)
    meter("text", 2.0, 9.0, EmptyText("the text is empty"))
    assert (meter.seconds["text"].read().cumulative[-1], meter.seconds["text"].read().total) == (1, 0.5)
    assert meter.failures == {("text", "TEXT_EMPTY"): 1}


def test_calls_are_counted_by_method_and_code() -> None:
    meter = RequestMeter()
    for code in ("OK", "OK", "NOT_FOUND"):
        meter("GetItem", code, "", 0.01)
    meter("Search", "OK", "", 0.5)
    assert meter.ended == {("GetItem", "OK"): 2, ("GetItem", "NOT_FOUND"): 1, ("Search", "OK"): 1}
    assert meter.seconds["GetItem"].read().total == pytest.approx(0.03)
    assert meter.seconds["Search"].read().cumulative[-1] == 1
