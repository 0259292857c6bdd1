"""What a lane tells those who watch it: its batches when they are answered, and how long one has been running."""

import asyncio
from collections.abc import Sequence
from typing import Any

from clipsearch.batching.lane import Lane
from clipsearch.batching.places import Demand
from clipsearch.batching.queue import Entry
from clipsearch.errors import BadVector, ClipsearchError
from clipsearch.ports import Priority
from tests.unit.batching.test_lane import POLICY, Held, running, until_started


class Seen:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[int], list[Any], float, float]] = []

    def __call__(
        self, batch: Sequence[Entry[int, Any]], outputs: Sequence[Any], started: float, finished: float
    ) -> None:
        assert all(entry.future.done() for entry in batch), "answers are not kept waiting by whoever counts them"
        self.batches.append(([entry.item for entry in batch], list(outputs), started, finished))


class Clock:
    """Stands still but when the test moves it."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


async def test_an_observer_is_told_once_a_batch_with_what_became_of_each_item() -> None:
    error = BadVector("not this one")

    def run(batch: Sequence[int]) -> list[int | ClipsearchError]:
        return [error if item == 2 else 10 * item for item in batch]

    seen = Seen()
    async with running(run, observers=[seen]) as lane:
        await asyncio.gather(*(lane.submit(n) for n in (1, 2, 3)), return_exceptions=True)
    ((items, outputs, started, finished),) = seen.batches
    assert (items, outputs) == ([1, 2, 3], [10, error, 30])
    assert started <= finished


async def test_how_long_the_batch_at_hand_has_been_running() -> None:
    run, clock = Held(), Clock()
    async with running(run, clock=clock) as lane:
        assert lane.running_s() == 0.0
        task = asyncio.create_task(lane.submit(1))
        await until_started(run)
        clock.now += 7.0
        assert lane.running_s() == 7.0
        run.permits.release()
        await task
        assert lane.running_s() == 0.0


async def test_the_oldest_of_several_batches_counts() -> None:
    run, clock = Held(), Clock()
    async with running(run, clock=clock, workers=2) as lane:
        first = asyncio.create_task(lane.submit(1))
        await until_started(run)
        clock.now += 3.0
        second = asyncio.create_task(lane.submit(2))
        await until_started(run)
        clock.now += 2.0
        assert lane.running_s() == 5.0
        run.permits.release(2)
        await asyncio.gather(first, second)


async def test_waiting_items_are_told_apart_by_priority() -> None:
    run = Held()
    async with running(run) as lane:
        tasks = [asyncio.create_task(lane.submit(0))]
        await until_started(run)
        tasks += [asyncio.create_task(lane.submit(n, priority=Priority.BULK)) for n in (1, 2)]
        tasks.append(asyncio.create_task(lane.submit(3)))
        await asyncio.sleep(0)
        assert (lane.depth(Priority.INTERACTIVE), lane.depth(Priority.BULK)) == (1, 2)
        run.permits.release(9)
        await asyncio.gather(*tasks)


async def test_padding_and_refusals_are_counted() -> None:
    def run(batch: Sequence[int]) -> list[int]:
        return list(batch)

    lane: Lane[int, int] = Lane("test", run, POLICY, capacity=2)
    lane.start()
    await asyncio.gather(lane.submit(1, length=3), lane.submit(2, length=5))
    await lane.stop()
    assert (lane.counts.cost, lane.counts.padded_cost) == (8, 10)
    for refused in (1, 2):
        try:
            lane.admission.enter_together([Demand()] * 3)
        except ClipsearchError as error:
            assert lane.admission.refused[error.reason] == 3 * refused
        else:
            raise AssertionError("a lane that was stopped takes nothing")
