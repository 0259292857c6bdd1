"""Decoding before the lane: turns, cancellation, predictions. The threads are real and wait for the tests."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipsearch.batching.preparation import GIVEN, Preparation
from clipsearch.errors import DeadlineExpired
from clipsearch.ports import Priority

NEVER = float("inf")


class Gate:
    """Work that tells its order and waits to be let on."""

    def __init__(self) -> None:
        self.order: list[bytes] = []
        self.permits = threading.Semaphore(0)

    def __call__(self, data: bytes) -> bytes:
        assert self.permits.acquire(timeout=30)
        self.order.append(data)
        return data.upper()


@pytest.fixture(name="executor")
def _executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def start(
    preparation: Preparation,
    gate: Gate,
    data: bytes,
    caller: str = "",
    *,
    priority: Priority = Priority.INTERACTIVE,
    deadline: float = NEVER,
) -> "asyncio.Task[bytes]":
    return asyncio.create_task(
        preparation.run(gate, data, priority=priority, deadline=deadline, caller=caller), name=data.decode()
    )


async def begun(preparation: Preparation, count: int) -> None:
    """Let the tasks begin; so many then wait for a turn."""
    await asyncio.sleep(0)
    assert preparation.waiting == count


async def test_a_greedy_caller_s_pictures_take_turns_with_another_s(executor: ThreadPoolExecutor) -> None:
    preparation, gate = Preparation(executor, 1), Gate()
    greedy = [start(preparation, gate, b"g", "greedy") for _ in range(50)]
    await begun(preparation, 50 - GIVEN)
    polite = start(preparation, gate, b"p", "polite")
    await begun(preparation, 51 - GIVEN)
    gate.permits.release(51)
    assert await polite == b"P"
    await asyncio.gather(*greedy)
    assert gate.order.index(b"p") <= GIVEN + 1
    assert len(gate.order) == 51


async def test_interactive_comes_before_bulk(executor: ThreadPoolExecutor) -> None:
    preparation, gate = Preparation(executor, 1), Gate()
    bulk = [start(preparation, gate, b"b", "one", priority=Priority.BULK) for _ in range(10)]
    await begun(preparation, 10 - GIVEN)
    urgent = start(preparation, gate, b"u", "one")
    await begun(preparation, 11 - GIVEN)
    gate.permits.release(11)
    await asyncio.gather(urgent, *bulk)
    assert gate.order.index(b"u") <= GIVEN + 1


async def test_who_goes_away_leaves_the_queue_at_once_and_blocks_nobody(executor: ThreadPoolExecutor) -> None:
    preparation, gate = Preparation(executor, 1), Gate()
    tasks = [start(preparation, gate, b"%d" % n) for n in range(6)]
    await begun(preparation, 6 - GIVEN)
    for task in tasks[:5]:
        task.cancel()
    await asyncio.wait(tasks[:5])
    assert preparation.waiting == 0
    gate.permits.release(6)
    assert await tasks[5] == b"5"
    assert b"3" not in gate.order
    # All turns are there again: as many as ever run without queueing.
    gate.permits.release(GIVEN)
    again = [start(preparation, gate, b"a") for _ in range(GIVEN)]
    await asyncio.gather(*again)
    assert preparation._free == GIVEN


async def test_what_expired_while_it_waited_is_not_decoded(executor: ThreadPoolExecutor) -> None:
    now = 100.0
    preparation, gate = Preparation(executor, 1, clock=lambda: now), Gate()
    first = [start(preparation, gate, b"f") for _ in range(GIVEN)]
    await asyncio.sleep(0)
    late = start(preparation, gate, b"late", deadline=101.0)
    await begun(preparation, 1)
    now = 102.0
    gate.permits.release(GIVEN)
    with pytest.raises(DeadlineExpired):
        await late
    await asyncio.gather(*first)
    assert b"late" not in gate.order


async def test_what_waits_makes_newcomers_later(executor: ThreadPoolExecutor) -> None:
    preparation, gate = Preparation(executor, 1), Gate()
    assert preparation.finish_s([1000]) == 0.0, "too little is known"
    for _ in range(10):
        preparation.took(1000, 0.1)
    assert preparation.finish_s([1000]) == pytest.approx(0.1)
    tasks = [start(preparation, gate, b"x" * 1000) for _ in range(5)]
    await begun(preparation, 5 - GIVEN)
    assert preparation.finish_s([1000]) == pytest.approx(0.6)
    gate.permits.release(5)
    await asyncio.gather(*tasks)
    assert preparation.finish_s([1000]) == pytest.approx(0.1)
