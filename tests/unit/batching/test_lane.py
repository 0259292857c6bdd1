"""Lanes with real threads. Runs are held by events, so every schedule is exact and nothing sleeps."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from clipsearch.batching.lane import Lane
from clipsearch.batching.places import Demand
from clipsearch.batching.policy import BatchPolicy
from clipsearch.errors import BadVector, ClipsearchError, ComputeFailed, DeadlineExpired, ShuttingDown

POLICY = BatchPolicy(max_items=8, max_cost=64, batch_overhead=1000)


class Held:
    """A run function that doubles numbers, records its batches, and waits for permission before each."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Semaphore(0)
        self.permits = threading.Semaphore(0)

    def __call__(self, batch: Sequence[int]) -> list[int | ClipsearchError]:
        self.batches.append(list(batch))
        self.started.release()
        assert self.permits.acquire(timeout=10)
        return [2 * item for item in batch]


@asynccontextmanager
async def running(
    run: Callable[[Sequence[int]], Sequence[Any]], policy: BatchPolicy = POLICY, **options: Any
) -> AsyncIterator[Lane[int, int]]:
    lane: Lane[int, int] = Lane("test", run, policy, capacity=64, **options)
    lane.start()
    try:
        yield lane
    finally:
        await lane.stop()


async def until_started(run: Held) -> None:
    assert await asyncio.to_thread(run.started.acquire, timeout=10)


async def test_what_arrives_during_a_batch_makes_the_next_one() -> None:
    run = Held()
    async with running(run) as lane:
        first = asyncio.create_task(lane.submit(1))
        await until_started(run)
        rest = [asyncio.create_task(lane.submit(n)) for n in (2, 3, 4)]
        await asyncio.sleep(0)
        assert lane.waiting() == 3
        run.permits.release(2)
        assert [(await task).output for task in (first, *rest)] == [2, 4, 6, 8]
        assert run.batches == [[1], [2, 3, 4]]
        assert (await rest[0]).batch_size == 3
        assert (lane.counts.batches, lane.counts.items) == (2, 4)


async def test_the_core_is_given_away_while_more_may_be_on_the_way_and_not_by_who_is_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[None] = []
    monkeypatch.setattr(os, "sched_yield", lambda: given.append(None))
    async with running(list) as lane:
        await lane.submit(1)
        assert not given
        await asyncio.gather(lane.submit(2), lane.submit(3))
        assert given


async def test_the_loop_is_woken_once_per_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Held()
    loop = asyncio.get_running_loop()
    wakes: list[str] = []
    original = loop.call_soon_threadsafe

    def counting(callback: Callable[..., object], *args: object, **kwargs: Any) -> asyncio.Handle:
        if getattr(callback, "__self__", None) is lane:
            wakes.append(callback.__name__)
        return original(callback, *args, **kwargs)

    async with running(run) as lane:
        monkeypatch.setattr(loop, "call_soon_threadsafe", counting)
        tasks = [asyncio.create_task(lane.submit(1))]
        await until_started(run)
        tasks += [asyncio.create_task(lane.submit(n)) for n in range(2, 9)]
        await asyncio.sleep(0)
        run.permits.release(2)
        await asyncio.gather(*tasks)
    assert [len(batch) for batch in run.batches] == [1, 7]
    assert len(wakes) == 2


