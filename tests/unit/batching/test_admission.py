"""Who may come into a lane, on a clock that is told."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.batching.admission import UNBOUNDED, Admission
from clipsearch.batching.forecast import Forecast
from clipsearch.batching.places import Demand, Place
from clipsearch.batching.policy import BatchPolicy
from clipsearch.errors import (
    CallerOverShare,
    ClipsearchError,
    Code,
    DeadlineExpired,
    DeadlineUnreachable,
    NotReady,
    QueueFull,
    ShuttingDown,
)
from clipsearch.ports import Priority

BULK = Priority.BULK


class Clock:
    """Time that stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(capacity: int, max_bytes: int = UNBOUNDED) -> Admission:
    admission = Admission("text", capacity, max_bytes=max_bytes)
    admission.open()
    return admission


def entered(
    admission: Admission, count: int, priority: Priority = Priority.INTERACTIVE, caller: str = ""
) -> list[Place]:
    return admission.enter_together([Demand(priority, caller) for _ in range(count)])


def predicting(clock: Clock, *, capacity: int = 1000, workers: int = 1) -> tuple[Admission, Forecast]:
    """A lane whose batches of four items take 0.1 s per item, as far as it knows for certain."""
    forecast = Forecast(BatchPolicy(4, 4), workers, clock)
    forecast.correction.factor = 1.0
    admission = Admission("text", capacity, forecast=forecast, clock=clock)
    admission.open()
    for _ in range(20):
        forecast.ran(4, 4, 0.4)
        forecast.ran(1, 1, 0.1)
    return admission, forecast


def test_nothing_enters_before_open_or_after_close() -> None:
    admission = Admission("text", 4)
    with pytest.raises(NotReady):
        admission.enter(Demand())
    admission.open()
    admission.enter(Demand())
    admission.close()
    with pytest.raises(ShuttingDown):
        admission.enter(Demand())
    assert admission.inside == 1


def test_a_full_lane_refuses_at_once_and_says_when_to_retry() -> None:
    admission = opened(4)
    places = entered(admission, 4)
    with pytest.raises(QueueFull) as caught:
        admission.enter(Demand())
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_s is not None
    assert caught.value.metadata == {"lane": "text", "capacity": "4", "requested": "1"}
    for place in places:
        place.leave()
    admission.enter(Demand())


def test_a_batch_enters_whole_or_not_at_all() -> None:
    admission = opened(4)
    entered(admission, 2)
    with pytest.raises(QueueFull):
        entered(admission, 3, caller="another")
    assert admission.inside == 2


def test_bulk_leaves_room_for_interactive() -> None:
    admission = opened(4)
    entered(admission, 3, BULK)
    with pytest.raises(QueueFull):
        admission.enter(Demand(BULK, "another"))
    admission.enter(Demand(caller="another"))


def test_a_place_is_given_back_once() -> None:
    admission = opened(4)
    with admission.enter(Demand()) as place:
        place.leave()
        admission.enter(Demand())
    assert admission.inside == 1


def test_bytes_are_bounded_but_who_is_alone_is_taken() -> None:
    admission = opened(10, max_bytes=100)
    with admission.enter(Demand(held_bytes=500)):
        assert admission.held_bytes == 500
        with pytest.raises(QueueFull) as caught:
            admission.enter(Demand(caller="another", held_bytes=1))
        assert caught.value.metadata["capacity_bytes"] == "100"
    assert admission.held_bytes == 0
    with admission.enter(Demand(held_bytes=60)), admission.enter(Demand(caller="another", held_bytes=40)):
        assert admission.held_bytes == 100


def test_one_caller_may_hold_three_quarters_and_another_still_comes_in() -> None:
    admission = opened(100)
    for _ in range(75):
        admission.enter(Demand(caller="greedy"))
    with pytest.raises(CallerOverShare) as caught:
        admission.enter(Demand(caller="greedy"))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_s is not None
    for number in range(25):
        admission.enter(Demand(caller=f"polite {number}"))


