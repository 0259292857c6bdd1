"""A batch for which there is no memory: tried in halves once, then only what still has none fails."""

import asyncio
from collections.abc import Callable, Sequence

from clipsearch.batching.lane import Lane
from clipsearch.errors import Code, ComputeFailed, OutOfMemory
from tests.unit.batching.test_lane import Held, running, until_started


class Short:
    """A run function that is out of memory whenever ``lacks`` says so; others are doubled."""

    def __init__(self, lacks: Callable[[Sequence[int]], bool], error: Exception) -> None:
        self.batches: list[list[int]] = []
        self.held = Held()
        self._lacks, self._error = lacks, error

    def __call__(self, batch: Sequence[int]) -> Sequence[object]:
        if batch[0] == 0:  # holds the worker until all others wait
            return self.held(batch)
        self.batches.append(list(batch))
        if self._lacks(batch):
            raise self._error
        return [2 * item for item in batch]


async def results(run: Short, items: Sequence[int], lane: Lane[int, int]) -> list[object]:
    """What became of items that share a batch: outputs or errors."""
    first = asyncio.create_task(lane.submit(0))
    await until_started(run.held)
    tasks = [asyncio.create_task(lane.submit(n)) for n in items]
    await asyncio.sleep(0)
    run.held.permits.release()
    await first
    got = await asyncio.gather(*tasks, return_exceptions=True)
    return [one if isinstance(one, BaseException) else one.output for one in got]


async def test_a_batch_that_is_too_large_goes_through_in_halves() -> None:
    run = Short(lambda batch: len(batch) > 4, MemoryError())
    async with running(run) as lane:
        assert await results(run, range(1, 9), lane) == [2 * n for n in range(1, 9)]
        assert (lane.counts.failed, lane.counts.out_of_memory) == (0, 0)
        assert lane.forecast.model.batches == 1, "what was tried twice says nothing about how long batches take"
    assert run.batches == [[*range(1, 9)], [1, 2, 3, 4], [5, 6, 7, 8]]


async def test_what_has_no_memory_in_half_a_batch_fails_and_nothing_else() -> None:
    run = Short(lambda batch: 7 in batch, OutOfMemory("no memory on the device"))
    async with running(run) as lane:
        got = await results(run, range(1, 9), lane)
        assert got[:4] == [2, 4, 6, 8]
        for error in got[4:]:
            assert isinstance(error, OutOfMemory)
            assert error.code is Code.RESOURCE_EXHAUSTED
            assert error.retry_after_s is not None
        assert len({id(error) for error in got[4:]}) == 4, "each has its own, which others may add to"
        assert lane.counts.out_of_memory == 4
        assert (await lane.submit(9)).output == 18, "the lane goes on"
    assert len(run.batches) == 4, "it is not searched any further: that would only take more memory"


async def test_a_single_item_is_tried_once_more() -> None:
    tries = iter([True, False])
    run = Short(lambda _: next(tries), MemoryError())
    async with running(run) as lane:
        assert await results(run, [5], lane) == [10]


async def test_another_fault_among_those_halves_is_still_found() -> None:
    def lacks(batch: Sequence[int]) -> bool:
        if len(batch) <= 4 and 3 in batch:
            raise ValueError("poison")
        return len(batch) > 4

    run = Short(lacks, MemoryError())
    async with running(run) as lane:
        got = await results(run, range(1, 9), lane)
    assert isinstance(got[2], ComputeFailed)
    assert not isinstance(got[2], OutOfMemory)
    assert [one for n, one in enumerate(got) if n != 2] == [2 * n for n in range(1, 9) if n != 3]