async def test_one_bad_item_fails_alone() -> None:
    def run(batch: Sequence[int]) -> list[int]:
        if 13 in batch:
            raise RuntimeError("poison")
        return [2 * item for item in batch]

    async with running(run) as lane:
        results = await asyncio.gather(*(lane.submit(n) for n in (11, 12, 13, 14, 15)), return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    assert len(failed) == 1
    assert isinstance(results[2], ComputeFailed)
    assert "poison" not in str(results[2]), "an unforeseen exception's text stays in the log"
    assert [result.output for i, result in enumerate(results) if i != 2] == [22, 24, 28, 30]  # type: ignore[union-attr]
    assert lane.counts.failed == 1


async def test_an_error_in_an_outputs_place_fails_that_item() -> None:
    async with running(lambda batch: [BadVector("no") if n == 2 else n for n in batch]) as lane:
        results = await asyncio.gather(*(lane.submit(n) for n in (1, 2, 3)), return_exceptions=True)
    assert isinstance(results[1], BadVector)
    assert [result.output for result in (results[0], results[2])] == [1, 3]  # type: ignore[union-attr]


async def test_a_run_of_the_wrong_length_is_never_handed_out() -> None:
    async with running(lambda batch: [0] * (len(batch) + 1)) as lane:
        results = await asyncio.gather(*(lane.submit(n) for n in range(4)), return_exceptions=True)
    assert all(isinstance(result, ComputeFailed) for result in results)


async def test_a_cancelled_item_is_not_computed() -> None:
    run = Held()
    async with running(run) as lane:
        first = asyncio.create_task(lane.submit(1))
        await until_started(run)
        gone, stays = asyncio.create_task(lane.submit(2)), asyncio.create_task(lane.submit(3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        assert lane.waiting() == 1, "its place is free at once"
        run.permits.release(2)
        await asyncio.gather(first, stays)
    assert run.batches == [[1], [3]]
    assert lane.counts.cancelled == 1


async def test_cancelling_an_item_on_the_device_leaves_its_neighbours_unharmed() -> None:
    run = Held()
    async with running(run) as lane:
        blocker = asyncio.create_task(lane.submit(0))
        await until_started(run)
        gone, stays = asyncio.create_task(lane.submit(1)), asyncio.create_task(lane.submit(2))
        await asyncio.sleep(0)
        run.permits.release()
        await until_started(run)
        gone.cancel()
        run.permits.release()
        assert (await stays).output == 4
        assert (await blocker).output == 0


async def test_an_item_past_its_deadline_is_dropped_and_counted() -> None:
    now = 100.0
    run = Held()
    async with running(run, clock=lambda: now) as lane:
        first = asyncio.create_task(lane.submit(1))
        await until_started(run)
        late = asyncio.create_task(lane.submit(2, deadline=100.5))
        in_time = asyncio.create_task(lane.submit(3, deadline=200.0))
        await asyncio.sleep(0)
        now = 101.0
        run.permits.release(2)
        with pytest.raises(DeadlineExpired):
            await late
        assert (await in_time).output == 6
        await first
    assert run.batches == [[1], [3]]
    assert lane.counts.expired == 1


async def test_the_answer_tells_where_the_time_went() -> None:
    times = {"now": 10.0}
    run = Held()
    async with running(run, clock=lambda: times["now"]) as lane:
        blocker = asyncio.create_task(lane.submit(0))
        await until_started(run)
        task = asyncio.create_task(lane.submit(1))
        await asyncio.sleep(0)
        times["now"] = 12.0
        run.permits.release()
        await blocker
        await until_started(run)
        times["now"] = 15.0
        run.permits.release()
        answer = await task
    assert (answer.queued_s, answer.ran_s) == (2.0, 3.0)


async def test_stop_finishes_what_waits_and_refuses_the_rest() -> None:
    run = Held()
    async with running(run) as lane:
        tasks = [asyncio.create_task(lane.submit(n)) for n in (1, 2)]
        await until_started(run)
        stopping = asyncio.create_task(lane.stop())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            await lane.submit(3)
        run.permits.release(2)
        assert [(await task).output for task in tasks] == [2, 4]
        await stopping


async def test_a_delayed_batch_is_not_held_back_by_stopping() -> None:
    policy = BatchPolicy(max_items=8, max_cost=8, max_delay_s=3600.0)
    async with running(lambda batch: [2 * n for n in batch], policy) as lane:
        task = asyncio.create_task(lane.submit(1))
        await asyncio.sleep(0)
        await lane.stop()
        assert (await task).output == 2


async def test_two_workers_run_two_batches_at_once() -> None:
    run = Held()
    async with running(run, BatchPolicy(max_items=1, max_cost=1), workers=2) as lane:
        tasks = [asyncio.create_task(lane.submit(n)) for n in (1, 2)]
        await until_started(run)
        await until_started(run)
        assert sorted(run.batches) == [[1], [2]]
        run.permits.release(2)
        assert [(await task).output for task in tasks] == [2, 4]


async def passes(count: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_items_that_come_in_later_passes_of_the_loop_share_a_batch() -> None:
    run = Held()
    run.permits.release(2)
    async with running(run) as lane:
        lane.admission.enter_together([Demand()] * 4)
        tasks = []
        for n in (1, 2, 3, 4):
            tasks.append(asyncio.create_task(lane.submit(n)))
            await passes(4)
            assert not run.started.acquire(blocking=False), "the others are on their way"
        await asyncio.gather(*tasks)
    assert run.batches == [[1, 2, 3, 4]]


async def test_an_item_that_is_alone_waits_for_nobody() -> None:
    run = Held()
    async with running(run) as lane:
        lane.admission.enter(Demand())
        task = asyncio.create_task(lane.submit(1))
        await passes(2)
        assert run.started.acquire(timeout=10), "blocks the loop: no further pass helped it to start"
        run.permits.release()
        await task


async def test_where_batches_run_long_nobody_waits() -> None:
    now = 100.0
    run = Held()
    async with running(run, clock=lambda: now) as lane:
        lane.admission.enter_together([Demand()] * 2)
        first = asyncio.create_task(lane.submit(1))
        await until_started(run)
        now = 101.0
        run.permits.release()
        await first
        second = asyncio.create_task(lane.submit(2))
        await passes(2)
        assert run.started.acquire(timeout=10), "blocks the loop: no further pass helped it to start"
        run.permits.release()
        await second