def test_an_item_that_would_be_done_too_late_is_refused_with_its_reason() -> None:
    clock = Clock()
    admission, _ = predicting(clock)
    entered(admission, 10)  # a second of work
    with pytest.raises(DeadlineUnreachable) as caught:
        admission.enter(Demand(deadline=clock.now + 0.5))
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert caught.value.metadata.keys() == {"lane", "predicted_s", "remaining_s"}
    assert caught.value.retry_after_s is not None
    assert admission.refused[DeadlineUnreachable.reason] == 1
    admission.enter(Demand(deadline=clock.now + 2.0))
    assert admission.inside == 11


def test_a_deadline_that_passed_is_told_as_such_even_by_an_empty_lane() -> None:
    clock = Clock()
    admission, _ = predicting(clock)
    with pytest.raises(DeadlineExpired):
        admission.enter(Demand(deadline=clock.now))
    assert admission.inside == 0


def test_who_is_alone_is_let_in_whatever_is_predicted() -> None:
    clock = Clock()
    forecast = Forecast(BatchPolicy(4, 4), 1, clock)
    admission = Admission("text", 100, forecast=forecast, clock=clock)
    admission.open()
    for _ in range(10):
        forecast.ran(1, 1, 60.0)
    with admission.enter(Demand(deadline=clock.now + 1.0)), pytest.raises(DeadlineUnreachable):
        admission.enter(Demand(deadline=clock.now + 1.0))
    admission.enter(Demand(deadline=clock.now + 1.0))


def test_a_lane_that_refused_too_much_learns_from_those_who_are_alone() -> None:
    clock = Clock()
    forecast = Forecast(BatchPolicy(4, 4), 1, clock)
    admission = Admission("text", 100, forecast=forecast, clock=clock)
    admission.open()
    for _ in range(40):
        forecast.ran(1, 1, 60.0)  # say the machine was suspended
    for _ in range(200):
        with admission.enter(Demand(deadline=clock.now + 1.0)):
            pass
        forecast.ran(1, 1, 0.1)
    entered(admission, 2)
    admission.enter(Demand(deadline=clock.now + 1.0))


def test_nothing_is_refused_for_its_deadline_before_enough_was_seen() -> None:
    clock = Clock()
    forecast = Forecast(BatchPolicy(4, 4), 1, clock)
    admission = Admission("text", 1000, forecast=forecast, clock=clock)
    admission.open()
    forecast.ran(1, 1, 30.0)
    entered(admission, 500)
    admission.enter(Demand(deadline=clock.now + 0.1))


def test_work_before_the_queue_counts_as_well() -> None:
    clock = Clock()
    admission, _ = predicting(clock)
    entered(admission, 1)
    with pytest.raises(DeadlineUnreachable):
        admission.enter(Demand(deadline=clock.now + 1.0, ready_s=0.95))
    admission.enter(Demand(deadline=clock.now + 1.2, ready_s=0.95))


def test_who_asks_for_little_is_not_refused_for_what_another_has_waiting() -> None:
    clock = Clock()
    admission, _ = predicting(clock)
    entered(admission, 100, caller="greedy")  # ten seconds of work
    with pytest.raises(DeadlineUnreachable):
        admission.enter(Demand(caller="greedy", deadline=clock.now + 1.0))
    admission.enter(Demand(caller="polite", deadline=clock.now + 1.0))


def test_what_turns_out_cheaper_makes_room() -> None:
    clock = Clock()
    admission, _ = predicting(clock)
    place = admission.enter(Demand(cost=20))
    with pytest.raises(DeadlineUnreachable):
        admission.enter(Demand(deadline=clock.now + 1.0))
    place.recost(2)
    admission.enter(Demand(deadline=clock.now + 1.0))


