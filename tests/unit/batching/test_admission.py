"""How many items may be inside a lane."""

import asyncio

import pytest

from clipsearch.batching.admission import Admission
from clipsearch.errors import Code, NotReady, QueueFull, ShuttingDown
from clipsearch.ports import Priority


def opened(capacity: int) -> Admission:
    admission = Admission("text", capacity)
    admission.open()
    return admission


def test_nothing_enters_before_open_or_after_close() -> None:
    admission = Admission("text", 4)
    with pytest.raises(NotReady):
        admission.enter(Priority.INTERACTIVE)
    admission.open()
    admission.enter(Priority.INTERACTIVE)
    admission.close()
    with pytest.raises(ShuttingDown):
        admission.enter(Priority.INTERACTIVE)
    assert admission.inside == 1


def test_a_full_lane_refuses_at_once_and_says_when_to_retry() -> None:
    admission = opened(4)
    admission.enter(Priority.INTERACTIVE, 4)
    with pytest.raises(QueueFull) as caught:
        admission.enter(Priority.INTERACTIVE)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_s is not None
    assert caught.value.metadata == {"lane": "text", "capacity": "4", "requested": "1"}
    admission.leave()
    admission.enter(Priority.INTERACTIVE)


def test_a_batch_enters_whole_or_not_at_all() -> None:
    admission = opened(4)
    admission.enter(Priority.INTERACTIVE, 2)
    with pytest.raises(QueueFull):
        admission.enter(Priority.INTERACTIVE, 3)
    assert admission.inside == 2


def test_bulk_leaves_room_for_interactive() -> None:
    admission = opened(4)
    admission.enter(Priority.BULK, 3)
    with pytest.raises(QueueFull):
        admission.enter(Priority.BULK)
    admission.enter(Priority.INTERACTIVE)


async def test_streams_wait_for_a_place_in_order() -> None:
    admission = opened(4)
    admission.enter(Priority.BULK, 3)
    order: list[int] = []

    async def stream(number: int) -> None:
        await admission.enter_when_free(Priority.BULK)
        order.append(number)

    tasks = [asyncio.create_task(stream(number)) for number in range(3)]
    await asyncio.sleep(0)
    assert order == []
    for freed in range(3):
        admission.leave()
        await tasks[freed]
        assert order == list(range(freed + 1))
    assert admission.inside == 3


async def test_a_cancelled_waiter_passes_its_turn_on() -> None:
    admission = opened(4)
    admission.enter(Priority.BULK, 3)
    first = asyncio.create_task(admission.enter_when_free(Priority.BULK))
    second = asyncio.create_task(admission.enter_when_free(Priority.BULK))
    await asyncio.sleep(0)
    admission.leave()  # wakes the first …
    first.cancel()  # … which goes away before it runs
    await asyncio.wait([first])
    assert first.cancelled()
    await asyncio.wait_for(second, timeout=5)
    assert admission.inside == 3


async def test_closing_sends_waiters_away() -> None:
    admission = opened(4)
    admission.enter(Priority.BULK, 3)
    waiter = asyncio.create_task(admission.enter_when_free(Priority.BULK))
    await asyncio.sleep(0)
    admission.close()
    with pytest.raises(ShuttingDown):
        await waiter