def test_the_wait_that_is_asked_for_grows_with_the_backlog_and_is_spread() -> None:
    clock = Clock()

    def waits(backlog: int) -> list[float]:
        admission, _ = predicting(clock)
        entered(admission, backlog)
        told = []
        for _ in range(50):
            with pytest.raises(DeadlineUnreachable) as caught:
                admission.enter(Demand(deadline=clock.now + 0.01))
            assert caught.value.retry_after_s is not None
            told.append(caught.value.retry_after_s)
            clock.now += 100.0  # what was refused before is forgotten
        return told

    short, long = waits(4), waits(40)
    assert max(short) < min(long)
    assert len(set(short)) > 40, "those who were refused together do not come back together"


def test_predictions_that_do_not_hold_are_stretched() -> None:
    clock = Clock()
    admission, forecast = predicting(clock)
    before = forecast.correction.factor
    entered(admission, 5)
    for _ in range(5):
        with admission.enter(Demand(deadline=clock.now + 1.1)):
            clock.now += 2.0
    assert forecast.correction.factor > before * 1.3


async def test_streams_wait_for_a_place_in_order() -> None:
    admission = opened(4)
    places = entered(admission, 3, BULK)
    order: list[int] = []

    async def stream(number: int) -> None:
        await admission.enter_when_free(Demand(BULK))
        order.append(number)

    tasks = [asyncio.create_task(stream(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert order == []
    for freed in range(3):
        places[freed].leave()
        await tasks[freed]
        assert order == list(range(freed + 1))
    assert admission.inside == 3


async def test_callers_who_wait_take_turns() -> None:
    admission = opened(4)
    places = entered(admission, 3, BULK, caller="first")
    order: list[str] = []

    async def stream(caller: str) -> None:
        with await admission.enter_when_free(Demand(BULK, caller)):
            order.append(caller)

    tasks = [asyncio.create_task(stream(caller)) for caller in ["greedy"] * 5 + ["polite"]]
    await asyncio.sleep(0)
    places[0].leave()
    await asyncio.gather(*tasks)
    assert order.index("polite") <= 1


async def test_a_cancelled_waiter_passes_its_turn_on() -> None:
    admission = opened(4)
    places = entered(admission, 3, BULK)
    first = asyncio.create_task(admission.enter_when_free(Demand(BULK)))
    second = asyncio.create_task(admission.enter_when_free(Demand(BULK)))
    await asyncio.sleep(0)
    places[0].leave()  # gives the first a place …
    first.cancel()  # … which goes away before it runs
    await asyncio.wait([first])
    assert first.cancelled()
    await asyncio.wait_for(second, timeout=5)
    assert admission.inside == 3


async def test_closing_sends_waiters_away() -> None:
    admission = opened(4)
    entered(admission, 3, BULK)
    waiter = asyncio.create_task(admission.enter_when_free(Demand(BULK)))
    await asyncio.sleep(0)
    admission.close()
    with pytest.raises(ShuttingDown):
        await waiter


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "leave", "leave", "recost"]),
        st.sampled_from("abcd"),
        st.sampled_from(list(Priority)),
        st.integers(1, 5),
        st.integers(0, 40),
    ),
    max_size=80,
)


@given(STEPS)
def test_what_is_held_is_what_entered_and_did_not_leave(steps: list[tuple[str, str, Priority, int, int]]) -> None:
    """No place, byte or cost is ever lost or invented; limits hold; an empty lane takes anybody."""
    clock = Clock()
    admission, _ = predicting(clock, capacity=12)
    admission._max_bytes = 100
    places: list[Place] = []
    for kind, caller, priority, count, size in steps:
        if kind == "enter":
            demands = [Demand(priority, caller, clock.now + size / 10, held_bytes=size) for _ in range(count)]
            try:
                places += admission.enter_together(demands)
            except ClipsearchError as error:
                assert places or isinstance(error, DeadlineExpired), "an empty lane refused"
        elif places and kind == "leave":
            places.pop(size % len(places)).leave()
        elif places:
            places[0].recost(count)
        assert admission.inside == len(places) <= 12
    for place in places:
        place.leave()
    assert (admission.inside, admission.held_bytes, admission._callers) == (0, 0, {})
    assert set(admission._all.cost.values()) == {0}
